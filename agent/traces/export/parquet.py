"""Runs as Parquet tables for analysis in any tool: a folder with one file a table, flat typed columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import JSON, Boolean, Column, Integer, LargeBinary, String, Table
from sqlalchemy.types import TypeDecorator

from deeprec.agent.traces.admin.disk_usage import run_tables
from deeprec.agent.traces.export.json_lines import TraceExport
from deeprec.agent.traces.export.table_rows import read_rows, staged, table_of, turns_beside
from deeprec.agent.traces.store.codec import decode_logprobs, decode_tokens
from deeprec.agent.traces.store.rows import conversation_turn_values
from deeprec.agent.traces.store.schema import RunId, UtcDateTime
from deeprec.agent.traces.store.store import RunFilter, TraceStore
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import check_not_current

FORMAT = 1
"""Number in the metadata field `deeprec` of each file."""
_ROW_GROUP_RUNS = 500
_TEXT_LISTS = {"history", "items", "phrases", "problems", "shown", "tags", "unenforced"}


def export_parquet(store: TraceStore, folder: str | Path, where: RunFilter | None = None) -> TraceExport:
    """Write runs to a folder of Parquet files, oldest first, a row group for every 500 runs, in constant memory.

    The files are runs, turns, retrievals, retrieved_items, recommendations, rewards, metrics and cases; `run_id` joins
    them. The turns of conversations are one more, conversation_turns, as `export_jsonl` chooses them. Columns are those
    of the store: text, numbers, booleans, times in UTC, lists of text, `list<uint32>` for token ids, `list<float>` for
    logprobs, and JSON text for the rest (sampling, config, versions, fork, messages, states).

    Args:
        store: where to read.
        folder: where to. An earlier export that is there is replaced once this one is whole, anything else is refused.
        where: which runs; None for all.
    Raises:
        ConfigError: the folder holds something else, or cannot be written.
        TraceStoreError: the store cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    turns_table = table_of("conversation_turns")
    tables = [*run_tables(), turns_table]
    _check_target(folder, {f"{table.name}.parquet" for table in tables})
    count = turns = 0
    with staged(folder, folder=True) as staging, ExitStack() as open_files:
        schemas = {table.name: _schema(pa, table) for table in tables}
        files = {
            name: open_files.enter_context(pq.ParquetWriter(staging / f"{name}.parquet", schema, compression="zstd"))
            for name, schema in schemas.items()
        }
        for rows in read_rows(store, where, batch=_ROW_GROUP_RUNS):
            for table in run_tables():
                if rows[table.name]:
                    files[table.name].write_batch(_batch(pa, table, schemas[table.name], rows[table.name]))
            count += len(rows["runs"])
        said_rows = map(conversation_turn_values, turns_beside(store, where))
        while said := list(islice(said_rows, _ROW_GROUP_RUNS)):
            files[turns_table.name].write_batch(_batch(pa, turns_table, schemas[turns_table.name], said))
            turns += len(said)
    return TraceExport(runs=count, conversation_turns=turns)


def _schema(pa: Any, table: Table) -> Any:
    fields = [pa.field(column.name, _type(pa, column)) for column in table.c]
    return pa.schema(fields, metadata={"deeprec": json.dumps({"kind": f"traces {table.name}", "format": FORMAT})})


def _type(pa: Any, column: Column[Any]) -> Any:
    kind = column.type
    if isinstance(kind, LargeBinary):
        return pa.list_(pa.float32() if column.name == "logprobs" else pa.uint32())
    if isinstance(kind, JSON):
        return pa.list_(pa.string()) if column.name in _TEXT_LISTS else pa.string()
    if isinstance(kind, UtcDateTime):
        return pa.timestamp("us", tz="UTC")
    if isinstance(kind, Boolean):
        return pa.bool_()
    if isinstance(kind, Integer):
        return pa.int64()
    return pa.string() if isinstance(kind, String | RunId) else pa.float64()


def _batch(pa: Any, table: Table, schema: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    return pa.record_batch(
        [_array(pa, column, [row[column.name] for row in rows]) for column in table.c], schema=schema
    )


def _array(pa: Any, column: Column[Any], values: list[Any]) -> Any:
    kind = column.type
    if isinstance(kind, LargeBinary):
        is_float = column.name == "logprobs"
        decode: Callable[[bytes], Any] = decode_logprobs if is_float else decode_tokens
        parts = [decode(value) for value in values]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
        flat = np.concatenate(parts).astype(np.float32 if is_float else np.uint32)
        return pa.ListArray.from_arrays(offsets, flat)
    if isinstance(kind, JSON) and column.name not in _TEXT_LISTS:
        values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    elif isinstance(kind, RunId):
        values = [None if value is None else str(value) for value in values]
    elif isinstance(kind, TypeDecorator) and not isinstance(kind, UtcDateTime):
        return pa.array(np.array(values, dtype=np.float64), from_pandas=True)  # NaN is a missing number
    return pa.array(values, type=_type(pa, column))


def _check_target(folder: Path, names: set[str]) -> None:
    """Raise ConfigError when an export to `folder` would remove something else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} exists and is not a folder. A Parquet export is a folder of files; name another.")
    check_not_current(folder)
    for file in sorted(folder.iterdir()):
        if file.name not in names or not _is_exported(file):
            raise ConfigError(f"{folder} holds something else ({file.name!r}), so it stays. Name another folder.")


def _is_exported(file: Path) -> bool:
    """Whether an export wrote this file: a user's own may well be called runs.parquet."""
    import pyarrow.parquet as pq

    try:
        metadata = (pq.read_schema(file).metadata or {}).get(b"deeprec", b"{}")
        return bool(json.loads(metadata)["kind"] == f"traces {file.stem}")
    except (OSError, ValueError, KeyError, TypeError):
        return False
