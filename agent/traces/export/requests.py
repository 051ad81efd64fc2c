"""Logged runs as requests: what people wrote to the agent, what it showed them, and what they then chose."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from deeprec.agent.traces.records import RunTrace
from deeprec.agent.traces.store.store import RunFilter, TraceStore
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.source import id_of
from deeprec.trm_tool.data.importers.tables import open_table
from deeprec.trm_tool.data.requests.request import Request
from deeprec.trm_tool.data.requests.request_file import check_request_file, write_requests
from deeprec.trm_tool.errors import DataError
from deeprec.trm_tool.recommender import CatalogueView

SOURCE = "traces"
_COLUMNS = ("run_id", "item_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestExport:
    """The result of an export of requests."""

    requests: int
    left_out: dict[str, int]
    """Runs that gave no request, by the reason."""
    unknown_runs: int
    """Runs that the choices name and that are not among those read."""


def export_requests(
    store: TraceStore,
    path: Path,
    where: RunFilter | None = None,
    *,
    choices: Mapping[UUID, Sequence[str]] | None = None,
    catalogue: CatalogueView | None = None,
) -> RequestExport:
    """Write the requests of people whose choice is known, oldest run first, in constant memory.

    Each run is a conversation of its own. Its history, message and constraints are the request's, what it recommended
    was shown, and what the person chose is the target; where `choices` lack a run, the target of its lineage is. Left
    out and counted are runs of experiments (with a suite or a split), whose targets are held out; forks, replays and
    redacted runs; and runs that go on, or have no message or no choice, or whose choice was in the history.

    Args:
        store: Where to read.
        path: Where to, `.jsonl` or `.parquet`; a file of requests that is there is replaced, anything else is refused.
        where: Which runs; None for all.
        choices: Run -> ids of the items that the person chose (`read_choices`).
        catalogue: The catalogue that the ids are of: a reader that names another is refused.

    Raises:
        ConfigError: the file cannot be written.
        DataError: there is nothing to write; no file is made.
    """
    path, known = Path(path), choices or {}
    check_request_file(path)
    left_out: Counter[str] = Counter()
    found = 0

    def requests() -> Iterator[Request]:
        nonlocal found
        written = 0
        for trace in store.traces(where, omit=("tokens", "texts", "scores"), batch=256):
            found += trace.run.run_id in known
            request = _request(trace, known.get(trace.run.run_id, ()))
            if isinstance(request, str):
                left_out[request] += 1
            else:
                written += 1
                yield request
        if not written:
            others = ", ".join(f"{count} {why}" for why, count in left_out.items())
            raise DataError(
                f"No run that matches has a message and a choice{f' ({others})' if others else ''}, so there is "
                "nothing to export. Name a CSV file of run_id and item_id with --choices."
            )

    count = write_requests(path, requests(), catalogue=catalogue)
    return RequestExport(requests=count, left_out=dict(left_out), unknown_runs=len(known) - found)


def read_choices(path: Path) -> dict[UUID, list[str]]:
    """Read what people chose: a CSV or Parquet file with the columns `run_id` and `item_id`, one row for each item.

    Raises:
        DataError: a column is missing, or a row names no run or no item; file and line are named.
    """
    table, reading = open_table(Path(path)), Reading()
    for name in _COLUMNS:
        if name not in table.names:
            has = ", ".join(table.names)[:300]
            raise DataError(f"{path} has no column {name!r}; it has {has}. Give it one row run_id,item_id a choice.")
    choices: dict[UUID, list[str]] = defaultdict(list)
    for line, (run, item) in table.read(reading, _COLUMNS):
        try:
            run_id = UUID(str(run).strip())
        except ValueError:
            raise DataError(
                f"{Path(path).name}:{line} has {str(run)[:60]!r} as run_id, which is not the whole id of a run. Take "
                "run_id from the agent's result."
            ) from None
        item_id = id_of(item, "item", Path(path).name, line, reading.bad)
        if item_id is not None:
            choices[run_id].append(item_id)
    return dict(choices)


def _request(trace: RunTrace, chosen: Sequence[str]) -> Request | str:
    """The request of a run, or why it gives none."""
    run = trace.run
    chosen = chosen or ([] if run.target_id is None else [run.target_id])
    targets = [item for item in chosen if item not in run.history]
    reasons = {
        "redacted": trace.redacted_at is not None,
        "of an experiment": run.suite is not None or run.split is not None,
        "replayed or edited": run.fork is not None,
        "running": trace.status == "running",
        "without a message": not (run.message or "").strip(),
        "without a choice": not chosen,
        "whose choice was in the history": not targets,
    }
    for why, applies in reasons.items():
        if applies:
            return why
    return Request(
        conversation=str(run.run_id),
        time=trace.started_at.timestamp(),
        person=run.user_id,
        history=run.history,
        message=run.message or "",
        where=run.config.get("where") or None,
        targets=tuple(targets),
        shown=tuple(each.item_id for each in trace.recommended),
        chosen=tuple(targets),
        source=SOURCE,
    )
