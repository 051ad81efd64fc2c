import json
import math
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deeprec.agent.traces import RunFilter, TraceStore, export_jsonl, export_parquet
from deeprec.agent.traces.store.schema import Base
from deeprec.trm_tool import ConfigError, ScoredItem

NAMES = (
    *("cases", "conversation_turns", "metrics", "recommendations", "retrievals", "retrieved_items", "rewards", "runs"),
    "turns",
)


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in NAMES}


def test_every_table_is_a_file_and_every_column_is_typed(store: TraceStore, tmp_path: Path, make: Any) -> None:
    run_id = make.write(store, make.run(fork={"turn": None}))
    store.write_rewards(run_id, "list", {"hit": 1.0, "none": math.nan})
    assert export_parquet(store, tmp_path / "out").runs == 1
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [f"{name}.parquet" for name in NAMES]
    for table in (table for table in Base.metadata.sorted_tables if table.name != "run_pairs"):  # no part of a run
        schema = pq.read_schema(tmp_path / "out" / f"{table.name}.parquet")
        assert schema.names == [column.name for column in table.c]
        assert json.loads(schema.metadata[b"deeprec"]) == {"kind": f"traces {table.name}", "format": 1}
    turns = pq.read_schema(tmp_path / "out" / "turns.parquet")
    assert turns.field("completion_ids").type == pa.list_(pa.uint32())
    assert turns.field("logprobs").type == pa.list_(pa.float32())
    assert turns.field("recorded_at").type == pa.timestamp("us", tz="UTC")
    assert turns.field("latency_ms").type == pa.float64()


def test_turns_of_conversations_are_a_table_beside_the_runs(store: TraceStore, tmp_path: Path, make: Any) -> None:
    turn = make.conversation_turn()
    store.record_conversation_turn(turn)
    assert export_parquet(store, tmp_path / "out").conversation_turns == 1
    [row] = read(tmp_path / "out")["conversation_turns"]
    assert (row["thread_id"], row["run_id"], row["shown"]) == ("thread-1", str(turn.run_id), ["9", "1"])
    assert json.loads(row["state_after"]) == turn.state_after
    assert export_parquet(store, tmp_path / "out", RunFilter(status="finished")).conversation_turns == 0


def test_the_values_are_the_store_s(store: TraceStore, tmp_path: Path, make: Any) -> None:
    run_id = make.write(store)
    store.write_rewards(run_id, "list", {"hit": 1.0, "none": math.nan})
    export_parquet(store, tmp_path / "out")
    trace, tables = store.run(run_id), read(tmp_path / "out")
    [run] = tables["runs"]
    assert (run["run_id"], run["user_id"], run["history"]) == (str(run_id), "12", ["50", "181"])
    assert json.loads(run["sampling"]) == trace.run.sampling
    assert (run["started_at"], run["seed"], run["fork"], run["redacted_at"]) == (trace.started_at, 2**40, None, None)
    for row, turn in zip(tables["turns"], trace.turns, strict=True):
        assert row["completion_ids"] == list(turn.completion_ids)
        assert row["prompt_ids"] == list(turn.prompt_ids)
        assert row["logprobs"] == list(turn.logprobs)
        assert (row["text"], row["items"], row["messages"]) == (turn.text, list(turn.items), None)
    assert [row["item_id"] for row in tables["retrieved_items"]] == [i.id for r in trace.retrievals for i in r.items]
    assert [row["unenforced"] for row in tables["retrievals"]] == [["colour"]] * 2
    assert [(r["listing"], r["item_id"]) for r in tables["recommendations"]] == [
        *(("recommended", line.item_id) for line in trace.recommended),
        *(("written", line.item_id) for line in trace.written),
    ]
    assert [(r["component"], r["value"]) for r in tables["rewards"]] == [("hit", 1.0), ("none", None)]


