"""Export of runs to a file of JSON lines, and import without loss.

A header, a line for each run, a line for each turn of a conversation, and a line that ends the file.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, insert, select

from deeprec.agent.traces.admin.disk_usage import run_tables
from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.export.run_json import (
    FORMAT,
    TURN,
    RunLineError,
    rows_of,
    run_lines,
    same_run,
    turn_line,
    turn_of,
)
from deeprec.agent.traces.export.table_rows import Rows, load_rows, read_rows, staged, turns_beside
from deeprec.agent.traces.store.rows import conversation_turn_values
from deeprec.agent.traces.store.schema import ConversationTurn as TurnRow, Run
from deeprec.agent.traces.store.store import RunFilter, TraceStore
from deeprec.trm_tool.errors import ConfigError, DataError

KIND = "traces"
MAX_LINE_BYTES = 256 * 1024 * 1024
"""Longest line; a longer one does not hold a run."""
_BATCH_RUNS, _BATCH_BYTES = 100, 8 * 1024 * 1024  # of one transaction of an import


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceExport:
    """The result of an export."""

    runs: int
    conversation_turns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceImport:
    """The result of an import."""

    imported: int
    known: int
    """Runs that were there already, the same (a pin apart)."""
    conflicts: tuple[UUID, ...]
    """Runs that are there with other content; they were left as they are."""
    conversation_turns: int = 0
    """Turns of conversations that were not there; those that are there were left as they are."""


def export_jsonl(store: TraceStore, path: str | Path, where: RunFilter | None = None) -> TraceExport:
    """Write runs, and then turns of conversations, to a file that `import_jsonl` reads back without loss.

    Oldest first, in constant memory. Turns are written where the filter asks only for what they have: tenant, person,
    thread, suite and time.

    Args:
        store: where to read.
        path: where to; compressed where it ends in `.gz`. An export that is there is replaced once this one is whole,
            anything else is refused.
        where: which runs; None for all.
    Raises:
        ConfigError: the file is something else, or cannot be written.
        TraceStoreError: the store cannot be read.
    """
    path = Path(path)
    _check_target(path)
    count = turns = 0
    with staged(path) as staging, _open(staging, "wb") as file:
        _put(file, {"deeprec": KIND, "format": FORMAT})
        for rows in read_rows(store, where):
            for line in run_lines(rows):
                _put(file, line)
                count += 1
        for turn in turns_beside(store, where):
            _put(file, turn_line(turn))
            turns += 1
        _put(file, {"end": True, "runs": count, "conversation_turns": turns})
    return TraceExport(runs=count, conversation_turns=turns)


def import_jsonl(store: TraceStore, path: str | Path) -> TraceImport:
    """Read the runs and the turns of conversations of an exported file into a store. Calling it again changes nothing.

    Runs are written whole, some at a time. A run id that is taken by other content is reported and left as it is.

    Args:
        store: where to.
        path: the file; compressed where it ends in `.gz`.
    Raises:
        DataError: the file is missing, something else, from a newer version, damaged or cut off. The error names the
            line, and how many runs before it were imported: those are whole, and an import of the repaired file goes on
            from there.
        TraceStoreError: the store cannot be written.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}. Name an exported file.")
    imported = known = turns = 0
    conflicts: list[UUID] = []
    waiting: list[tuple[UUID, Rows]] = []
    waiting_turns: list[ConversationTurn] = []

    def write() -> None:
        nonlocal imported, known, turns
        new, same, other = _write(store, waiting)
        imported, known = imported + new, known + same
        conflicts.extend(other)
        waiting.clear()
        turns += _write_turns(store, waiting_turns)
        waiting_turns.clear()

    size = 0
    try:
        with _open(path, "rb") as file:
            for line in _lines(file):
                try:
                    if isinstance(line.value, dict) and TURN in line.value:
                        waiting_turns.append(turn_of(line.value))
                    else:
                        waiting.append(rows_of(line.value, line.format))
                except RunLineError as error:
                    raise _DamagedError(line.number, str(error)) from None
                size += line.bytes
                if len(waiting) + len(waiting_turns) >= _BATCH_RUNS or size >= _BATCH_BYTES:
                    write()
                    size = 0
            write()
    except _DamagedError as error:
        write()  # the runs before it are whole
        raise DataError(f"{path}, line {error.line}: {error.why}. {_taken(imported, known, len(conflicts))}") from None
    return TraceImport(imported=imported, known=known, conflicts=tuple(conflicts), conversation_turns=turns)


class _FileLine(NamedTuple):
    number: int
    bytes: int
    value: Any
    format: int
    """The format of the file."""


class _DamagedError(Exception):
    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line, self.why = line, why


def _taken(imported: int, known: int, conflicts: int) -> str:
    seen = imported + known + conflicts
    if not seen:
        return "Nothing was imported."
    return (
        f"The {seen} runs before it were read ({imported} of them new) and are whole; import the repaired file again."
    )


