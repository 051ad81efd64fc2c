"""Log-probabilities at the policy's tokens alone: the output head does not run at positions that are not learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import is_peft_model


@contextmanager
def only_policy_positions(model: Any, mask: torch.Tensor) -> Iterator[None]:
    """Make a causal model's backbone return the hidden states at some positions alone.

    About 200 of a rollout's 700 tokens are the policy's, and with a vocabulary of 49,152 the output head is a third of
    the work. Inside this block the backbone returns `last_hidden_state` as (1, n, width), so that TRL's fused head
    computes n rows instead of batch * length. The attention mask is dropped: padding is on the right, which no token
    of a causal model attends to, and without a mask attention takes its fast path.

    Args:
        model: the model that TRL added its fused head to: a transformers model, or a PEFT model around one.
        mask: bool (batch, length), True at a position whose *next* token the policy wrote.
    """
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
