import math
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent.traces import RewardRecord, RunTrace
from deeprec.agent.views import compare_html, compare_runs, render_comparison
from deeprec.trm_tool import Catalogue, ScoredItem
from tests.inspected_runs import (
    HOSTILE,
    RUN,
    STEERING_CHARS,
    Named,
    hostile_run,
    made_retrieval,
    made_run,
    made_turn,
    place,
)
from tests.terminal import in_terminal

OTHER = UUID(int=9)


def other(run: dict[str, Any] | None = None, **changes: Any) -> RunTrace:
    return made_run({"run_id": OTHER, **(run or {})}, **changes)


def shown(left: RunTrace, right: RunTrace, titles: Any = None, width: int = 160) -> str:
    return in_terminal(render_comparison(left, right, titles), width)


def test_a_replay_that_went_the_same_way() -> None:
    found = compare_runs(made_run(), other({"parent_id": RUN, "fork": {"turn": None}}))
    assert found.is_same
    assert found.relation == "replay"
    assert (found.first_turn, found.first_thought, found.first_preference, found.first_token) == (None,) * 4
    assert found.largest_logprob_difference == 0
    assert found.request == found.setting == ()
    assert found.overlap == 1
    assert [move.left == move.right for move in found.moves] == [True] * 3
    page = shown(made_run(), other({"parent_id": RUN, "fork": {"turn": None}}))
    assert "One is a replay of the other." in page
    assert "They went the same way" in page
    assert "All tokens are the same." in page


def test_a_replay_whose_logprobs_drift_says_by_how_much() -> None:
    turns = made_run().turns
    drifted = (replace(turns[0], logprobs=(-0.01, -0.7, -4.03)), *turns[1:])
    found = compare_runs(made_run(), other(turns=drifted))
    assert found.is_same
    assert found.largest_logprob_difference == pytest.approx(0.03)


def test_where_two_runs_first_differ() -> None:
    turns = made_run().turns
    changed = (
        turns[0],
        made_turn(1, thought="Something else.", preference="western", completion_ids=(101, 8, 2)),
        turns[2],
    )
    found = compare_runs(made_run(), other({"seed": 8, "adapter_version": "5"}, turns=changed))
    assert (found.first_turn, found.first_thought, found.first_preference) == (1, 1, 1)
    token = found.first_token
    assert token is not None
    # 4 + 3 tokens of the first turn, 4 of the prompt and 1 of the policy that are the same
    assert (token.position, token.turn, token.by, token.left, token.right) == (12, 1, "policy", 7, 8)
    assert [(part.name, part.left, part.right) for part in found.setting] == [
        ("adapter_version", "4", "5"),
        ("seed", 7, 8),
    ]
    assert [turn.same_tokens for turn in found.turns] == [True, False, True]
    assert not found.is_same


def test_a_token_that_the_tool_put_there() -> None:
    turns = made_run().turns
    changed = (turns[0], made_turn(1, prompt_ids=(10, 11, 99, 13)), turns[2])
    token = compare_runs(made_run(), other(turns=changed)).first_token
    assert token is not None
    assert (token.position, token.turn, token.by) == (9, 1, "prompt")


def test_a_run_that_stops_early() -> None:
    short = other(turns=made_run().turns[:2])
    token = compare_runs(made_run(), short).first_token
    assert token is not None
    assert (token.position, token.turn, token.left, token.right) == (14, 2, 20, None)
    mirrored = compare_runs(short, made_run()).first_token
    assert mirrored is not None
    assert (mirrored.left, mirrored.right) == (None, 20)
    found = compare_runs(made_run(), short)
    assert found.first_turn == 2
    assert found.turns[2].right is None
    assert "B: no such turn" in shown(made_run(), short)
    assert "This run has no such turn." in compare_html(made_run(), short)


