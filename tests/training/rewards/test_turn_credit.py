"""Credit by turn and position: by hand on made runs, and over their tokens."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from deeprec.agent.traces import RunTrace, TraceStore
from deeprec.evals import make_rewards, score_run
from deeprec.training import credit_parts, credit_turns, read_scored, score_stored_runs, stage_reward
from deeprec.training.rewards.turn_credit import list_positions
from deeprec.trm_tool import ConfigError, ScoredItem
from tests.made_runs import made_run, store_runs

STAGE = stage_reward("recommendation")
FIRST, SECOND, THIRD = 1.0, 1 / math.log2(3), 0.5


def run_with(found: list[str], written: str, *, target: str | None = "t", **changes: Any) -> RunTrace:
    """A run whose retrievals find `found`, one item a letter, and whose list is `written`."""
    trace = made_run(list(written), target=target, searches=found, **changes)
    retrievals = tuple(
        replace(call, items=tuple(ScoredItem(item, 0.5) for item in items))
        for call, items in zip(trace.retrievals, found, strict=True)
    )
    return replace(trace, retrievals=retrievals)


def parts_of(*traces: RunTrace, stage: Any = STAGE) -> list[Any]:
    rewards = make_rewards()
    return credit_parts(traces, [score_run(trace, rewards) for trace in traces], stage=stage)


def test_a_retrieval_is_credited_with_what_it_brought() -> None:
    late, early, never = run_with(["abc", "tab"], "tab"), run_with(["tab", "abc"], "tab"), run_with(["abc"], "abc")
    # Fused, the second retrieval of `late` lifts t from nowhere to third (a: first twice, b; t), and that of `early`
    # leaves t where three items share its two ranks at best.
    one, two, three = parts_of(late, early, never)
    first_mean = (0 + FIRST + 0) / 3
    assert one.retrievals[0] == pytest.approx(0 - first_mean)
    assert two.retrievals[0] == pytest.approx(FIRST - first_mean)
    assert three.retrievals == pytest.approx([0 - first_mean])
    assert one.retrievals[1] == pytest.approx(-two.retrievals[1])  # over the two runs that retrieved twice
    assert one.retrievals[1] > 0 > two.retrievals[1]


def test_a_position_is_credited_with_the_list_from_there_on() -> None:
    first, third, absent = (run_with(["abct"], written) for written in ("tab", "abt", "abc"))
    one, two, three = parts_of(first, third, absent)
    means = np.array([(FIRST + THIRD) / 3, THIRD / 3, THIRD / 3])
    assert one.positions == pytest.approx(np.array([FIRST, 0, 0]) - means)
    assert two.positions == pytest.approx(np.array([THIRD, THIRD, THIRD]) - means)
    assert three.positions == pytest.approx(-means)
    assert [part.whole for part in (one, two, three)] == [0, 0, 0]
    assert not parts_of(first, third, stage=stage_reward("interaction"))[0].positions.size


def test_a_broken_run_is_credited_as_a_whole_and_is_no_measure_for_the_others() -> None:
    broken = run_with(["abct"], "tt")
    good, other, bad = parts_of(run_with(["tabc"], "tab"), run_with(["tabc"], "atb"), broken)
    assert bad.whole == pytest.approx(-2 / 3)
    assert good.whole == other.whole == pytest.approx(1 / 3)
    assert not bad.positions.any()
    assert not bad.retrievals.any()
    assert good.positions[0] == pytest.approx((FIRST - SECOND) / 2)


def test_further_rewards_belong_to_the_whole_run() -> None:
    traces = [run_with(["tabc"], "tab"), run_with(["tabc", "abct"], "tab")]
    components = [score_run(trace, make_rewards()) | {"brief": -float(len(trace.turns))} for trace in traces]
    one, two = credit_parts(traces, components, stage=stage_reward("recommendation", {"brief": 2.0}))
    assert (one.whole, two.whole) == (1, -1)


def test_a_run_without_a_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no target, so that no turn of it can be credited"):
        credit_parts([run_with(["abc"], "abc", target=None)], [{"format": 0.0, "found": math.nan}], stage=STAGE)


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("12\n3\n</recommendation_list>", [1, 1, 1, 2, 2, *[0] * 22]),
        ("<think>1\n</think><recommendation_list>\n4\n\n5", [*[0] * 39, 1, 1, 0, 2]),
        ("", []),
    ],
)
def test_tokens_belong_to_the_line_that_they_write(chat_base: Path, text: str, positions: list[int]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat_base)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert list_positions(ids, tokenizer).tolist() == positions


def with_list(trace: RunTrace, text: str, tokenizer: Any) -> RunTrace:
    """The run with `text` as the tokens of its last turn."""
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    last = replace(
        trace.turns[-1], completion_ids=ids, logprobs=(-0.5,) * len(ids), completion_tokens=len(ids), text=text
    )
    return replace(trace, turns=(*trace.turns[:-1], last))


@pytest.mark.slow
def test_the_credit_of_turns_and_positions_lies_on_their_tokens(chat_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat_base)
    end = "</recommendation_list>"
    runs = {
        "good": with_list(
            run_with(["tabc"], "tab"), f"<think>?</think><recommendation_list>\n1\n2\n3\n{end}", tokenizer
        ),
        "poor": with_list(run_with(["abct"], "abt"), f"1\n2\n4\n{end}", tokenizer),
        "odd": with_list(run_with(["abct"], "abc"), f"1, 2, 3\n{end}", tokenizer),
    }
    with TraceStore(tmp_path / "store.db") as store:
        traces = store_runs(store, *runs.values())
        score_stored_runs(store, rewards=make_rewards(), stage=STAGE)
        scored = read_scored(store, stage=STAGE)
        credited = {each.rollout.run_id: each for each in credit_turns(scored, store, stage=STAGE, tokenizer=tokenizer)}
    parts = parts_of(*traces)
    for trace, part, name in zip(traces, parts, runs, strict=True):
        credit = credited[trace.run.run_id].credit
        assert credit is not None
        search, turn = trace.turns
        begin = len(search.prompt_ids)
        assert not credit.advantages[:begin].any()
        assert credit.advantages[begin : begin + 3] == pytest.approx([part.retrievals[0]] * 3)
        own = credit.advantages[-len(turn.completion_ids) :]
        at = credit.positions[-len(turn.completion_ids) :]
        if name == "odd":  # a list in one line: its tokens have the credit of the whole list
            assert not at.any()
            assert own == pytest.approx([part.positions[0]] * own.size)
            continue
        assert sorted(set(at.tolist())) == [0, 1, 2, 3]
        for position in (1, 2, 3):
            assert own[at == position] == pytest.approx([part.positions[position - 1]] * 2)
        before = int(np.flatnonzero(at)[0])
        assert own[:before] == pytest.approx([part.positions[0]] * before)
        assert not own[-len(end) :].any()
