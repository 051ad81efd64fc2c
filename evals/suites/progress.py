"""How far a suite is, system by system."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteProgress:
    """How far one system of a suite is."""

    system: str
    done: int
    """Runs of this system that are stored, those of an earlier session included."""
    total: int
    started_with: int
    """Runs among `done` that were stored already when this session began."""
    seconds: float
    """Seconds since this session began with this system."""

    @property
    def seconds_left(self) -> float:
        """Estimate the seconds that are left, at the pace so far; NaN before the first run."""
        made = self.done - self.started_with
        return self.seconds / made * (self.total - self.done) if made else float("nan")


class ProgressCounter:
    """Counts the runs of one system as they are stored, and reports each step, the first one at once."""

    def __init__(self, system: str, *, total: int, stored: int, report: Callable[[SuiteProgress], None]) -> None:
        self._system, self._total, self._stored, self._report = system, total, stored, report
        self._made, self._began = 0, time.perf_counter()
        self.add(0)

    def add(self, count: int) -> None:
        """Count runs that were stored now."""
        self._made += count
        self._report(
            SuiteProgress(
                system=self._system,
                done=self._stored + self._made,
                total=self._total,
                started_with=self._stored,
                seconds=time.perf_counter() - self._began,
            )
        )