def test_odd_values(store: TraceStore, tmp_path: Path, make: Any) -> None:
    store.start_run(run := make.run(parent_id=None, history=(), sampling={}))
    store.record_turn(
        run.run_id,
        make.turn(
            0,
            prompt_ids=(),
            completion_ids=(2**32 - 1,),
            logprobs=(-math.inf,),
            latency_ms=math.nan,
            messages=[{"a": "é"}],
        ),
    )
    store.record_turn(run.run_id, make.turn(1, prompt_ids=(), completion_ids=(), logprobs=()))
    store.record_retrieval(run.run_id, make.retrieval(0, items=(ScoredItem("a", math.nan), ScoredItem("b", math.inf))))
    export_parquet(store, tmp_path / "out")
    tables = read(tmp_path / "out")
    first, second = tables["turns"]
    assert (first["completion_ids"], first["logprobs"], first["latency_ms"]) == ([2**32 - 1], [-math.inf], None)
    assert (second["prompt_ids"], second["completion_ids"], second["logprobs"]) == ([], [], [])
    assert json.loads(first["messages"]) == [{"a": "é"}]
    assert [row["score"] for row in tables["retrieved_items"]] == [None, math.inf]
    assert (tables["runs"][0]["parent_id"], tables["runs"][0]["history"]) == (None, [])


def test_row_groups_hold_some_runs_each_and_a_filter_says_which(store: TraceStore, tmp_path: Path, make: Any) -> None:
    for number in range(520):
        store.start_run(make.run(split="train" if number % 26 else "test"))
    assert export_parquet(store, tmp_path / "all").runs == 520
    file = pq.ParquetFile(tmp_path / "all" / "runs.parquet")
    assert (file.num_row_groups, file.metadata.num_rows) == (2, 520)
    assert export_parquet(store, tmp_path / "some", RunFilter(split="test")).runs == 20
    assert pq.read_table(tmp_path / "some" / "turns.parquet").num_rows == 0
    file.close()


def test_an_earlier_export_is_replaced_and_nothing_else(store: TraceStore, tmp_path: Path, make: Any) -> None:
    make.write(store)
    out = tmp_path / "out"
    for _ in range(2):
        export_parquet(store, out)
        make.write(store)
    assert len(read(out)["runs"]) == 2
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds something else \('notes.txt'\), so it stays"):
        export_parquet(store, out)
    for content in (b"mine", b""):
        mine = tmp_path / "mine" / "runs.parquet"
        mine.parent.mkdir(exist_ok=True)
        mine.write_bytes(content)
        with pytest.raises(ConfigError, match=r"holds something else \('runs.parquet'\), so it stays"):
            export_parquet(store, mine.parent)
        assert mine.read_bytes() == content
    pq.write_table(pa.table({"a": [1]}), mine)
    with pytest.raises(ConfigError, match="holds something else"):
        export_parquet(store, mine.parent)
    assert pq.read_table(mine).to_pydict() == {"a": [1]}
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is not a folder"):
        export_parquet(store, tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir() if "db" not in path.name) == ["file", "mine", "out"]


def test_a_folder_one_stands_in_is_refused_and_a_link_is_followed(
    store: TraceStore, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.write(store)
    export_parquet(store, tmp_path / "out")
    (tmp_path / "link").symlink_to("out")
    make.write(store)
    export_parquet(store, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(read(tmp_path / "out")["runs"]) == 2
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(ConfigError, match="is the current working folder"):
        export_parquet(store, ".")
    assert len(read(tmp_path / "out")["runs"]) == 2


def test_who_may_read_an_export_is_the_users_choice(store: TraceStore, tmp_path: Path, make: Any) -> None:
    make.write(store)
    before = os.umask(0o077)
    try:
        export_parquet(store, tmp_path / "out")
        export_jsonl(store, tmp_path / "out.jsonl")
    finally:
        os.umask(before)
    made = (tmp_path / "out", tmp_path / "out" / "runs.parquet", tmp_path / "out.jsonl")
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700, 0o600, 0o600]
