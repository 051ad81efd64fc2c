"""The gap between logged log-probabilities and a policy's own: how far it is from the one that sampled the runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.training.rollouts.rollout_filter import PolicyWeights
from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobGap:
    """Differences of logged and current log-probabilities of the policy's tokens in some rollouts, in nats."""

    rollouts: int
    tokens: int
    mean: float
    """The mean absolute difference; NaN where there were no rollouts."""
    largest: float
    """The largest absolute difference; NaN where there were no rollouts."""
    at: UUID | None
    """The run with the largest difference."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CurrentPolicy:
    """A language model to compare rollouts with, in float32."""

    model: Any
    vocabulary: int
    """Token ids go from 0 to below this."""
    context: int
    """Tokens of the longest sequence that the model can read."""
    weights: PolicyWeights | None = None
    """The weights of the model and its adapter, to compare with those of rollouts; None where they are not known."""

    def misfit(self, rollout: Rollout) -> str | None:
        """The reason why the model cannot read a rollout: `foreign token` or `too long`; None where it can."""
        if rollout.token_ids.min() < 0 or rollout.token_ids.max() >= self.vocabulary:
            return FOREIGN_TOKEN
        return TOO_LONG if rollout.token_ids.size > self.context else None


FOREIGN_TOKEN, TOO_LONG = "foreign token", "too long"


def load_current_policy(base: Path | str, adapter: Path | None = None) -> CurrentPolicy:
    """Load a base model, with an adapter on it where one is given; on a GPU where there is one.

    Raises:
        ConfigError: there is no such model or adapter, or the adapter belongs to another model.
    """
    from deeprec.training.trainers.policy_model import load_policy, read_policy_weights
    from deeprec.training.trainers.trainer_config import AdapterConfig

    lora = None if adapter is None else AdapterConfig()
    policy = load_policy(base, lora=lora, start=adapter, device="cpu")  # there the weights are float32
    if torch.cuda.is_available():
        policy.model.to("cuda")
    return CurrentPolicy(
        model=policy.model.eval(),
        vocabulary=policy.vocabulary,
        context=policy.context,
        weights=read_policy_weights(base, adapter),
    )


def measure_gap(rollouts: Iterable[Rollout], policy: CurrentPolicy) -> LogprobGap:
    """Compare the logged log-probabilities of rollouts with a policy's own, at temperature 1.

    A few thousandths of a nat come from the rounding of another server. A larger gap means that another model,
    another version of it or another temperature sampled the tokens.

    Raises:
        ConfigError: a rollout does not fit the model (`CurrentPolicy.misfit`).
    """
    total, tokens, count, largest, at = 0.0, 0, 0, -math.inf, None
    for rollout in rollouts:
        away = np.abs(_moved(rollout, policy))
        count += 1
        tokens += away.size
        total += float(away.sum())
        if away.max() > largest:
            largest, at = float(away.max()), rollout.run_id
    return LogprobGap(
        rollouts=count,
        tokens=tokens,
        mean=total / tokens if tokens else math.nan,
        largest=largest if tokens else math.nan,
        at=at,
    )


def importance_ratios(rollout: Rollout, policy: CurrentPolicy) -> NDArray[np.float64]:
    """Compute the importance ratios of a rollout: each token's current probability over the one that was logged.

    Returns:
        float64 (n,), a ratio for each token: 1 where the probability is as it was, NaN where `env_mask` is 0.

    Raises:
        ConfigError: the rollout does not fit the model (`CurrentPolicy.misfit`).
    """
    ratios = np.full(rollout.token_ids.size, math.nan)
    ratios[rollout.env_mask == 1] = np.exp(_moved(rollout, policy))
    return ratios


def _moved(rollout: Rollout, policy: CurrentPolicy) -> NDArray[np.float64]:
    """Current minus logged log-probabilities of the policy's tokens, in their order, in nats."""
    if policy.misfit(rollout) is not None:
        raise ConfigError(
            f"Run {rollout.run_id} has tokens up to {rollout.token_ids.max()} in a sequence of "
            f"{rollout.token_ids.size}; the model knows {policy.vocabulary} tokens and reads {policy.context}. "
            "Name the model that wrote the run."
        )
    own = np.flatnonzero(rollout.env_mask)
    now: NDArray[np.float64] = _logprobs(policy.model, rollout.token_ids, own)
    return now - rollout.logprobs[own].astype(np.float64)


@torch.inference_mode()
def _logprobs(model: Any, token_ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Log-probabilities of the tokens at `positions` (n,), each given all tokens before it."""
    ids = torch.from_numpy(token_ids).to(model.device)
    before = torch.from_numpy(positions - 1).to(ids.device)
    logits = model(ids[None], logits_to_keep=before).logits[0].float()  # (n, vocabulary)
    chosen: torch.Tensor = logits.log_softmax(-1).gather(-1, ids[positions][:, None])[:, 0]
    result: np.ndarray = chosen.double().cpu().numpy()
    return result
