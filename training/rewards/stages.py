"""The two stages of training, and the reward that each composes of the components of a run.

Source:
    Zheng et al. 2025 (DeepRec), arXiv:2505.16810: the stages and the weights of the preset `paper`, whose components
    include their constants. `benchmarks/reward_maximum.py` compares what the presets pay for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from deeprec.trm_tool.errors import ConfigError

Stage = Literal["interaction", "recommendation"]
STAGES: tuple[Stage, ...] = get_args(Stage)
FORMAT = "format"
"""The component that is 0 where a run keeps the format and negative where not; it gates all others."""
RewardPreset = Literal["outcome", "paper"]
REWARD_PRESETS: Mapping[RewardPreset, Mapping[Stage, Mapping[str, float]]] = MappingProxyType(
    {
        "outcome": {
            "interaction": {FORMAT: 1.0, "found": 1.0},
            "recommendation": {FORMAT: 1.0, "hit": 1.0, "rank": 1.0},
        },
        "paper": {
            "interaction": {FORMAT: 1.0, "invocations": 1.0, "diversity": 1.0},
            "recommendation": {FORMAT: 1.0, "similarity": 1.0, "hit": 1.0, "rank": 1.0},
        },
    }
)
"""Preset -> stage -> the weights of its components.

`outcome` pays for the target alone: the list that maximises it is the ranking by the probability that an item is the
target. Of the paper's reward that is not so: likeness to all that may be the target pays more than the target, and in
the first stage retrievals pay whatever they ask for.
"""
DEFAULT_PRESET: RewardPreset = "outcome"
KNOWN_COMPONENTS: tuple[str, ...] = tuple(
    dict.fromkeys(name for stages in REWARD_PRESETS.values() for weights in stages.values() for name in weights)
)
"""All components that `deeprec.evals` computes."""
GOALS = ("found", "hit", "rank")
"""Components that score whether the target was found or recommended; the others only help to reach it."""
REWARD = "reward"
"""The name under which the composed reward is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReward:
    """The reward of a stage: a weighted sum of components, of which the format gates the others."""

    stage: Stage
    weights: Mapping[str, float]
    """Component -> weight. A component of weight 0 is stored and does not count. All weights of the presets are 1."""

    def __post_init__(self) -> None:
        check_stage(self.stage)
        if not self.weights.get(FORMAT, 0.0) > 0:
            raise ConfigError(
                f"The weight of {FORMAT!r} is {self.weights.get(FORMAT, 0.0)}, so a broken list could earn more than a "
                "good one. Give it a weight above 0, such as 1."
            )
        for name, weight in self.weights.items():
            if not math.isfinite(weight):
                raise ConfigError(f"The weight of {name!r} is {weight}. Give a finite number, 0 to leave it out.")

    @property
    def scheme(self) -> str:
        """The scheme under which the composed reward is stored."""
        return f"stage-{self.stage}"

    def parts(self, components: Mapping[str, float]) -> dict[str, float]:
        """Compute what each component adds to the reward of a run; the parts sum to the reward.

        After a format error all other parts are 0. A component that counts and is missing or NaN has a NaN part.
        """
        held = components.get(FORMAT, math.nan)
        parts = dict.fromkeys(self.weights, 0.0)
        if math.isnan(held):
            return dict.fromkeys(parts, math.nan)
        parts[FORMAT] = self.weights[FORMAT] * held
        if held < 0:
            return parts
        for name, weight in self.weights.items():
            if weight and name != FORMAT:
                parts[name] = weight * components.get(name, math.nan)
        return parts

    def lacks(self, components: Mapping[str, float]) -> tuple[str, ...]:
        """The components that count and have not been computed, which is not the same as NaN."""
        return tuple(name for name, weight in self.weights.items() if weight and name not in components)

    def compose(self, components: Mapping[str, float]) -> float:
        """Compute the reward of a run, unitless; NaN where it keeps the format and a component that counts is NaN."""
        return sum(self.parts(components).values())


def stage_reward(
    stage: Stage, weights: Mapping[str, float] | None = None, *, preset: RewardPreset = DEFAULT_PRESET
) -> StageReward:
    """Build the reward of a stage, with other weights and further components where they are given.

    Args:
        stage: `interaction` or `recommendation`.
        weights: component -> weight, for a component of the preset or a further one (of another stage, or your own).
        preset: the weights of `REWARD_PRESETS` to begin with.

    Raises:
        ConfigError: there is no such stage or preset, a weight is not finite, or that of the format is not positive.
    """
    check_stage(stage)
    if preset not in REWARD_PRESETS:
        raise ConfigError(f"There are no weights {preset!r} of a reward. Choose {' or '.join(REWARD_PRESETS)}.")
    chosen = {**REWARD_PRESETS[preset][stage], **(weights or {})}
    return StageReward(stage=stage, weights=MappingProxyType(chosen))


def check_stage(stage: str) -> Stage:
    """Return `stage` if it is one of the two stages.

    Raises:
        ConfigError: there is no such stage.
    """
    for known in STAGES:
        if stage == known:
            return known
    raise ConfigError(f"There is no stage {stage!r}. Choose {' or '.join(STAGES)}.")
