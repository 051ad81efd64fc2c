import logging
from dataclasses import fields, replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import text

from deeprec.agent import redact_person
from deeprec.agent.traces import RunFilter, RunOutcome, RunRecord, RunTrace, TraceStore, TraceStoreError, TurnRecord
from deeprec.training import Rollout, RolloutError, read_rollouts, rollout_from_run

NAN = np.nan


def turns() -> list[TurnRecord]:
    """A chain of 4 + 2, then 3 + 1 tokens."""
    first = TurnRecord(
        position=0,
        node="reason",
        action="retrieve",
        prompt_ids=(1, 2, 3, 4),
        completion_ids=(50_000, 151_000),
        logprobs=(-0.5, -0.25),
        chained=True,
        prompt_tokens=4,
        completion_tokens=2,
        latency_ms=1.0,
    )
    second = replace(
        first,
        position=1,
        node="rank",
        action="recommend",
        prompt_ids=(7, 8, 9),
        completion_ids=(2,),
        logprobs=(-3.0,),
        prompt_tokens=9,
        completion_tokens=1,
    )
    return [first, second]


def write(
    store: TraceStore, steps: list[TurnRecord] | None = None, status: Any = "finished", **changes: Any
) -> RunTrace:
    values: dict[str, Any] = {
        "run_id": uuid4(),
        "protocol": "tagged",
        "protocol_version": "1",
        "prompt_version": "1",
        "guided": False,
        "k": 10,
        "policy_model": "tiny",
        "adapter": "lora",
        "adapter_version": "3",
        "trm_fingerprint": "f",
        "group_id": "g",
    }
    run = RunRecord(**values | changes)
    store.start_run(run)
    for turn in turns() if steps is None else steps:
        store.record_turn(run.run_id, turn)
    if status != "running":
        store.finish_run(run.run_id, RunOutcome(status=status, latency_ms=1.0))
    return store.run(run.run_id)


def test_a_run_becomes_its_exact_tokens(store: TraceStore) -> None:
    trace = write(store)
    rollout = rollout_from_run(trace)
    assert rollout.token_ids.dtype == np.int64
    assert rollout.token_ids.tolist() == [1, 2, 3, 4, 50_000, 151_000, 7, 8, 9, 2]
    assert rollout.env_mask.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1]
    assert rollout.logprobs.dtype == np.float32
    np.testing.assert_array_equal(rollout.logprobs, np.float32([NAN, NAN, NAN, NAN, -0.5, -0.25, NAN, NAN, NAN, -3.0]))
    assert (rollout.run_id, rollout.group_id) == (trace.run.run_id, "g")
    assert (rollout.policy_model, rollout.adapter, rollout.adapter_version) == ("tiny", "lora", "3")


@pytest.mark.parametrize("status", ["malformed", "budget"])
def test_runs_that_failed_by_the_policys_own_doing_are_rollouts(store: TraceStore, status: str) -> None:
    assert rollout_from_run(write(store, turns()[:1], status=status)).token_ids.size == 6


def test_a_guided_run_is_for_sft_only(store: TraceStore) -> None:
    trace = write(store, guided=True)
    with pytest.raises(RolloutError, match="guided") as caught:
        rollout_from_run(trace)
    assert (caught.value.reason, caught.value.run_id) == ("guided", trace.run.run_id)
    rollout = rollout_from_run(trace, allow_guided=True)
    assert (rollout.token_ids.size, rollout.guided) == (10, True)
    assert not rollout_from_run(write(store)).guided


def test_a_run_with_raw_log_probabilities_is_refused_by_name(store: TraceStore) -> None:
    trace = write(store, logprobs_mode="raw")
    with pytest.raises(RolloutError, match=r"raw logprobs.*--logprobs-mode processed_logprobs"):
        rollout_from_run(trace)
    rollout = rollout_from_run(write(store, logprobs_mode="processed", base_fingerprint="b", adapter_fingerprint="a"))
    assert (rollout.base_fingerprint, rollout.adapter_fingerprint) == ("b", "a")
    [streamed, _] = read_rollouts(store, allow_guided=True)
    assert streamed.run_id == trace.run.run_id


