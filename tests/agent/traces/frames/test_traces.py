import io
import sqlite3
import sys
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeprec.agent import Traces
from deeprec.agent.traces import RunFilter, RunNotFoundError, TraceStore, TraceStoreError
from deeprec.trm_tool import Catalogue, ConfigError, Item, ScoredItem

pandas = pytest.importorskip("pandas", reason="needs pandas (the extra [notebooks])")

CATALOGUE = Catalogue([Item(id="9", title="Alien"), Item(id="1", title="<b>Heat</b>")], {})


@pytest.fixture
def store(any_store: TraceStore) -> TraceStore:
    """A frame is the same from SQLite and from PostgreSQL."""
    return any_store


def test_runs_have_lineage_ending_and_counts(store: TraceStore, make: Any) -> None:
    first, second = make.run(), make.run(target_id=None, seed=None, history=(), message=None)
    make.write(store, first)
    store.start_run(second)
    runs = Traces(store).runs()
    assert runs.index.name == "run_id"
    assert list(runs.index) == [str(first.run_id), str(second.run_id)]  # oldest first
    row = runs.loc[str(first.run_id)]
    assert (row.status, row.seed, row.history_length, row.turns, row.retrievals) == ("finished", 2**40, 2, 3, 2)
    assert (row.completion_tokens, row.target_rank, row.ungrounded) == (9, 2, 1)
    assert row.config == {"max_turns": 3, "names": ["a"]}
    assert row.parent_id == str(first.parent_id)
    assert pandas.isna(row.written_rank)  # only the filling listed it
    other = runs.loc[str(second.run_id)]
    assert (other.status, other.turns, other.completion_tokens, other.history_length) == ("running", 0, 0, 0)
    assert pandas.isna(other.seed)
    assert other.message is None
    assert pandas.isna(other.finished_at)
    assert np.isnan(other.latency_ms)
    trace = store.run(first.run_id)
    assert row.started_at.to_pydatetime() == trace.started_at.astimezone(UTC)


def test_columns_have_types_that_do_not_depend_on_the_rows(store: TraceStore, make: Any) -> None:
    traces = Traces(store)
    frames = (traces.runs, traces.turns, traces.retrievals, traces.recommendations, traces.rewards)
    empty = [frame().dtypes.drop(index=["status", "scheme", "component"], errors="ignore") for frame in frames]
    run_id = make.write(store)
    store.write_rewards(run_id, "deeprec", {"hit": 1.0})
    for before, frame in zip(empty, frames, strict=True):
        after = frame().dtypes
        assert {name: str(kind) for name, kind in before.items() if str(kind) != "category"} == {
            name: str(after[name]) for name, kind in before.items() if str(kind) != "category"
        }
    runs, turns, found = traces.runs(), traces.turns(), traces.retrievals()
    assert str(runs.started_at.dtype) == "datetime64[us, UTC]"
    assert str(runs.seed.dtype) == "Int64"
    assert runs.incomplete.dtype == bool
    assert list(runs.status.cat.categories) == [
        *("running", "finished", "malformed", "budget", "fallback", "empty"),
        *("ungrounded", "truncated", "refused", "filtered", "aborted"),
    ]
    assert str(turns.action.dtype) == "category"
    assert found.score.dtype == np.float64
    assert str(found.is_target.dtype) == "boolean"


def test_turns_hold_tokens_on_demand_only(store: TraceStore, make: Any) -> None:
    run_id = make.write(store)
    traces = Traces(store)
    turns = traces.turns()
    assert list(turns.turn) == [0, 1, 2]
    assert list(turns.action) == ["retrieve", "retrieve", "recommend"]
    assert set(turns.run_id) == {str(run_id)}
    assert "logprobs" not in turns.columns
    with_tokens = traces.turns(tokens=True)
    np.testing.assert_array_equal(with_tokens.prompt_ids[1], [10, 11, 12, 13, 14])
    np.testing.assert_array_equal(with_tokens.completion_ids[2], [100_002, 7, 2])
    assert with_tokens.logprobs[0].dtype == np.float32
    assert with_tokens.logprobs[0].tolist() == [-0.5, -0.25, -2.0]


def test_retrievals_have_one_row_an_item(store: TraceStore, make: Any) -> None:
    run = make.run()
    store.start_run(run)
    store.record_turn(run.run_id, make.turn(0))
    store.record_retrieval(run.run_id, make.retrieval(0, preference="space", turn=0))
    store.record_retrieval(run.run_id, make.retrieval(1, turn=1, items=(), preference="nothing"))
    store.record_retrieval(
        run.run_id,
        make.retrieval(2, turn=3, preference="more", items=(ScoredItem("5", float("nan")), ScoredItem("9", 1))),
    )
    other = make.run(target_id=None)
    store.start_run(other)
    store.record_retrieval(other.run_id, make.retrieval(0, items=(ScoredItem("1", 0.5),)))
    found = Traces(store, titles=CATALOGUE).retrievals()
    mine = found[found.run_id == str(run.run_id)]
    assert list(mine.item_id) == ["9", "20", "1", "5", "9"]
    assert list(mine["rank"]) == [1, 2, 3, 1, 2]
    assert list(mine.retrieval) == [0, 0, 0, 2, 2]
    assert list(mine.turn) == [0, 0, 0, 3, 3]
    assert list(mine.preference) == ["space"] * 3 + ["more"] * 2
    assert list(mine.seen_before) == [False, False, False, False, True]
    assert list(mine.is_target) == [False, False, True, False, False]
    assert list(mine.title) == ["Alien", None, "<b>Heat</b>", None, "Alien"]
    assert np.isnan(mine.score.iloc[3])
    theirs = found[found.run_id == str(other.run_id)]
    assert list(theirs.seen_before) == [False]  # another run's item
    assert theirs.is_target.isna().all()


