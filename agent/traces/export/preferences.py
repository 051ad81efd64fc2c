"""The preferences of logged runs as a file that the recommender can be trained on and evaluated with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deeprec.agent.traces.records import OPEN_STATUSES, PARTS, RunTrace
from deeprec.agent.traces.store.store import RunFilter, TraceStore
from deeprec.trm_tool.data.preference_file import (
    WrittenPreference,
    check_preference_file,
    history_digest,
    write_preference_file,
)
from deeprec.trm_tool.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceExport:
    """The result of an export of preferences."""

    preferences: int
    runs: int
    """Runs that wrote one or more of them."""
    left_out: dict[str, int]
    """Runs that are never trained on: "running", "aborted", "incomplete", "edited" or "replayed" -> how many."""


def export_preferences(store: TraceStore, path: Path, where: RunFilter | None = None) -> PreferenceExport:
    """Write every preference that the models of finished runs wrote, oldest run first, in constant memory.

    Runs that go on, were killed, or were failed by the store are left out and counted; so are forks and replays, which
    repeat what their parents wrote.

    Args:
        store: Where to read.
        path: Where to; a file of preferences that is there is replaced, anything else is refused.
        where: Which runs; None for all.

    Raises:
        ConfigError: the file cannot be written.
        DataError: there is nothing to write; no file is made.
    """
    path = Path(path)
    check_preference_file(path)
    left_out: Counter[str] = Counter()
    runs = 0

    def rows() -> Iterator[WrittenPreference]:
        nonlocal runs
        for trace in store.traces(where, omit=PARTS, batch=256):
            if trace.incomplete or trace.status in OPEN_STATUSES:
                left_out["incomplete" if trace.incomplete else trace.status] += 1
            elif trace.run.fork is not None:
                left_out["replayed" if trace.run.fork.get("turn") is None else "edited"] += 1
            elif written := list(_written(trace)):
                runs += 1
                yield from written
        if not runs:
            others = ", ".join(f"{count} {status}" for status, count in left_out.items())
            raise DataError(
                f"No finished run that matches has written a preference{f' ({others} left out)' if others else ''}, so "
                "there is nothing to export. `deeprec traces ls` lists the runs that there are."
            )

    count = write_preference_file(path, rows())
    return PreferenceExport(preferences=count, runs=runs, left_out=dict(left_out))


def _written(trace: RunTrace) -> Iterator[WrittenPreference]:
    """List the preferences that a model wrote for retrievals, also where the run ended before the retrieval."""
    run = trace.run
    digest = history_digest(run.history)
    retrieval_of = {retrieval.turn: retrieval.position for retrieval in trace.retrievals}
    for turn in trace.turns:
        if turn.action != "retrieve" or not turn.preference:
            continue
        yield WrittenPreference(
            run_id=str(run.run_id),
            turn=turn.position,
            retrieval=retrieval_of.get(turn.position),
            user_id=run.user_id,
            target_id=run.target_id,
            split=run.split,
            history_length=len(run.history),
            history_sha256=digest,
            policy_model=run.policy_model,
            adapter=run.adapter,
            adapter_version=run.adapter_version,
            guided=run.guided,
            trm_fingerprint=run.trm_fingerprint,
            trm_holdout=run.trm_holdout,
            dataset_fingerprint=run.dataset_fingerprint,
            preference=turn.preference,
        )
