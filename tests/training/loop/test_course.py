"""What a loop may go on with, and what would change its course."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from deeprec.training.loop.course import keep_course
from deeprec.training.loop.state import CONFIG_FILE, LoopState
from deeprec.trm_tool import ConfigError

COURSE: dict[str, Any] = {
    "name": "l",
    "artifact": "old/artifact",
    "trm_fingerprint": "t",
    "seed": 0,
    "stages": [
        {"stage": "interaction", "steps": 20, "users": 4, "group_size": 8, "weights": {}},
        {"stage": "recommendation", "steps": 80, "users": 4, "group_size": 8, "weights": {}},
    ],
    "warm_start": {"users": 10},
    "grpo": {"loss_type": "dapo"},
    "validation": {"users": 64, "difference": 0.02, "every": 10},
}


def go_on(out: Path, *, version: int = 0, begun: str = "", **changes: Any) -> LoopState:
    """Go on with a loop of `COURSE` that has trained `version` versions; keys name settings as errors do."""
    course = deepcopy(COURSE)
    for path, value in changes.items():
        *names, last = path.split(".")
        part: Any = course
        for name in names:
            part = next(plan for plan in part if plan["stage"] == name) if isinstance(part, list) else part[name]
        part[last] = value
    state = LoopState(version=version)
    keep_course(course, out, state, has_begun=lambda stage: stage in begun)
    return state


@pytest.fixture
def out(tmp_path: Path) -> Path:
    go_on(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "changes",
    [
        {"artifact": "new/artifact"},
        {"data": "elsewhere"},
        {"grpo.report_to": ["wandb"], "grpo.micro_batch_tokens": 512},
        {"validation.every": 5},
        {"stages.recommendation.steps": 200, "version": 30, "begun": "interaction recommendation"},
        {"stages.recommendation.steps": 9, "version": 30, "begun": "interaction recommendation"},
        {"stages.interaction.steps": 40, "version": 21, "begun": "interaction"},
    ],
)
def test_a_loop_goes_on_with_what_does_not_change_its_course(out: Path, changes: dict[str, Any]) -> None:
    before = (out / CONFIG_FILE).read_text()
    state = go_on(out, **changes)
    assert (out / CONFIG_FILE).read_text() == before  # by which its runs are labelled
    steps = changes.get("stages.interaction.steps", 20), changes.get("stages.recommendation.steps", 80)
    assert tuple(state.steps.values()) == steps


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trm_fingerprint": "other"}, r"\(trm_fingerprint changed\)"),
        ({"seed": 1, "artifact": "new"}, r"\(seed changed\)"),
        ({"stages.interaction.users": 5}, r"\(stages\.interaction\.users changed\)"),
        ({"stages.recommendation.weights": {"hit": 2}}, r"\(stages\.recommendation\.weights\.hit changed\)"),
        ({"validation.users": 900}, r"\(validation\.users changed\)"),
        ({"validation.difference": 0.01}, r"\(validation\.difference changed\)"),
        ({"grpo.loss_type": "grpo"}, r"\(grpo\.loss_type changed\)"),
        ({"stages": [COURSE["stages"][1]]}, r"stages.* changed"),
        (
            {"stages.interaction.steps": 40, "version": 22, "begun": "interaction recommendation"},
            "whose stage interaction had 20 steps, and the stage recommendation has begun",
        ),
        (
            {"stages.interaction.steps": 30, "version": 46},  # the runs of its steps were pruned
            "whose stage interaction had 20 steps, and the stage recommendation has begun",
        ),
        ({"stages.interaction.steps": 5, "version": 11, "begun": "interaction"}, "has done 10 steps of the stage"),
    ],
)
def test_what_changes_the_course_is_refused_by_name(out: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        go_on(out, **changes)


@pytest.mark.parametrize(
    "text", ["[1]", '{"stages": 5}', '{"stages": [{}]}', '{"stages": [{"stage": "a", "steps": "x"}]}']
)
def test_a_damaged_course_is_one_clear_error(out: Path, text: str) -> None:
    (out / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"config.json cannot be read \("):
        go_on(out)


def test_the_steps_of_the_last_time_count_not_those_of_the_beginning(out: Path) -> None:
    state = go_on(out, version=21, begun="interaction", **{"stages.interaction.steps": 40})
    state.version = 45  # four steps into the next stage
    longer = json.loads((out / CONFIG_FILE).read_text())
    with pytest.raises(ConfigError, match="interaction had 40 steps"):
        keep_course(longer, out, state, has_begun=lambda stage: True)
    longer["stages"][0]["steps"] = 40
    keep_course(longer, out, state, has_begun=lambda stage: True)
