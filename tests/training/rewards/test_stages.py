"""How a stage composes its reward: weights, the gate of the format, and what is not computable."""

import math
from collections.abc import Mapping

import pytest

from deeprec.evals import FORMAT_ERROR, make_rewards
from deeprec.training import REWARD_PRESETS, StageReward, stage_reward
from deeprec.training.rewards.stages import KNOWN_COMPONENTS, Stage
from deeprec.trm_tool import Artifact, ConfigError, HashingEncoder, load_artifact

NAN = math.nan
GOOD = {"format": 0.0, "found": 0.5, "invocations": 0.5, "diversity": 0.1, "similarity": 4.0, "hit": 1.0, "rank": 1.8}


def paper(stage: Stage, weights: Mapping[str, float] | None = None) -> StageReward:
    return stage_reward(stage, weights, preset="paper")


def test_the_preset_paper_rewards_what_the_paper_does() -> None:
    assert paper("interaction").compose(GOOD) == pytest.approx(0.6)
    assert paper("recommendation").compose(GOOD) == pytest.approx(6.8)
    assert paper("recommendation").parts(GOOD) == {"format": 0, "similarity": 4.0, "hit": 1.0, "rank": 1.8}


def test_the_default_pays_for_the_target_alone() -> None:
    assert stage_reward("interaction").compose(GOOD) == pytest.approx(0.5)
    assert stage_reward("recommendation").compose(GOOD) == pytest.approx(2.8)
    assert stage_reward("recommendation").compose(GOOD | {"similarity": NAN}) == pytest.approx(2.8)
    assert REWARD_PRESETS["outcome"]["interaction"] == stage_reward("interaction").weights
    with pytest.raises(ConfigError, match=r"no weights 'papers' of a reward\. Choose outcome or paper"):
        stage_reward("interaction", preset="papers")  # type: ignore[arg-type]


def test_a_format_error_is_all_that_counts() -> None:
    for stage in ("interaction", "recommendation"):
        assert stage_reward(stage).compose(GOOD | {"format": FORMAT_ERROR}) == -1  # type: ignore[arg-type]
    lost = {"format": FORMAT_ERROR, "hit": NAN, "similarity": NAN}
    assert stage_reward("recommendation").compose(lost) == -1
    assert stage_reward("recommendation", {"format": 3.0}).compose(lost) == -3


def test_a_component_that_is_needed_and_missing_is_no_zero() -> None:
    stage = paper("recommendation")
    for name in ("similarity", "hit", "rank", "format"):
        assert math.isnan(stage.compose(GOOD | {name: NAN}))
    assert stage.compose(GOOD | {"diversity": NAN}) == pytest.approx(6.8)  # another stage's
    without = paper("recommendation", {"similarity": 0.0})
    assert without.compose(GOOD | {"similarity": NAN}) == pytest.approx(2.8)
    assert without.lacks({"format": 0.0, "hit": NAN}) == ("rank",)
    assert math.isnan(without.compose({"format": 0.0, "hit": 1.0}))


def test_weights_change_and_add_components() -> None:
    stage = stage_reward("recommendation", {"similarity": 0.25, "diversity": 2.0, "short": -1.0})
    assert stage.compose(GOOD | {"short": 0.5}) == pytest.approx(1.0 + 2.8 + 0.2 - 0.5)


@pytest.mark.parametrize(
    ("weights", "why"),
    [({"hit": NAN}, "'hit' is nan"), ({"rank": math.inf}, "'rank' is inf"), ({"format": 0.0}, "broken list")],
)
def test_weights_that_make_no_sense_are_refused(weights: dict[str, float], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        stage_reward("recommendation", weights)


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="no stage 'outcome'"):
        stage_reward("outcome")  # type: ignore[arg-type]


def test_every_component_is_one_that_evals_computes(artifact_folder: object) -> None:
    artifact: Artifact = load_artifact(artifact_folder)  # type: ignore[arg-type]
    assert set(make_rewards(artifact, HashingEncoder())) == set(KNOWN_COMPONENTS)
