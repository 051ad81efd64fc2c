"""Logged runs for notebooks: data frames that join on `run_id`, and runs that show themselves as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Integer, func, select

from deeprec.agent.traces.records import CaseRecord
from deeprec.agent.traces.store import schema
from deeprec.agent.traces.store.columns import Shared, as_objects, require_pandas
from deeprec.agent.traces.store.filters import RunFilter
from deeprec.agent.traces.store.run_pairs import RunPair
from deeprec.agent.traces.store.snapshot import Snapshot
from deeprec.agent.traces.store.store import TraceStore
from deeprec.agent.views.notebook import ComparisonDisplay, RunDisplay
from deeprec.trm_tool.catalogue.catalogue import Catalogue

_RUN_COLUMNS = (
    "started_at",
    "finished_at",
    "status",
    "incomplete",
    "detail",
    "tenant",
    "user_id",
    "thread_id",
    "caller_run_id",
    "tags",
    "caller_metadata",
    "message",
    "target_id",
    "protocol",
    "guided",
    "k",
    "policy_model",
    "adapter",
    "adapter_version",
    "base_fingerprint",
    "adapter_fingerprint",
    "trm_fingerprint",
    "prompt_version",
    "split",
    "suite",
    "system",
    "kind",
    "oracle",
    "shuffled_of",
    "group_id",
    "seed",
    "parent_id",
    "pinned",
    "redacted_at",
    "ungrounded",
    "latency_ms",
    "sampling",
    "config",
)
_TURN_COLUMNS = (
    "node",
    "action",
    "preference",
    "thought",
    "text",
    "detail",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "latency_ms",
    "recorded_at",
)
_COUNTS = ("history_length", "turns", "retrievals", "completion_tokens")
_CASE_COLUMNS = ("run_id", *(field.name for field in fields(CaseRecord)))
_PAIR_COLUMNS = tuple(field.name for field in fields(RunPair))
_TOKEN_COLUMNS = ("prompt_ids", "completion_ids", "logprobs")


class Traces:
    """The runs of a trace store, to look at. Reads only; needs pandas for the frames.

    Each frame is read in one transaction. All carry `run_id` as text: `runs` and wide rewards have one row a run and
    are indexed by it, the others have it as a column, so that `turns.join(runs.status, on="run_id")` and
    `turns.merge(runs, on="run_id")` both work. Turns, retrievals and positions are numbered as they are stored:
    turns and retrievals from 0, ranks from 1. Columns of few fixed values are categories.
    """

    def __init__(self, store: TraceStore | str | Path, *, titles: Catalogue | str | Path | None = None) -> None:
        """Open a store for reading.

        Args:
            store: a SQLite file, a database URL, or an open store, which then stays open.
            titles: a catalogue, or the folder of a TRM artifact whose catalogue has the titles. Frames of items then
                have a column `title`, and pages show titles.
        Raises:
            TraceStoreError: there is no store to open, or it is not of a known version.
            ArtifactError: `titles` is a folder without a catalogue.
        """
        if isinstance(titles, str | Path):
            titles = Catalogue.from_parquet(Path(titles) / "items.parquet")
        self.titles = titles
        self._owns_store = not isinstance(store, TraceStore)
        self.store = store if isinstance(store, TraceStore) else TraceStore(store, create=False)

    def close(self) -> None:
        """Close the store, unless it was passed in open."""
        if self._owns_store:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def runs(self, where: RunFilter | None = None) -> Any:
        """One row a run, oldest first, indexed by `run_id`.

        Returns:
            lineage and ending as stored; `history_length`, `turns`, `retrievals` and `completion_tokens` as counts;
            `target_rank` (in the list that was shown) and `written_rank` (in the model's own), `<NA>` where the target
            is not listed or not known. `sampling` and `config` are dicts: `runs.config.str["max_retrievals"]`.
        """
        pandas = require_pandas()
        with self._reading() as snapshot:
            columns = snapshot.columns("runs", ("run_id", *_RUN_COLUMNS), where, more=_counts())
        frame = _frame(columns).astype(dict.fromkeys(_COUNTS, "int64"))
        return frame.set_index(pandas.Index(frame.pop("run_id"), name="run_id"))

    def turns(self, where: RunFilter | None = None, *, tokens: bool = False) -> Any:
        """One row a turn, by `run_id` and `turn`.

        Args:
            where: which runs; None for all.
            tokens: add `prompt_ids` and `completion_ids` (int64 arrays) and `logprobs` (float32, one a completion
                token).
        """
        names = ("run_id", "position", *_TURN_COLUMNS, *_TOKEN_COLUMNS * tokens)
        with self._reading() as snapshot:
            return _frame(snapshot.columns("turns", names, where)).rename(columns={"position": "turn"})

    def retrievals(self, where: RunFilter | None = None) -> Any:
        """One row an item retrieved, by `run_id`, `retrieval` and `rank`. A retrieval that found nothing has no row.

        Returns:
            `turn` and `preference` that asked, `rank`, `item_id`, `score`; `seen_before`: an earlier retrieval of the
            run had found the item; `is_target`: `<NA>` where the run's target is not known; `latency_ms` of the call.
        """
        with self._reading() as snapshot:
            called = snapshot.columns("retrievals", ("run_id", "position", "turn", "preference", "latency_ms"), where)
            found = snapshot.columns("retrieved_items", ("run_id", "position", "rank", "item_id", "score"), where)
            wanted = snapshot.columns("runs", ("run_id", "target_id"), where)
        at = _rows_of(called, found)
        frame = {"run_id": found["run_id"].series(), "retrieval": found["position"].array()}
        frame |= {name: called[name].series()[at] for name in ("turn", "preference")}
        frame |= {name: found[name].series() for name in ("rank", "item_id", "score")}
        frame |= self._titled(found["item_id"])
        pairs = found["run_id"].codes * (len(found["item_id"].names()) + 1) + found["item_id"].codes
        frame["seen_before"] = require_pandas().Series(pairs).duplicated().to_numpy()
        frame["is_target"] = _is_target(found, wanted)
        frame["latency_ms"] = called["latency_ms"].series()[at]
        return require_pandas().DataFrame(frame, copy=False)

    def recommendations(self, where: RunFilter | None = None) -> Any:
        """One row a position of a list, by `run_id`, `listing` and `rank`.

        Returns:
            `listing` is "written" (the model's own list) or "recommended" (as filled and shown); `retrieval` that
            first found the item, `<NA>` where none did; `is_target` as in `retrievals`.
        """
        names = ("run_id", "listing", "rank", "item_id", "retrieval", "score", "source")
        with self._reading() as snapshot:
            found = snapshot.columns("recommendations", names, where)
            wanted = snapshot.columns("runs", ("run_id", "target_id"), where)
        frame = {name: column.series() for name, column in found.items()}
        frame |= self._titled(found["item_id"])
        frame["is_target"] = _is_target(found, wanted)
        return require_pandas().DataFrame(frame, copy=False)

    def rewards(self, where: RunFilter | None = None, *, wide: bool = False) -> Any:
        """Rewards of runs, NaN where one could not be computed.

        Args:
            where: which runs; None for all.
            wide: one row a run, indexed by `run_id`, and a column `scheme.component` for each component; otherwise one
                row a component with `run_id`, `scheme`, `component` and `value`.
        """
        with self._reading() as snapshot:
            frame = _frame(snapshot.columns("rewards", ("run_id", "scheme", "component", "value"), where))
        if not wide:
            return frame
        named = frame.scheme.astype(str) + "." + frame.component.astype(str)
        return _wide(frame.assign(name=named))

    def metrics(self, where: RunFilter | None = None, *, wide: bool = False) -> Any:
        """Metrics of evaluated runs, NaN where one could not be computed.

        Args:
            where: which runs; None for all.
            wide: one row a run, indexed by `run_id`, and a column for each metric; otherwise one row a metric with
                `run_id`, `name` and `value`.
        """
        with self._reading() as snapshot:
            frame = _frame(snapshot.columns("metrics", ("run_id", "name", "value"), where))
        return _wide(frame) if wide else frame

    def cases(self, where: RunFilter | None = None) -> Any:
        """One row an evaluated run, indexed by `run_id`: the facts about its request, as `CaseRecord` has them."""
        with self._reading() as snapshot:
            return _frame(snapshot.columns("cases", _CASE_COLUMNS, where)).set_index("run_id")

    def pairs(self, name: str | None = None) -> Any:
        """One row a pair of runs (`write_pairs`), by `name`, `chosen_id` and `rejected_id`.

        Args:
            name: of one set of pairs; None for all.

        Returns:
            `name` of the set, `chosen_id` and `rejected_id` (as `run_id` elsewhere), `reward` (`scheme.component`),
            `chosen_reward`, `rejected_reward`, `margin`, and `runs`: of how many these are the best and the worst.
        """
        with self._reading() as snapshot:
            frame = _frame(snapshot.columns("run_pairs", ("name", *_PAIR_COLUMNS)))
        return frame if name is None else frame[frame["name"] == name].reset_index(drop=True)

    def run(self, run_id: UUID | str) -> RunDisplay:
        """One run, by its id or by the beginning of its id; a page in a notebook.

        Raises:
            RunNotFoundError: no run begins so, or more than one.
        """
        return RunDisplay(self.store.run(run_id), self.titles)

    def compare(self, left: UUID | str, right: UUID | str) -> ComparisonDisplay:
        """Two runs side by side, aligned by turn, by their ids or the beginnings of these; a page in a notebook.

        Raises:
            RunNotFoundError: no run begins so, or more than one.
        """
        return ComparisonDisplay(self.store.run(left), self.store.run(right), self.titles)

    @contextmanager
    def _reading(self) -> Iterator[Snapshot]:
        """A transaction that sees one state of the store, whoever writes meanwhile."""
        require_pandas()  # before the work
        with self.store.snapshot() as snapshot:
            yield snapshot

    def _titled(self, items: Shared) -> dict[str, Any]:
        if self.titles is None:
            return {}
        names = [self.titles.item(name).title if name in self.titles else None for name in items.names()]
        return {"title": as_objects(names)[items.codes]}


def _frame(columns: Mapping[str, Any]) -> Any:
    return require_pandas().DataFrame({name: column.series() for name, column in columns.items()}, copy=False)


def _counts() -> dict[str, ColumnElement[Any]]:
    """Counts of each run's steps, as expressions of the database."""
    run, turn, call, line = schema.Run, schema.Turn, schema.Retrieval, schema.Recommendation
    mine = turn.run_id == run.run_id
    place = select(func.min(line.rank)).where(line.run_id == run.run_id, line.item_id == run.target_id)
    queries = {
        "turns": select(func.count()).where(mine),
        "retrievals": select(func.count()).where(call.run_id == run.run_id),
        "completion_tokens": select(func.coalesce(func.sum(turn.completion_tokens), 0)).where(mine),
        "target_rank": place.where(line.listing == "recommended"),
        "written_rank": place.where(line.listing == "written"),
    }
    counted: dict[str, ColumnElement[Any]] = {"history_length": func.json_array_length(run.history, type_=Integer())}
    return counted | {name: query.scalar_subquery() for name, query in queries.items()}


def _wide(frame: Any) -> Any:
    return frame.pivot(index="run_id", columns="name", values="value").rename_axis(columns=None)


def _rows_of(called: Mapping[str, Any], found: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """The row of the retrieval that found each item, (rows,)."""
    to_code = {name: code for code, name in enumerate(called["run_id"].names())}
    runs = np.array([to_code[name] for name in found["run_id"].names()], dtype=np.int64)
    positions = called["position"].array()
    width = int(positions.max(initial=0)) + 1
    keys = called["run_id"].codes * width + positions
    order = np.argsort(keys)
    of = runs[found["run_id"].codes] * width + found["position"].array()
    at: npt.NDArray[np.int64] = order[np.searchsorted(keys[order], of)]
    return at


def _is_target(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Any:
    """Whether each item, (rows,), is its run's target; `<NA>` where that is not known."""
    unknown, elsewhere = -2, -1
    targets = dict(zip(wanted["run_id"].series(), wanted["target_id"].series(), strict=True))
    to_code = {name: code for code, name in enumerate(found["item_id"].names())}
    of = [targets.get(run_id) for run_id in found["run_id"].names()]
    codes = np.array([unknown if item is None else to_code.get(item, elsewhere) for item in of], dtype=np.int64)
    targeted = codes[found["run_id"].codes]
    return require_pandas().arrays.BooleanArray(targeted == found["item_id"].codes, targeted == unknown)
