"""Log-probabilities at the policy's tokens alone: the output head does not run at positions that are not learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel, is_peft_model


def policy_logprobs(model: Any, token_ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute log-probabilities and entropies of the policy's tokens.

    Args:
        model: a model with TRL's fused head, as its GRPO trainer makes it: a transformers model, or a PEFT model around
            one.
        token_ids: int64 (batch, length).
        mask: bool (batch, length - 1), True where the policy wrote the *next* token.

    Returns:
        two tensors float32 (batch, length - 1), in nats, 0 where the mask is False: the log-probability of the next
        token, with its gradient, and the entropy of its distribution, without.
    """
    with only_policy_positions(model, torch.nn.functional.pad(mask, (0, 1))):
        outputs = model(input_ids=token_ids, shift_labels=token_ids[:, 1:][mask][None], fused_lm_head=True)
    nowhere = torch.zeros_like(mask, dtype=torch.float32)
    logprobs = nowhere.masked_scatter(mask, outputs.log_probs[0])
    return logprobs, nowhere.masked_scatter(mask, outputs.entropy[0].detach())


@contextmanager
def only_policy_positions(model: Any, mask: torch.Tensor) -> Iterator[None]:
    """Make a causal model's backbone return the hidden states at some positions alone.

    About 200 of a rollout's 700 tokens are the policy's, and with a vocabulary of 49,152 the output head is a third of
    the work. Inside this block the backbone returns `last_hidden_state` as (1, n, width), so that TRL's fused head
    computes n rows instead of batch * length. The attention mask is dropped: padding is on the right, which no token
    of a causal model attends to, and without a mask attention takes its fast path.

    Args:
        model: the model that TRL added its fused head to: a transformers model, or a PEFT model around one; DDP may be
            around it.
        mask: bool (batch, length), True at a position whose *next* token the policy wrote.
    """
    model = extract_model_from_parallel(model)
    backbone = (model.get_base_model() if is_peft_model(model) else model).base_model

    def drop_mask(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**given, "attention_mask": None}

    def pick(_: Any, args: tuple[Any, ...], outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[mask][None]
        return outputs

    hooks = [
        backbone.register_forward_pre_hook(drop_mask, with_kwargs=True),
        backbone.register_forward_hook(pick),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