def test_recommendations_are_those_written_and_those_shown(store: TraceStore, make: Any) -> None:
    make.write(store)
    lists = Traces(store).recommendations()
    written = lists[lists.listing == "written"]
    assert list(written.item_id) == ["9", "9", "77"]
    assert list(written.retrieval.isna()) == [False, False, True]
    shown = lists[lists.listing == "recommended"]
    assert list(zip(shown["rank"], shown.item_id, shown.source, shown.is_target, strict=True)) == [
        (1, "9", "written", False),
        (2, "1", "filled", True),
    ]
    assert "title" not in lists.columns


def test_rewards_are_long_or_wide_and_keep_nan(store: TraceStore, make: Any) -> None:
    first, second = make.write(store), make.write(store)
    store.write_rewards(first, "deeprec", {"hit": 1.0, "rank": float("nan")})
    store.write_rewards(second, "other", {"hit": 0.5})
    traces = Traces(store)
    long = traces.rewards()
    assert sorted(zip(long.scheme, long.component, strict=True)) == [
        ("deeprec", "hit"),
        ("deeprec", "rank"),
        ("other", "hit"),
    ]
    wide = traces.rewards(wide=True)
    assert list(wide.columns) == ["deeprec.hit", "deeprec.rank", "other.hit"]
    assert wide.loc[str(first), "deeprec.hit"] == 1.0
    assert np.isnan(wide.loc[str(first), "deeprec.rank"])
    assert np.isnan(wide.loc[str(first), "other.hit"])
    assert wide.loc[str(second), "other.hit"] == 0.5


def test_frames_join_on_the_run(store: TraceStore, make: Any) -> None:
    make.write(store, make.run(suite="a"))
    make.write(store, make.run(suite="b"), turns=2)
    traces = Traces(store)
    turns = traces.turns().join(traces.runs().suite, on="run_id")
    assert turns.groupby("suite").size().to_dict() == {"a": 3, "b": 2}
    merged = traces.turns().merge(traces.retrievals(), on=["run_id", "turn"], suffixes=("", "_used"))
    assert len(merged) == 9


def test_a_filter_holds_for_every_frame(store: TraceStore, make: Any) -> None:
    keep = make.write(store, make.run(suite="a"))
    drop = make.write(store, make.run(suite="b"))
    for run_id in (keep, drop):
        store.write_rewards(run_id, "deeprec", {"hit": 0.0})
    traces, where = Traces(store), RunFilter(suite="a")
    assert list(traces.runs(where).index) == [str(keep)]
    for frame in (traces.turns, traces.retrievals, traces.recommendations, traces.rewards):
        assert set(frame(where).run_id) == {str(keep)}


def test_more_rows_than_one_block_come_in_order(store: TraceStore, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make.write(store)
    traces = Traces(store)
    whole, lists = traces.retrievals(), traces.recommendations()
    monkeypatch.setattr("deeprec.agent.traces.store.columns.BLOCK", 4)
    pandas.testing.assert_frame_equal(traces.retrievals(), whole)
    pandas.testing.assert_frame_equal(traces.recommendations(), lists)


def test_a_run_shows_itself_as_a_page_and_in_a_terminal(url: str, store: TraceStore, make: Any) -> None:
    from rich.console import Console

    run_id = make.write(store)
    with Traces(url, titles=CATALOGUE) as traces:
        run = traces.run(str(run_id)[:8])
        page = run._repr_html_()
        assert "&lt;b&gt;Heat&lt;/b&gt;" in page
        assert "<b>Heat" not in page
        assert repr(run) == f"<run {run_id}, finished, 3 turns>"
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(run)
        assert "sci-fi; 1980s" in console.export_text()
        coloured = run.with_tokens(lambda ids: [f"token{i}" for i in ids])._repr_html_()
        assert "token100000" in coloured
        assert "token100000" not in page
        with pytest.raises(RunNotFoundError):
            traces.run("0000")


def test_two_runs_are_compared(store: TraceStore, make: Any) -> None:
    left, right = make.write(store), make.write(store, status="budget")
    pair = Traces(store).compare(left, right)
    assert pair.comparison is not None
    page = pair._repr_html_()
    assert str(left)[:8] in page
    assert str(right)[:8] in page
    assert repr(pair) == f"<runs {left} and {right}, compared>"


def test_an_open_store_stays_open(store: TraceStore, make: Any) -> None:
    with Traces(store):
        pass
    make.write(store)
    assert len(Traces(store).runs()) == 1


def test_a_missing_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(TraceStoreError, match="no trace store"):
        Traces(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_damaged_time_is_named(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "damaged.db"
    with TraceStore(path) as store:
        make.write(store)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET started_at = 'yesterday'")
    connection.commit()
    connection.close()
    with Traces(path) as traces, pytest.raises(TraceStoreError, match="'started_at'"):
        traces.runs()


def test_without_pandas_the_extra_is_named(store: TraceStore, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = make.write(store)
    monkeypatch.setitem(sys.modules, "pandas", None)
    traces = Traces(store)
    with pytest.raises(ConfigError, match=r"deeprec-agent\[notebooks\]"):
        traces.runs()
    assert traces.run(run_id).trace.status == "finished"  # pages need no pandas