def _lines(file: IO[bytes]) -> Iterator[_FileLine]:
    """The lines of runs and turns; the first and the last line of the file are checked on the way."""
    number = runs = turns = line_format = 0
    ended = False
    while True:
        number += 1
        try:
            raw = file.readline(MAX_LINE_BYTES + 1)
        except (EOFError, OSError, zlib.error) as error:
            what = "the file is cut off" if isinstance(error, EOFError) else f"the file is damaged ({error})"
            raise _DamagedError(number, what) from None
        if not raw:
            break
        if ended:
            raise _DamagedError(number, "something follows the line that ends the file")
        value = _parsed(number, raw)
        if number == 1:
            line_format = _check_header(value)
        elif isinstance(value, dict) and "end" in value:
            if value.get("runs") != runs:
                raise _DamagedError(number, f"the file had {value.get('runs')!r} runs and has {runs} now")
            if value.get("conversation_turns", 0) != turns:
                had = repr(value.get("conversation_turns"))
                raise _DamagedError(number, f"the file had {had} turns of conversations and has {turns} now")
            ended = True
        else:
            is_turn = isinstance(value, dict) and TURN in value
            runs, turns = runs + (not is_turn), turns + is_turn
            yield _FileLine(number, len(raw), value, line_format)
    if number == 1:
        raise _DamagedError(1, "the file is empty")
    if not ended:
        raise _DamagedError(number, "the file is cut off: the line that ends it is missing")


def _parsed(number: int, raw: bytes) -> Any:
    if len(raw) > MAX_LINE_BYTES:
        raise _DamagedError(number, f"it is longer than {MAX_LINE_BYTES} bytes")
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if number == 1:
            raise _DamagedError(1, "this is not a file of exported runs") from None
        if not raw.endswith(b"\n"):
            raise _DamagedError(number, "the file is cut off within it") from None
        raise _DamagedError(number, f"it is not JSON ({str(error)[:100]})") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _check_header(value: Any) -> int:
    """The format of the file."""
    if not isinstance(value, dict) or value.get("deeprec") != KIND:
        raise _DamagedError(1, "this is not a file of exported runs")
    version = value.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise _DamagedError(
            1, f"the file has format {version!r}, and this version of deeprec-agent reads up to {FORMAT}; upgrade it"
        )
    return version


def _write(store: TraceStore, batch: list[tuple[UUID, Rows]]) -> tuple[int, int, list[UUID]]:
    """Write one batch in one transaction; (new, known, conflicts)."""
    known, conflicts = 0, []
    with store.writing() as connection:
        there = _stored(connection, [run_id for run_id, _ in batch])
        rows: Rows = {table.name: [] for table in run_tables()}
        new = 0
        for run_id, parts in batch:
            line = next(run_lines(parts))
            if run_id not in there:
                there[run_id] = line  # the file may name it again
                new += 1
                for name, values in parts.items():
                    rows[name] += values
            elif same_run(line, there[run_id]):
                known += 1
            else:
                conflicts.append(run_id)
        for table in run_tables():
            if rows[table.name]:
                connection.execute(insert(table), rows[table.name])
    return new, known, conflicts


def _write_turns(store: TraceStore, turns: list[ConversationTurn]) -> int:
    """Write the turns that the store lacks; how many they are."""
    if not turns:
        return 0
    with store.writing() as connection:
        key = TurnRow.turn_id
        there = set(connection.scalars(select(key).where(key.in_([turn.turn_id for turn in turns]))))
        new = {turn.turn_id: conversation_turn_values(turn) for turn in turns if turn.turn_id not in there}
        if new:
            connection.execute(insert(TurnRow), list(new.values()))
    return len(new)


def _stored(connection: Connection, run_ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """Those of the runs that are stored, as `run_lines` has them."""
    [rows] = load_rows(connection, select(Run).where(Run.run_id.in_(run_ids)))
    return {UUID(line["run"]["run_id"]): line for line in run_lines(rows)}


def _check_target(path: Path) -> None:
    """Raise ConfigError when an export to `path` would overwrite something else."""
    if not path.exists():
        return
    try:
        with _open(path, "rb") as file:
            _check_header(_parsed(1, file.readline(1000)))
    except _DamagedError as error:
        if "format" in error.why:
            return  # an export of another version
    except (OSError, EOFError, zlib.error):
        pass
    else:
        return
    raise ConfigError(f"{path} is there and is not a file of exported runs, so it stays. Name another file.")


def _put(file: IO[bytes], value: Any) -> None:
    file.write(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n")


@contextmanager
def _open(path: Path, mode: str) -> Iterator[IO[bytes]]:
    with path.open(mode) as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode=mode, compresslevel=6, filename="", mtime=0) as packed:
            yield packed  # type: ignore[misc]
