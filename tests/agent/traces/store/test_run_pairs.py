"""Sets of pairs of runs in a store of each kind."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from deeprec.agent import Traces, TraceStore, TraceStoreError
from deeprec.agent.traces import RunNotFoundError, RunPair, pair_sets, read_pairs, redact_person, write_pairs


def pair(chosen: UUID, rejected: UUID, **changes: Any) -> RunPair:
    values: dict[str, Any] = {
        "chosen_id": chosen, "rejected_id": rejected, "reward": "deeprec.hit", "chosen_reward": 0.1,
        "rejected_reward": -1.0, "margin": 0.5, "runs": 4,
    }  # fmt: skip
    return RunPair(**values | changes)


@pytest.fixture
def runs(any_store: TraceStore, make: Any) -> list[UUID]:
    return sorted(make.write(any_store, make.run(user_id=user)) for user in ("a", "a", "b", "b"))


def test_a_set_is_read_as_it_was_written_and_replaced_whole(any_store: TraceStore, runs: list[UUID]) -> None:
    first = [pair(runs[0], runs[1]), pair(runs[2], runs[3], chosen_reward=2.0, runs=8)]
    write_pairs(any_store, "words", list(reversed(first)))
    write_pairs(any_store, "other", [pair(runs[1], runs[0])])
    assert read_pairs(any_store, "words") == first
    write_pairs(any_store, "words", first[1:])
    assert read_pairs(any_store, "words") == first[1:]
    assert read_pairs(any_store, "none") == []
    assert pair_sets(any_store) == ["other", "words"]


def test_a_pair_goes_with_either_run_and_outlives_redaction(any_store: TraceStore, runs: list[UUID]) -> None:
    write_pairs(any_store, "words", [pair(runs[0], runs[1]), pair(runs[2], runs[3])])
    redact_person(any_store, "a", dry_run=False)
    assert len(read_pairs(any_store, "words")) == 2
    any_store.delete_run(runs[1])
    assert [each.chosen_id for each in read_pairs(any_store, "words")] == [runs[2]]


def test_what_is_not_a_pair_is_refused_and_nothing_is_lost(any_store: TraceStore, runs: list[UUID]) -> None:
    kept = [pair(runs[0], runs[1])]
    write_pairs(any_store, "words", kept)
    missing = uuid4()
    with pytest.raises(RunNotFoundError, match=str(missing)):
        write_pairs(any_store, "words", [pair(runs[2], missing)])
    with pytest.raises(TraceStoreError, match="twice"):
        write_pairs(any_store, "words", kept * 2)
    for wrong in ({"rejected_reward": 0.1}, {"rejected_reward": float("nan")}, {"chosen_reward": float("inf")}):
        with pytest.raises(TraceStoreError, match="are not a pair"):
            pair(runs[0], runs[1], **wrong)
    with pytest.raises(TraceStoreError, match="are not a pair"):
        pair(runs[0], runs[0])
    assert read_pairs(any_store, "words") == kept


def test_the_table_of_pairs_joins_on_run_ids(any_store: TraceStore, runs: list[UUID]) -> None:
    pytest.importorskip("pandas", reason="needs pandas (the extra [notebooks])")
    traces = Traces(any_store)
    assert list(traces.pairs().columns)[:3] == ["name", "chosen_id", "rejected_id"]
    write_pairs(any_store, "words", [pair(runs[0], runs[1])])
    write_pairs(any_store, "other", [pair(runs[2], runs[3])])
    [row] = traces.pairs("words").to_dict("records")
    assert (row["chosen_id"], row["rejected_id"]) == (str(runs[0]), str(runs[1]))
    assert (row["reward"], row["chosen_reward"], row["rejected_reward"], row["margin"], row["runs"]) == (
        *("deeprec.hit", 0.1, -1.0, 0.5, 4),
    )
    assert len(traces.pairs()) == 2
    assert set(traces.pairs().chosen_id) <= set(traces.runs().index)
