import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeprec.agent.traces import RunTrace
from deeprec.evals import (
    format_fault,
    format_reward,
    found_reward,
    hit_reward,
    invocation_reward,
    make_diversity_reward,
    make_rewards,
    make_similarity_reward,
    rank_reward,
    score_run,
)
from deeprec.trm_tool import HashingEncoder, TextRole, load_artifact
from tests.made_runs import FOUND, made_run


def make_trace(
    written: Sequence[str] = (), *, target: str | None = "900", searches: Sequence[str] = ("Comedy",), **changes: Any
) -> RunTrace:
    """A run of nobody without tokens and times."""
    nobody: dict[str, Any] = {"user_id": None, "history": ()}
    untimed: dict[str, Any] = {"finished_at": None, "latency_ms": None}
    return made_run(written, group=None, target=target, searches=searches, tokens=0, run=nobody, **untimed | changes)


def test_a_list_as_it_was_asked_for_keeps_the_format() -> None:
    assert format_reward(make_trace(FOUND[:3])) == 0.0


@pytest.mark.parametrize(
    ("trace", "fault"),
    [
        (make_trace(FOUND[:2]), "2 items instead of 3"),
        (make_trace([FOUND[0], FOUND[0], FOUND[1]]), "repeats an item"),
        (make_trace(FOUND[:3], ungrounded=1), "1 entries of the list name no candidate"),
        (make_trace(FOUND[:3], turns=make_trace().turns[:1]), "no list"),
        (make_trace(FOUND[:3], turns=()), "no list"),
        (
            make_trace(
                FOUND[:3],
                turns=(replace(make_trace().turns[0], action="malformed", detail="no tag"), make_trace().turns[1]),
            ),
            "turn 0: no tag",
        ),
    ],
)
def test_a_fault_of_format_is_named_and_costs_one(trace: RunTrace, fault: str) -> None:
    assert fault in str(format_fault(trace))
    assert format_reward(trace) == -1.0


def test_a_context_that_is_full_is_the_policys_own_doing() -> None:
    full = replace(make_trace().turns[0], action="unavailable", detail="maximum context length")
    assert format_reward(make_trace(turns=(full,), status="budget", detail="the context is full")) == -1.0


def test_a_list_may_be_as_short_as_what_was_found() -> None:
    trace = make_trace(FOUND[:2])
    few = replace(trace.retrievals[0], items=trace.retrievals[0].items[:2])
    assert format_reward(replace(trace, retrievals=(few,))) == 0.0


def test_invocations_are_paid_up_to_the_third() -> None:
    runs = [make_trace(searches=["a"] * n) for n in range(5)]
    assert [invocation_reward(run) for run in runs] == [-0.5, 0.0, 0.5, 1.0, 1.0]


def test_retrievals_are_paid_for_the_target_that_they_find_not_for_their_number() -> None:
    once, thrice = make_trace(target="886"), make_trace(target="886", searches=["a", "b", "c"])
    assert found_reward(once) == found_reward(thrice) == pytest.approx(1 / math.log2(4))
    assert found_reward(make_trace(target="1", searches=["a", "b", "c"])) == 0.0
    assert found_reward(make_trace(target="900", searches=[])) == 0.0
    assert math.isnan(found_reward(make_trace(target=None)))
    assert math.isnan(found_reward(make_trace(status="fallback")))


def test_the_fused_rank_counts_where_retrievals_disagree() -> None:
    first, other = make_trace(target="893", searches=["a", "b"]).retrievals
    turned = replace(other, items=(other.items[1], other.items[0]))  # 893 is second, then first; so is 900
    thrice = replace(make_trace(target="893"), retrievals=(first, turned, turned))
    assert found_reward(thrice) == 1.0


