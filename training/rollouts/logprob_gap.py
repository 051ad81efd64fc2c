"""How far a policy is from the one that made some rollouts: logged log-probabilities beside those of now."""

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

from deeprec.training.rollouts.rollouts import Rollout
from deeprec.trm_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobGap:
    """Of the policy's own tokens in some rollouts, logged minus now, in nats."""

    rollouts: int
    tokens: int
    mean: float
    """Of the absolute differences; NaN where no rollout could be looked at."""
    largest: float
    at: UUID | None
    """The run with the largest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CurrentPolicy:
    """A language model to compare with, in float32."""

    model: Any
    vocabulary: int
    """Token ids go from 0 to below this."""
    context: int
    """Tokens of the longest sequence that it can read."""

    def misfit(self, rollout: Rollout) -> str | None:
        """Why the model cannot read a rollout: `foreign token` or `too long`; None where it can."""
        if rollout.token_ids.min() < 0 or rollout.token_ids.max() >= self.vocabulary:
            return FOREIGN_TOKEN
        return TOO_LONG if rollout.token_ids.size > self.context else None


FOREIGN_TOKEN, TOO_LONG = "foreign token", "too long"


def load_current_policy(base: Path | str, adapter: Path | None = None) -> CurrentPolicy:
    """Load a base model, with an adapter on it where one is given; on a GPU where there is one.

    Raises:
        ConfigError: there is no such model or adapter, or the adapter is of another model.
    """
    from deeprec.training.trainers.policy_model import load_policy
    from deeprec.training.trainers.trainer_config import AdapterConfig

    lora = None if adapter is None else AdapterConfig()
    policy = load_policy(base, lora=lora, start=adapter, device="cpu")  # there the weights are float32
    if torch.cuda.is_available():
        policy.model.to("cuda")
    return CurrentPolicy(model=policy.model.eval(), vocabulary=policy.vocabulary, context=policy.context)


def measure_gap(rollouts: Iterable[Rollout], policy: CurrentPolicy) -> LogprobGap:
    """Compare the logged log-probabilities of rollouts with a policy's own, at temperature 1.

    A few thousandths of a nat are rounding of another server; where the policy is the one that sampled them, more
    means that the tokens, the model or the temperature are others.

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
    """How likely each token that the policy wrote is now, over how likely it was when it was sampled.

    Returns:
        (n,), a ratio for each token of the rollout: 1 where nothing moved, NaN where `env_mask` is 0.

    Raises:
        ConfigError: the rollout does not fit the model (`CurrentPolicy.misfit`).
    """
    ratios = np.full(rollout.token_ids.size, math.nan)
    ratios[rollout.env_mask == 1] = np.exp(_moved(rollout, policy))
    return ratios


def _moved(rollout: Rollout, policy: CurrentPolicy) -> NDArray[np.float64]:
    """Log-probability now minus that logged, of the policy's own tokens in their order."""
    if policy.misfit(rollout) is not None:
        raise ConfigError(
            f"Run {rollout.run_id} has tokens up to {rollout.token_ids.max()} in a sequence of "
            f"{rollout.token_ids.size}; the model knows {policy.vocabulary} tokens and reads {policy.context}. "
            "Name the model that wrote it."
        )
    own = np.flatnonzero(rollout.env_mask)
    now: NDArray[np.float64] = _logprobs(policy.model, rollout.token_ids, own)
    return now - rollout.logprobs[own].astype(np.float64)


@torch.inference_mode()
def _logprobs(model: Any, token_ids: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of the tokens at `places` (n,), each given all before it."""
    ids = torch.from_numpy(token_ids).to(model.device)
    before = torch.from_numpy(places - 1).to(ids.device)
    logits = model(ids[None], logits_to_keep=before).logits[0].float()  # (n, vocabulary)
    chosen: torch.Tensor = logits.log_softmax(-1).gather(-1, ids[places][:, None])[:, 0]
    result: np.ndarray = chosen.double().cpu().numpy()
    return result