def test_runs_without_one_chain_compare_by_their_texts() -> None:
    turns = tuple(made_turn(n, chained=False, prompt_ids=(), completion_ids=(), logprobs=()) for n in range(2))
    found = compare_runs(other(turns=turns), made_run(turns=(turns[0], replace(turns[1], text="another"))))
    assert found.first_token is None
    assert math.isnan(found.largest_logprob_difference)
    assert [turn.same_tokens for turn in found.turns] == [True, False]


def test_what_each_found_that_the_other_did_not() -> None:
    items = (ScoredItem("872", 0.9), ScoredItem("700", 0.8), ScoredItem("851", 0.7))
    found = compare_runs(made_run(), other(retrievals=(made_retrieval(0), made_retrieval(1, items=items))))
    assert found.only_left == ("844",)
    assert found.only_right == ("700",)
    assert found.both == ("872", "865", "900", "851")
    assert found.overlap == pytest.approx(4 / 6)
    assert found.turns[0].both == ("872", "865", "900")
    assert (found.turns[1].only_left, found.turns[1].only_right) == (("844",), ("700",))
    assert found.turns[1].both == ("872", "851")
    assert found.first_turn == 1  # the model wrote the same; the recommender answered otherwise


def test_how_the_list_moved_and_what_it_earned() -> None:
    recommended = (place(1, "851", 1, "written"), place(2, "872", 0, "filled"), place(3, "844", 1, "filled"))
    rewards = (
        RewardRecord(scheme="paper", component="format", value=0.5),
        RewardRecord(scheme="x", component="y", value=1),
    )
    found = compare_runs(made_run(), other(recommended=recommended, rewards=rewards))
    assert [(move.item_id, move.left, move.right) for move in found.moves] == [
        ("851", 3, 1),
        ("872", 1, 2),
        ("844", None, 3),
        ("900", 2, None),
    ]
    earned = {(part.scheme, part.component): part.difference for part in found.rewards}
    assert earned["paper", "format"] == -0.5
    assert math.isnan(earned["paper", "judge"])
    assert math.isnan(earned["x", "y"])
    page = shown(made_run(), other(recommended=recommended, rewards=rewards))
    for part in ("up 2 from position 3", "down 1 from position 1", "only in B", "only in A", "-0.5", "not computable"):
        assert part in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user_id": "u4"}, "another user"),
        ({"message": None}, "another message"),
        ({"history": ("900",)}, "another history"),
        ({"target_id": None}, "another held-out item"),
    ],
)
def test_another_request_is_warned_of(change: dict[str, Any], words: str) -> None:
    for page in (shown(made_run(), other(change)), compare_html(made_run(), other(change))):
        assert "different requests" in page
        assert words in page
    assert "different requests" not in shown(made_run(), other())


def test_a_fork_and_two_children_of_one_run_are_known() -> None:
    fork = other({"parent_id": RUN, "fork": {"turn": 1, "preference": "western"}})
    assert compare_runs(fork, made_run()).relation == "fork"
    sibling = made_run({"run_id": UUID(int=10), "parent_id": RUN, "fork": {"turn": None}})
    assert compare_runs(fork, sibling).relation == "siblings"
    assert compare_runs(made_run(), other()).relation is None


def test_the_page_says_what_the_terminal_says(catalogue: Catalogue) -> None:
    right = other({"seed": 8}, retrievals=(made_retrieval(0),), recommended=())
    page, text = compare_html(made_run(), right, catalogue), shown(made_run(), right, catalogue)
    for part in ("They first differ in turn 2", "Both found 3 items, only A 2, only B 0: 60% in common.", "seed"):
        assert part in page
        assert part in text
    assert catalogue.summary("844") in text
    assert "only here" in page


def test_hostile_text_steers_no_terminal() -> None:
    page = shown(hostile_run(), made_run(), Named(HOSTILE))
    assert not {char for char in page if ord(char) < 32 and char != "\n"}
    assert not STEERING_CHARS & set(page)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_any_width_will_do(width: int) -> None:
    page = shown(made_run(), other({"seed": 8}), Named("A rather long title " * 5), width=width)
    assert max(len(line) for line in page.splitlines()) <= width
