"""Readers with groups of columns: what they leave out, what they count, and that they see one state of the store."""

import math
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from deeprec.agent.traces import (
    PARTS,
    CaseRecord,
    RewardRecord,
    RunFilter,
    RunNotFoundError,
    TraceStore,
    TraceStoreError,
    redact_person,
)

CASE = CaseRecord(target_popularity=3.0, history_length=7, other_data=True, phrases=("1990s", "drama"))


@pytest.fixture
def store(any_store: TraceStore) -> TraceStore:
    """A reader gives the same from SQLite and from PostgreSQL."""
    return any_store


def test_what_is_left_out_reads_as_empty_and_the_rest_is_the_same(store: TraceStore, make: Any) -> None:
    run_id = make.write(store)
    store.write_rewards(run_id, "deeprec", {"hit": 1.0})
    store.write_metrics(run_id, {"found": 1.0})
    store.write_case(run_id, CASE)
    full = store.run(run_id)
    no_tokens = tuple(replace(turn, prompt_ids=(), completion_ids=(), logprobs=()) for turn in full.turns)
    assert store.run(run_id, omit=("tokens",)) == replace(full, turns=no_tokens)
    no_texts = tuple(replace(turn, text="", thought=None, messages=None) for turn in full.turns)
    assert store.run(run_id, omit=("texts",)) == replace(full, turns=no_texts)
    assert store.run(run_id, omit=("settings",)) == replace(
        full, run=replace(full.run, sampling={}, config={}, versions={})
    )
    assert store.run(run_id, omit=("scores",)) == replace(full, rewards=(), metrics={}, case=None)
    [light] = store.traces(omit=PARTS)
    assert (light.turns[0].preference, light.turns[0].action) == (full.turns[0].preference, "retrieve")
    assert (light.retrievals, light.written, light.recommended) == (full.retrievals, full.written, full.recommended)


def test_metrics_and_cases_are_replaced_and_kept_with_their_nan(store: TraceStore, make: Any) -> None:
    run_id = make.write(store)
    store.write_rewards(run_id, "deeprec", {"hit": 1.0})
    store.write_metrics(run_id, {"found": 1.0, "calls": 2.0})
    store.write_metrics(run_id, {"found": math.nan})
    store.write_case(run_id, CASE)
    store.write_case(run_id, replace(CASE, target_popularity=math.nan, phrases=()))
    trace = store.run(run_id)
    assert list(trace.metrics) == ["found"]
    assert math.isnan(trace.metrics["found"])
    assert trace.case is not None
    assert math.isnan(trace.case.target_popularity)
    assert replace(trace.case, target_popularity=0.0) == replace(CASE, target_popularity=0.0, phrases=())
    assert trace.rewards == (RewardRecord(scheme="deeprec", component="hit", value=1.0),)
    assert [(score.scheme, score.component) for score in trace.scores] == [("deeprec", "hit"), ("eval", "found")]
    for write in (lambda: store.write_metrics(uuid4(), {}), lambda: store.write_case(uuid4(), CASE)):
        with pytest.raises(RunNotFoundError, match="no run"):
            write()
    store.delete_run(run_id)
    with store.snapshot() as snapshot:
        assert snapshot.cases([run_id]) == {}
        assert snapshot.columns("metrics", ("run_id",))["run_id"].names() == []


def test_filters_by_what_a_run_is(store: TraceStore, make: Any) -> None:
    scored = make.write(store, make.run(kind="scored", suite="a@1"))
    agent = make.write(store, make.run(suite="a"))
    store.start_run(going := make.run(suite="a"))
    gone = make.write(store, make.run(user_id="gone", suite="b"))
    redact_person(store, "gone", dry_run=False)
    store.write_metrics(scored, {"found": 0.0})

    def found(**where: Any) -> set[Any]:
        return {run_id for page in store.run_ids(RunFilter(**where), batch=2) for run_id in page}

    assert found(kind="scored") == {scored}
    assert found(ended=False) == {going.run_id}
    assert found(ended=True, redacted=False) == {scored, agent}
    assert found(redacted=True) == {gone}
    assert found(measured=True) == {scored}
    assert found(measured=False, suite="a") == {agent, going.run_id}
    assert found(suite="a") == {scored, agent, going.run_id}
    assert found(label="a") == {agent, going.run_id}


def test_runs_are_counted_by_any_columns(store: TraceStore, make: Any) -> None:
    for guided, adapter in ((True, None), (False, "x"), (True, None)):
        make.write(store, make.run(guided=guided, adapter=adapter, suite="s@1"))
    make.write(store, make.run(suite="t"))
    with store.snapshot() as snapshot:
        counted = snapshot.count_runs("guided", "adapter", where=RunFilter(suite="s"))
        assert [(count.values, count.runs) for count in counted] == [((False, "x"), 1), ((True, None), 2)]
        assert counted[1].first < counted[0].first == counted[0].last < counted[1].last
        assert snapshot.newest_label("s") == "s@1"
        with pytest.raises(TraceStoreError, match="no runs of a suite 'u'"):
            snapshot.newest_label("u")
        assert snapshot.count_items(RunFilter(suite="t")) == {None: 2}


def test_a_snapshot_does_not_see_what_is_written_meanwhile(store: TraceStore, make: Any) -> None:
    first = make.write(store)
    with store.snapshot() as snapshot:
        assert [row.run_id for row in snapshot.runs(("run_id",))] == [first]
        make.write(store)
        assert [row.run_id for row in snapshot.runs(("run_id",))] == [first]
        assert set(snapshot.columns("turns", ("run_id",))["run_id"].names()) == {str(first)}
    assert len(store.runs()) == 2
