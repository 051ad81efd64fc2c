import math

import numpy as np
import pytest
from transformers import LlamaForCausalLM

from deeprec.training import ScoredRollout
from deeprec.training.trainers.alarms import find_alarms, same_answer
from tests.training.tiny_policy import make_rollout


def names(**figures: list[float]) -> list[str]:
    steps = [dict(zip(figures, values, strict=True)) for values in zip(*figures.values(), strict=True)]
    return [alarm.name for alarm in find_alarms(steps)]


def test_a_healthy_training_raises_none() -> None:
    assert names(format_valid=[0.1, 0.5, 0.8, 0.9, 0.8], entropy=[0.8, 0.7, 0.6, 0.5, 0.5], same_answer=[0.3] * 5) == []
    assert find_alarms([]) == []


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([0.9, 0.9, 0.9, 0.4], []),  # one step may be chance
        ([0.9, 0.9, 0.9, 0.2, 0.2], ["format"]),
        ([0.1, 0.1, 0.1], []),  # bad, but it never was better
        ([0.9, 0.1], []),  # too few steps to say
    ],
)
def test_a_falling_format_is_seen_over_three_steps(figures: list[float], expected: list[str]) -> None:
    assert names(format_valid=figures) == expected


def test_the_message_says_what_was_seen_and_what_to_do() -> None:
    [alarm] = find_alarms([{"format_valid": value} for value in (0.9, 0.9, 0.9, 0.3, 0.3, 0.3)])
    assert "fell from 0.90 to 0.30" in alarm.message
    assert "lower the learning rate" in alarm.message


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([0.5, 0.4, 0.3], []),
        ([0.5, 0.5, 0.5, 0.02, 0.02, 0.02], ["entropy"]),
        ([2.0, 2.0, 2.0, 0.3, 0.3, 0.3], ["entropy"]),
    ],
)
def test_entropy_near_nothing_or_far_below_its_start(figures: list[float], expected: list[str]) -> None:
    assert names(entropy=figures) == expected


def test_one_answer_for_everybody_three_steps_in_a_row() -> None:
    assert names(same_answer=[0.2, 1.0, 1.0]) == []
    assert names(same_answer=[1.0, 0.95, 1.0]) == ["one answer"]


def test_a_step_without_a_figure_is_passed_over() -> None:
    assert [
        a.name for a in find_alarms([{"same_answer": 1.0}, {}, {"same_answer": math.nan}, *[{"same_answer": 1.0}] * 2])
    ]


def test_answers_are_compared_by_the_policys_tokens_across_people(tiny_model: LlamaForCausalLM) -> None:
    def scored(seed: int, group: str, answer: int | None = None) -> ScoredRollout:
        rollout = make_rollout(tiny_model, seed=seed, group=group)
        if answer is not None:
            np.copyto(rollout.token_ids, answer, where=rollout.env_mask == 1)
        return ScoredRollout(rollout=rollout, components={}, reward=0.0, advantage=0.0)

    assert same_answer([scored(1, "a", 5), scored(2, "b", 5), scored(3, "c", 5), scored(4, "c")]) == 1
    assert same_answer([scored(1, "a", 5), scored(2, "a", 5), scored(3, "b"), scored(4, "c")]) == pytest.approx(1 / 3)
    assert same_answer([scored(1, "a", 5), scored(2, "b", 5), scored(3, "c"), scored(4, "d")]) == 0.5
    assert math.isnan(same_answer([scored(1, "a", 5), scored(2, "a", 5)]))
