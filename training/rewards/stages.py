"""The two stages of training, and how each composes the components of a run's reward into one.

Source:
    Zheng et al. 2025 (DeepRec), arXiv:2505.16810: the stages and their components, whose constants are inside them.
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
"""The component that is 0 where the format held and below where not: the gate of all others."""
COMPONENTS: Mapping[Stage, tuple[str, ...]] = MappingProxyType(
    {
        "interaction": (FORMAT, "invocations", "diversity"),
        "recommendation": (FORMAT, "similarity", "hit", "rank"),
    }
)
"""What each stage rewards in the paper."""
KNOWN_COMPONENTS: tuple[str, ...] = tuple(dict.fromkeys(name for names in COMPONENTS.values() for name in names))
"""All that `deeprec.evals` computes."""
GOALS = ("hit", "rank")
"""Components that say whether the target was recommended; the others only lead there."""
REWARD = "reward"
"""Under which name the composed reward is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReward:
    """What a stage rewards: a weighted sum of components, of which the format gates the others."""

    stage: Stage
    weights: Mapping[str, float]
    """Component -> weight; one of 0 is logged and does not count. 1 for each is the paper's reward."""

    def __post_init__(self) -> None:
        check_stage(self.stage)
        if not self.weights.get(FORMAT, 0.0) > 0:
            raise ConfigError(
                f"The weight of {FORMAT!r} is {self.weights.get(FORMAT, 0.0)}, so a broken list could earn more than a "
                "good one. Give it a weight above 0; 1 is the paper's."
            )
        for name, weight in self.weights.items():
            if not math.isfinite(weight):
                raise ConfigError(f"The weight of {name!r} is {weight}. Give a finite number, 0 to leave it out.")

    @property
    def scheme(self) -> str:
        """Under which name the composed reward is stored."""
        return f"stage-{self.stage}"

    def parts(self, components: Mapping[str, float]) -> dict[str, float]:
        """What each component adds to the reward of a run; they sum to it.

        A format error switches the others off. A component that counts and is missing or NaN makes its part NaN.
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
        """Components that count and that nobody has computed, which is not the same as NaN."""
        return tuple(name for name, weight in self.weights.items() if weight and name not in components)

    def compose(self, components: Mapping[str, float]) -> float:
        """The reward of a run, unitless; NaN where a component that counts is NaN and the format held."""
        return sum(self.parts(components).values())


def stage_reward(stage: Stage, weights: Mapping[str, float] | None = None) -> StageReward:
    """The paper's reward of a stage, with the weights that differ and further components by their name.

    Args:
        stage: `interaction` or `recommendation`.
        weights: component -> weight: a change to one of the paper's, or one more (of another stage, or your own).
    """
    paper = dict.fromkeys(COMPONENTS[check_stage(stage)], 1.0)
    return StageReward(stage=stage, weights=MappingProxyType(paper | dict(weights or {})))


def check_stage(stage: str) -> Stage:
    """`stage`, if there is one of that name.

    Raises:
        ConfigError: there is none.
    """
    for known in STAGES:
        if stage == known:
            return known
    raise ConfigError(f"There is no stage {stage!r}. Choose {' or '.join(STAGES)}.")