@pytest.mark.parametrize(
    ("sampling", "reason"),
    [
        ({"temperature": 0.7, "top_p": 1.0}, "temperature"),
        ({"temperature": 0.0, "top_p": 1.0}, "temperature"),
        ({"temperature": 1.0, "top_p": 0.95}, "top-p"),
        ({"temperature": "1", "top_p": 1.0}, "temperature"),
    ],
)
def test_a_run_that_was_sampled_otherwise_is_for_sft_only(
    store: TraceStore, sampling: dict[str, Any], reason: str
) -> None:
    trace = write(store, sampling=sampling)
    with pytest.raises(RolloutError, match=r"Collect runs with .* train sft") as caught:
        rollout_from_run(trace)
    assert caught.value.reason == reason
    assert rollout_from_run(trace, allow_guided=True).token_ids.size == 10
    assert rollout_from_run(write(store, sampling={"temperature": 1.0, "top_p": 1.0})).token_ids.size == 10


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("status", "reason"), [("running", "running"), ("fallback", "fallback")])
def test_runs_without_the_policys_own_ending_are_refused(
    store: TraceStore, status: str, reason: str, guided: bool
) -> None:
    with pytest.raises(RolloutError) as caught:
        rollout_from_run(write(store, status=status, guided=guided), allow_guided=True)
    assert caught.value.reason == reason


def test_an_incomplete_run_is_refused(store: TraceStore) -> None:
    trace = write(store)
    store.mark_incomplete(trace.run.run_id)
    with pytest.raises(RolloutError) as caught:
        rollout_from_run(store.run(trace.run.run_id), allow_guided=True)
    assert caught.value.reason == "incomplete"


def test_a_redacted_run_is_refused_by_name(store: TraceStore) -> None:
    trace = write(store, user_id="ann")
    redact_person(store, "ann", dry_run=False)
    with pytest.raises(RolloutError, match="not a rollout: redacted") as caught:
        rollout_from_run(store.run(trace.run.run_id), allow_guided=True)
    assert caught.value.reason == "redacted"


@pytest.mark.parametrize("text_only", [True, False])
def test_a_run_without_tokens_is_refused(store: TraceStore, text_only: bool) -> None:
    blank = {"prompt_ids": (), "completion_ids": (), "logprobs": (), "chained": False}
    steps = [replace(turn, **blank) for turn in turns()] if text_only else []  # type: ignore[arg-type]
    with pytest.raises(RolloutError) as caught:
        rollout_from_run(write(store, steps))
    assert caught.value.reason == "no tokens"


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, {"chained": False}, "Turn 1 is not part of the chain"),
        (1, {"prompt_tokens": 10}, "Turn 1 was sampled after 10 tokens, but 9 are stored"),
        (1, {"prompt_ids": (7, 8)}, "Turn 1 was sampled after 9 tokens, but 8 are stored"),
        (0, {"completion_ids": (50_000,), "logprobs": (-0.5,)}, "Turn 0 has 1 of 2 completion tokens"),
        (0, {"logprobs": (-0.5,)}, "Turn 0 has 1 logprobs for 2 tokens"),
        (0, {"logprobs": (-0.5, NAN)}, "some are NaN"),
        (0, {"prompt_ids": (), "prompt_tokens": 0}, "Turn 0 has no prompt"),
        (0, {"completion_ids": (), "logprobs": (), "completion_tokens": 0}, "a prompt and no completion"),
        (1, {"action": "retrieve"}, "its last turn is 'retrieve'"),
    ],
)
def test_a_broken_chain_is_refused_by_name(
    store: TraceStore, position: int, change: dict[str, Any], message: str
) -> None:
    steps = turns()
    steps[position] = replace(steps[position], **change)
    with pytest.raises(RolloutError, match=message) as caught:
        rollout_from_run(write(store, steps))
    assert caught.value.reason == "broken chain"


def test_a_lost_first_turn_is_seen_even_without_the_mark(store: TraceStore) -> None:
    trace = write(store)
    with pytest.raises(RolloutError, match="at positions 1") as caught:
        rollout_from_run(replace(trace, turns=trace.turns[1:]))
    assert caught.value.reason == "broken chain"


def test_a_call_that_never_got_an_answer_leaves_the_chain_whole(store: TraceStore) -> None:
    silent = TurnRecord(position=2, node="reason", action="unavailable", latency_ms=1.0)
    assert rollout_from_run(write(store, [*turns(), silent], status="budget")).token_ids.size == 10


def outcome_of(store: TraceStore, run_id: UUID, **options: Any) -> tuple[str, Any]:
    """What reading one run from its trace comes to."""
    try:
        return "rollout", rollout_from_run(store.run(run_id), **options)
    except RolloutError as error:
        return error.reason, str(error)


