"""The reference policy of the KL term: the policy that a training started from.

TRL keeps it as a second adapter, "ref", beside the one that is trained, or as a second model where all weights are.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel, is_peft_model
from trl.trainer.utils import use_adapter

from deeprec.training.trainers.completion_logprobs import only_policy_positions

REFERENCE = "ref"
"""TRL's name of the reference adapter."""


def freeze_reference(model: Any) -> None:
    """Exclude the reference adapter from training, and with that from checkpoints; PEFT adds adapters as trainable."""
    if is_peft_model(model) and REFERENCE in model.peft_config:
        for name, parameter in model.named_parameters():
            if f".{REFERENCE}." in name:
                parameter.requires_grad_(False)


def reference_logprobs(model: Any, reference: Any, token_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Compute the log-probabilities of the policy's tokens by the reference.

    Args:
        model: the model that is trained.
        reference: the reference where it is a model of its own; None where it is an adapter of `model`.
        token_ids: int64 (batch, length).
        mask: bool (batch, length - 1), True where the policy wrote the *next* token.

    Returns:
        float32 (batch, length - 1), in nats, 0 where the mask is False.
    """
    if reference is not None:
        return _logprobs(reference, token_ids, mask)
    model = extract_model_from_parallel(model)  # DDP needs to know of passes with a gradient alone
    with use_adapter(model, adapter_name=REFERENCE):
        return _logprobs(model, token_ids, mask)


def _logprobs(model: Any, token_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    with only_policy_positions(model, torch.nn.functional.pad(mask, (0, 1))):
        outputs = model(input_ids=token_ids, shift_labels=token_ids[:, 1:][mask][None], fused_lm_head=True)
    return torch.zeros_like(mask, dtype=torch.float32).masked_scatter(mask, outputs.log_probs[0])
