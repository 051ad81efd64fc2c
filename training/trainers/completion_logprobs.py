"""Log-probabilities at the policy's own tokens alone: the output head is not run where nothing is learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import is_peft_model


@contextmanager
def only_policy_positions(model: Any, mask: torch.Tensor) -> Iterator[None]:
    """Make a causal model's backbone hand over the hidden states at some positions alone.

    Of a rollout of 700 tokens some 200 are the policy's, and with a vocabulary of 49,152 the head is a third of the
    work. Inside this block the backbone returns `last_hidden_state` as (1, n, width), so that TRL's fused head, which
    takes what it gets, does n rows instead of batch * length. The attention mask is dropped: paddings are on the
    right, where no token of a causal model looks, and without a mask attention takes its fast path.

    Args:
        model: what TRL gave its fused head: a transformers model, or a PEFT model around one.
        mask: (batch, length) of bool: True at a position whose *next* token the policy wrote.
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
