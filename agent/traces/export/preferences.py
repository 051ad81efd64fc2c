"""The preferences of logged runs as a file that the recommender can be trained on and evaluated with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deeprec.agent.traces.records import RunPreferences
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
    """What an export wrote."""

    preferences: int
    runs: int
    """Runs that wrote one or more of them."""
    left_out: dict[str, int]
    """Runs that are never trained on: "running", "incomplete", "edited" or "replayed" -> how many."""


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
        for run in store.preferences(where):
            if run.incomplete or run.status == "running":
                left_out["incomplete" if run.incomplete else "running"] += 1
            elif run.run.fork is not None:
                left_out["replayed" if run.run.fork.get("turn") is None else "edited"] += 1
            elif run.preferences:
                runs += 1
                yield from _written(run)
        if not runs:
            others = ", ".join(f"{count} {status}" for status, count in left_out.items())
            raise DataError(
                f"No finished run that matches has written a preference{f' ({others} left out)' if others else ''}, so "
                "there is nothing to export. `deeprec traces ls` lists the runs that there are."
            )

    count = write_preference_file(path, rows())
    return PreferenceExport(preferences=count, runs=runs, left_out=dict(left_out))


def _written(logged: RunPreferences) -> Iterator[WrittenPreference]:
    run = logged.run
    digest = history_digest(run.history)
    for preference in logged.preferences:
        yield WrittenPreference(
            run_id=str(run.run_id),
            turn=preference.turn,
            retrieval=preference.retrieval,
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
            preference=preference.text,
        )
