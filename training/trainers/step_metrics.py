"""Metrics of one optimizer step of GRPO, exact over the step however it was cut into micro-batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from deeprec.training.rewards.stages import FORMAT
from deeprec.training.rollouts.advantages import ScoredRollout
from deeprec.training.rollouts.rollout_filter import FilteredRollouts
from deeprec.training.trainers.alarms import same_answer
from deeprec.training.trainers.item_ratios import item_log_ratios
from deeprec.training.trainers.processes import largest_of_all, sums_of_all
from deeprec.training.trainers.trainer_config import GrpoConfig


@dataclass(slots=True)
class TokenTally:
    """Sums over the policy tokens of a step that went through the model."""

    tokens: int = 0
    entropy: float = 0.0
    gap: float = 0.0
    ratio: float = 0.0
    max_ratio: float = 0.0
    clipped_low: int = 0
    clipped_high: int = 0
    kl: float | None = None
    """None where there is no reference."""

    def add(
        self,
        logprobs: torch.Tensor,
        old: torch.Tensor,
        entropies: torch.Tensor,
        mask: torch.Tensor,
        advantages: torch.Tensor,
        config: GrpoConfig,
        positions: torch.Tensor | None = None,
        reference: torch.Tensor | None = None,
    ) -> None:
        """Count a micro-batch.

        Args:
            logprobs: (batch, length), the policy's current log-probabilities, in nats.
            old: (batch, length), the logged log-probabilities.
            entropies: (batch, length), in nats.
            mask: bool (batch, length), True at the policy's tokens.
            advantages: (batch,) or (batch, length)
            config: the settings of ratios and clipping.
            positions: (batch, length), the position in the list of each token, where ratios belong to items.
            reference: (batch, length), the log-probabilities of the reference policy, where there is one.
        """
        log_ratio = torch.where(mask, logprobs - old, 0.0).double()
        per_rollout = mask.sum(-1, keepdim=True).clamp(min=1)
        self.gap += float(log_ratio.abs().sum())
        if reference is not None:
            away = torch.where(mask, reference - logprobs, 0.0).double()
            self.kl = (self.kl or 0.0) + float((away.exp() - away - 1).sum())
        if config.importance_sampling_level == "sequence":
            log_ratio = (log_ratio.sum(-1, keepdim=True) / per_rollout).expand_as(mask)
        elif config.importance_sampling_level == "item" and positions is not None:
            log_ratio = item_log_ratios(log_ratio, mask, positions)
        ratio = torch.where(mask, log_ratio.exp(), 0.0)
        advantage = advantages if advantages.dim() == 2 else advantages[:, None]
        self.tokens += int(mask.sum())
        self.entropy += float(torch.where(mask, entropies, 0.0).double().sum())
        self.ratio += float(ratio.sum())
        self.max_ratio = max(self.max_ratio, float(ratio.max()))
        self.clipped_low += int((mask & (ratio < 1 - config.clip_low) & (advantage < 0)).sum())
        highest = config.clip_high if config.loss_type == "cispo" else 1 + config.clip_high
        self.clipped_high += int((mask & (ratio > highest) & (advantage > 0)).sum())

    def add_processes(self) -> None:
        """Add what the other processes have counted; every process has to call this, once a step."""
        self.max_ratio = largest_of_all(self.max_ratio)
        tokens, self.entropy, self.gap, self.ratio, low, high, kl = sums_of_all(
            [self.tokens, self.entropy, self.gap, self.ratio, self.clipped_low, self.clipped_high, self.kl or 0.0]
        )
        self.tokens, self.clipped_low, self.clipped_high = int(tokens), int(low), int(high)
        self.kl = None if self.kl is None else kl

    @property
    def mean_gap(self) -> float:
        """The mean absolute difference of logged and current log-probabilities; NaN where there were no tokens."""
        return self.gap / self.tokens if self.tokens else math.nan

    def metrics(self) -> dict[str, float]:
        """Compute means per token; empty where there were no tokens."""
        if not self.tokens:
            return {}
        return {
            "entropy": self.entropy / self.tokens,
            "logprob_gap": self.mean_gap,
            **({} if self.kl is None else {"kl": self.kl / self.tokens}),
            "ratio/mean": self.ratio / self.tokens,
            "ratio/max": self.max_ratio,
            "clip_ratio/low_mean": self.clipped_low / self.tokens,
            "clip_ratio/high_mean": self.clipped_high / self.tokens,
            "clip_ratio/region_mean": (self.clipped_low + self.clipped_high) / self.tokens,
        }


def rollout_metrics(filtered: FilteredRollouts, trained: int) -> dict[str, float]:
    """Compute the metrics of a step that need no model.

    Args:
        filtered: The rollouts that the step may use, and the runs that were left out.
        trained: How many of the rollouts have an advantage other than 0.
    """
    scored = filtered.rollouts
    metrics = {
        "rollouts": float(len(scored)),
        "rollouts/trained": float(trained),
        **{f"rollouts/refused/{reason}": float(len(runs)) for reason, runs in filtered.refused.items()},
    }
    if filtered.staleness:
        metrics |= {
            "staleness/mean": float(np.mean(filtered.staleness)),
            "staleness/max": float(max(filtered.staleness)),
        }
    if not scored:
        return metrics
    lengths = [int(each.rollout.env_mask.sum()) for each in scored]
    same = same_answer(scored)
    return metrics | {
        "reward": float(np.mean([each.reward for each in scored])),
        "reward_std": float(np.std([each.reward for each in scored])),
        "advantage/std": float(np.std([each.advantage for each in scored])),
        "completions/mean_length": float(np.mean(lengths)),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        **({} if math.isnan(same) else {"same_answer": same}),
        **_component_means(scored),
    }


def _component_means(scored: Sequence[ScoredRollout]) -> dict[str, float]:
    """Means of each reward component over the rollouts that have it, and the share of rollouts that kept the format."""
    by_name: dict[str, list[float]] = {}
    for each in scored:
        for name, value in each.components.items():
            if math.isfinite(value):
                by_name.setdefault(name, []).append(value)
    means = {f"rewards/{name}/mean": float(np.mean(values)) for name, values in by_name.items()}
    if FORMAT in by_name:
        means["format_valid"] = float(np.mean([value == 0 for value in by_name[FORMAT]]))
    return means