@pytest.mark.parametrize("allow_guided", [False, True])
def test_streaming_and_reading_one_run_agree_on_good_and_bad_runs(store: TraceStore, allow_guided: bool) -> None:
    first, second = turns()
    silent = TurnRecord(position=2, node="reason", action="unavailable", latency_ms=1.0)
    blank: Any = {"prompt_ids": (), "completion_ids": (), "logprobs": (), "chained": False}
    steps: list[list[TurnRecord]] = [
        [first, second],
        [first, second, silent],
        [replace(first, **blank), replace(second, **blank)],
        [],
        [first, replace(second, chained=False)],
        [first, replace(second, prompt_tokens=10)],
        [replace(first, logprobs=(-0.5,)), second],
        [replace(first, logprobs=(-0.5, NAN)), second],
        [replace(first, prompt_ids=(), prompt_tokens=0), second],
        [first, replace(second, completion_ids=(), logprobs=(), completion_tokens=0)],
        [first, replace(second, action="retrieve")],
        [first, replace(second, completion_ids=(1, 2), logprobs=(-1.0, -1.0))],
    ]
    for turns_of in steps:
        for status in ("finished", "budget"):
            write(store, turns_of, status=status)
    for changes in ({"guided": True}, {"fork": {"turn": 1, "preference": "new"}}, {"fork": {"turn": None}}):
        write(store, **changes)
    for status in ("running", "fallback", "malformed"):
        write(store, status=status)
    store.mark_incomplete(write(store).run.run_id)
    write(store, user_id="ann")
    redact_person(store, "ann", dry_run=False)

    refused: dict[UUID, RolloutError] = {}
    options = {"allow_guided": allow_guided}
    found = {
        rollout.run_id: rollout
        for rollout in read_rollouts(store, on_refused=lambda e: refused.update({e.run_id: e}), **options)
    }
    ids = [run.run_id for run in store.runs(None)]
    assert found.keys() | refused.keys() == set(ids)
    for run_id in ids:
        reason, expected = outcome_of(store, run_id, **options)
        if reason != "rollout":
            assert (refused[run_id].reason, str(refused[run_id])) == (reason, expected)
            continue
        for field in fields(Rollout):
            got, want = getattr(found[run_id], field.name), getattr(expected, field.name)
            if isinstance(want, np.ndarray):
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)
            else:
                assert got == want
    assert {error.reason for error in refused.values()} == {
        *("redacted", "running", "incomplete", "fallback", "edited", "broken chain", "no tokens"),
        *(() if allow_guided else ("guided",)),
    }


def test_a_run_that_a_person_edited_is_refused_and_a_replay_is_not(store: TraceStore) -> None:
    with pytest.raises(RolloutError, match="written by a person") as caught:
        rollout_from_run(write(store, fork={"turn": 0, "preference": "new"}))
    assert caught.value.reason == "edited"
    assert rollout_from_run(write(store, fork={"turn": None})).token_ids.size == 10


def test_damaged_tokens_cost_one_run_and_not_the_stream(store: TraceStore) -> None:
    ids = [write(store).run.run_id for _ in range(3)]
    with store.writing() as connection:
        connection.execute(text("UPDATE turns SET logprobs = x'0199' WHERE run_id = :id"), {"id": ids[1].bytes})
    refused: list[RolloutError] = []
    assert [rollout.run_id for rollout in read_rollouts(store, on_refused=refused.append)] == [ids[0], ids[2]]
    assert [(error.run_id, error.reason) for error in refused] == [(ids[1], "damaged")]
    with pytest.raises(TraceStoreError, match=rf"Turn 0 of run {ids[1]} cannot be read: .*damaged"):
        store.run(ids[1])
    assert len(store.runs()) == 3  # the listing needs no tokens


def test_a_store_streams_its_rollouts_and_hands_over_what_it_refuses(store: TraceStore) -> None:
    kept = [write(store).run.run_id for _ in range(3)]
    write(store, guided=True)
    write(store, status="fallback")
    refused: list[str] = []
    rollouts = read_rollouts(store, on_refused=lambda error: refused.append(error.reason))
    assert [rollout.run_id for rollout in rollouts] == kept
    assert refused == ["guided", "fallback"]
    assert len(list(read_rollouts(store, allow_guided=True, on_refused=lambda error: None))) == 4
    assert list(read_rollouts(store, RunFilter(group_id="other"))) == []


def test_refusals_nobody_asked_for_are_counted_in_the_log(store: TraceStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    write(store)
    write(store, guided=True)
    write(store, guided=True)
    write(store, status="running")
    assert len(list(read_rollouts(store))) == 1
    assert caplog.messages == ["3 runs are not rollouts: guided 2, running 1."]
