"""Whole runs written at once are the runs that were written step by step."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from deeprec.agent.traces import RewardRecord, RunTrace, StepConflictError, TraceStore
from tests import inspected_runs


def test_what_is_written_whole_reads_back_the_same_and_is_idempotent(tmp_path: Path) -> None:
    trace = replace(whole_run(), rewards=(RewardRecord(scheme="s", component="c", value=0.5),))
    with TraceStore(tmp_path / "traces.db") as store:
        store.write_runs([trace])
        stored = store.run(trace.run.run_id)
        short = [tuple(float(np.float32(value)) for value in turn.logprobs) for turn in trace.turns]
        turns = [replace(turn, logprobs=logprobs) for turn, logprobs in zip(trace.turns, short, strict=True)]
        assert stored == replace(trace, turns=tuple(turns))
        store.write_runs([trace, replace(trace, run=replace(trace.run, run_id=uuid4()))])
        assert len(store.runs()) == 2


def test_a_run_that_is_there_with_other_content_stops_all(tmp_path: Path) -> None:
    trace = whole_run()
    other = replace(trace, turns=(replace(trace.turns[0], text="other"), *trace.turns[1:]))
    new = replace(trace, run=replace(trace.run, run_id=uuid4()))
    with TraceStore(tmp_path / "traces.db") as store:
        store.write_runs([trace])
        with pytest.raises(StepConflictError):
            store.write_runs([new, other])
        assert len(store.runs()) == 1


def whole_run() -> RunTrace:
    return inspected_runs.made_run()
