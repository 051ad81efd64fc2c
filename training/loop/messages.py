"""Lines that a loop writes while it runs: how far a part of it is, and the measures of a step or a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping

STEP_METRICS = (
    "reward",
    "format_valid",
    "advantage/std",
    "entropy",
    "ratio/max",
    "grad_norm",
    "wait_seconds",
    "step_time",
)
"""Metrics of an optimizer step that a line shows; the trainer's log has all of them."""


def report_tenths(say: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    """Build a function of (done, total) that writes a line whenever another tenth is done."""
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        tenths = 10 * done // max(total, 1)
        if tenths > last:
            last = tenths
            say(f"{what}: {done} of {total}")

    return report


def measures_line(measures: Mapping[str, float | None]) -> str:
    """Measures in one line; those without a value are left out."""
    return ", ".join(f"{name} {value:.3g}" for name, value in measures.items() if value is not None)