def test_hit_and_rank_by_hand() -> None:
    first, third, absent = make_trace(FOUND[:3]), make_trace(["893", "886", "900"]), make_trace(["893"])
    assert [hit_reward(run) for run in (first, third, absent)] == [1, 1, 0]
    assert [rank_reward(run) for run in (first, third, absent)] == pytest.approx([2.0, 1.6, 0.0])


def test_another_item_of_the_same_title_is_no_hit() -> None:
    assert hit_reward(make_trace(["886", "893"])) == 0.0  # "Toy Story" too, and a title that holds it


def test_a_repeat_takes_no_place_and_the_eleventh_place_is_none() -> None:
    assert rank_reward(make_trace(["893", "893", "900"])) == pytest.approx(1.8)
    eleven = [str(number) for number in range(10)] + ["900"]
    assert hit_reward(make_trace(eleven)) == rank_reward(make_trace(eleven)) == 0.0


class Directions:
    """An encoder of three texts, at angles that a person can compute."""

    id, fingerprint, width = "directions", "directions", 2

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> np.ndarray:
        degrees = {"a": 0, "b": 90, "c": 60}
        return np.array(
            [[np.cos(np.radians(degrees[text])), np.sin(np.radians(degrees[text]))] for text in texts], np.float32
        )


def test_diversity_is_one_minus_the_mean_pairwise_cosine() -> None:
    reward = make_diversity_reward(Directions())
    # Pairs: a-b 0, a-c cos 60 = .5, b-c cos 30 = .8660.
    assert reward(make_trace(searches=["a", "b", "c"])) == pytest.approx(
        0.2 * (1 - (0 + 0.5 + 0.8660254) / 3), abs=1e-6
    )
    assert reward(make_trace(searches=["a", "a"])) == pytest.approx(0.0, abs=1e-6)
    assert reward(make_trace(searches=["a"])) == reward(make_trace(searches=["a", ""])) == 0.0
    assert reward(make_trace(searches=[""])) == 0.0  # the recommender's own list: doing nothing is no fault
    assert math.isnan(reward(make_trace(searches=[])))


def test_similarity_weighs_the_top_of_the_list_most(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    rows = artifact.catalogue.rows(["900", "893", "886"])
    spaces = [space[rows].numpy() for space in (artifact.text_embeddings, artifact.model.item_vectors())]
    unit = [space / np.linalg.norm(space, axis=1, keepdims=True) for space in spaces]
    alike = [np.mean([space[0] @ space[row] for space in unit]) for row in range(3)]
    expected = 10 * (alike[1] * 1.0 + alike[2] * 0.25) / 1.25  # places 0 and 1 of 2: (1 - 0)^2, (1 - 1/2)^2
    reward = make_similarity_reward(artifact)
    assert reward(make_trace(["893", "886"])) == pytest.approx(expected, abs=1e-5)
    assert reward(make_trace(["900"])) == pytest.approx(10.0, abs=1e-5)


def test_what_cannot_be_computed_is_nan(artifact_folder: Path) -> None:
    artifact = load_artifact(artifact_folder)
    rewards = make_rewards(artifact, HashingEncoder())
    for trace in (
        make_trace(FOUND[:3], status="fallback"),
        make_trace(FOUND[:3], status="running"),
        make_trace(FOUND[:3], incomplete=True),
    ):
        assert all(math.isnan(value) for value in score_run(trace, rewards).values())
    late = replace(make_trace().turns[0], action="unavailable", detail="no answer within the time of the run")
    timed_out = make_trace(turns=(late,), status="budget", detail="all 600 seconds spent, the last of them waiting")
    assert all(math.isnan(value) for value in score_run(timed_out, rewards).values())
    unknown = score_run(make_trace(FOUND[:3], target=None), rewards)
    assert [name for name, value in unknown.items() if math.isnan(value)] == ["found", "hit", "rank", "similarity"]
    foreign = score_run(make_trace(["900", "no such item"]), rewards)
    assert math.isnan(foreign["similarity"])
    assert foreign["hit"] == 1.0
