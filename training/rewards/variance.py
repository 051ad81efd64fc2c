"""Shares of the variance of a stage's reward by component: a check of the reward on real runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.training.rewards.stages import FORMAT, GOALS, StageReward


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceShares:
    """The share of each component in the variance of the reward, from which advantages are computed."""

    within_groups: bool
    """Whether the variance is measured around the means of groups; where no group has two rollouts, around the mean of
    all."""
    rollouts: int
    """Rollouts with a reward."""
    deviation: float
    """The reward's standard deviation, with n - 1 for each group in the denominator; NaN where that is 0."""
    shares: Mapping[str, float]
    """Component -> covariance of its weighted part with the reward, over the reward's variance. The shares sum to 1; a
    component that works against the others has a negative one. NaN where the reward does not vary."""
    advice: str | None
    """Advice where a component that only helps to reach the target has a larger share than reaching it; else None."""


class VarianceTally:
    """Accumulates the scatter of the parts of a reward around the means of their groups, rollout by rollout.

    Memory grows with the number of groups, not of rollouts.

    Source:
        Chan, Golub & LeVeque 1983, doi:10.1080/00031305.1983.10483115: updating means and scatter.
    """

    def __init__(self, stage: StageReward) -> None:
        self._stage, self._names = stage, tuple(stage.weights)
        width = len(self._names)
        self._within: NDArray[np.float64] = np.zeros((width, width))
        self._overall: NDArray[np.float64] = np.zeros((width, width))
        self._groups: dict[str, tuple[int, NDArray[np.float64]]] = {}
        self._all: tuple[int, NDArray[np.float64]] = (0, np.zeros(width))

    def add(self, group: str, components: Mapping[str, float]) -> None:
        """Add one rollout; a rollout whose reward cannot be computed is left out."""
        by_name = self._stage.parts(components)
        parts = np.array([by_name[name] for name in self._names])
        if not np.isfinite(parts).all():
            return
        nothing = (0, np.zeros(len(self._names)))
        self._groups[group] = _moved(self._groups.get(group, nothing), parts, self._within)
        self._all = _moved(self._all, parts, self._overall)

    def shares(self) -> VarianceShares:
        """Compute the shares of all rollouts so far."""
        rollouts = self._all[0]
        within = any(count > 1 for count, _ in self._groups.values())
        scatter, means = (self._within, len(self._groups)) if within else (self._overall, 1)
        variance, free = float(scatter.sum()), rollouts - means
        per_part = scatter.sum(axis=1) / variance if variance > 0 else np.full(len(self._names), math.nan)
        shares = dict(zip(self._names, per_part.tolist(), strict=True))
        return VarianceShares(
            within_groups=within,
            rollouts=rollouts,
            deviation=math.sqrt(max(variance, 0.0) / free) if free > 0 else math.nan,
            shares=shares,
            advice=self._advice(shares, scatter) if variance > 0 else None,
        )

    def _advice(self, shares: Mapping[str, float], scatter: NDArray[np.float64]) -> str | None:
        goals = [name for name in GOALS if shares.get(name) is not None and self._stage.weights[name]]
        leading = [name for name in self._names if name not in (*GOALS, FORMAT)]
        if not goals or not leading:
            return None
        reached = sum(shares[name] for name in goals)
        worst = max(leading, key=lambda name: shares[name])
        if shares[worst] <= reached:
            return None
        seen = f"{worst} has {shares[worst]:.0%} of the variance, {' and '.join(goals)} together {reached:.0%}: "
        factor = self._level(worst, goals, scatter)
        if factor is None:
            return seen + f"the policy is rewarded for {worst}, and hardly for the target. Lower its weight."
        weight = self._stage.weights[worst] * factor
        return seen + (
            f"the policy is rewarded more for {worst} than for the target. With --weight {worst}={weight:.2g} both "
            "would have the same share."
        )

    def _level(self, name: str, goals: list[str], scatter: NDArray[np.float64]) -> float | None:
        """The factor of a component's weight that makes its share that of the goals; None where there is none."""
        at, to = self._names.index(name), [self._names.index(goal) for goal in goals]
        rest = [other for other in range(len(self._names)) if other != at and other not in to]
        # Equal where s² var(name) + s cov(name, rest) = var(goals) + cov(goals, rest); s cov(name, goals) is on both.
        square, linear = scatter[at, at], scatter[at, rest].sum()
        constant = scatter[np.ix_(to, to)].sum() + scatter[np.ix_(to, rest)].sum()
        if square <= 0 or constant <= 0:
            return None
        return float((math.sqrt(linear**2 + 4 * square * constant) - linear) / (2 * square))


def _moved(
    before: tuple[int, NDArray[np.float64]], parts: NDArray[np.float64], scatter: NDArray[np.float64]
) -> tuple[int, NDArray[np.float64]]:
    """Update count and mean by one vector, and the scatter in place."""
    count, mean = before
    away = parts - mean
    scatter += np.outer(away, away) * (count / (count + 1))
    return count + 1, mean + away / (count + 1)
