"""Progress of long commands: a bar on a terminal, lines in a log."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from deeprec.trm_tool.trm.training.train import TrainingProgress


LONGEST_SILENCE_S = 20.0
"""A log is given a line at least so often, while something lasts."""


class StepProgress(Progress):
    """A bar for each task; where the console is a file or a pipe, a line at the first step and each tenth instead."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        super().__init__(*columns, console=console, disable=console.quiet or not console.is_terminal)
        self._in_words = [column for column in columns if not isinstance(column, BarColumn)]
        self._printed = set[tuple[TaskID, str, int, bool]]()
        self._pending = ""

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Move a task's bar; see `rich.progress.Progress.update`."""
        super().update(task_id, **changes)
        if not self.disable:
            return
        [task] = (task for task in self.tasks if task.id == task_id)
        tenth = int(10 * task.completed / task.total) if task.total else 0
        at = (task_id, task.description, tenth, task.completed > 0)
        parts = (str(column(task)) for column in self._in_words)
        self._pending = "  ".join(filter(None, parts))
        if at not in self._printed:
            self._printed.add(at)
            self._print_pending()

    def stop(self) -> None:
        """Stop, and print the last state of tasks that ended early."""
        super().stop()
        self._print_pending()

    def _print_pending(self) -> None:
        if self._pending:
            self.console.print(self._pending, soft_wrap=True, markup=False, highlight=False)
            self._pending = ""


@contextmanager
def stage(console: Console, doing: str, *, every_s: float = LONGEST_SILENCE_S) -> Iterator[None]:
    """Show what is done while the context lasts, with its seconds.

    Where the console is no terminal, it is a line at the start and one whenever `every_s` seconds more have passed.
    """
    if not console.is_terminal:
        console.print(f"{doing} …", soft_wrap=True, markup=False, highlight=False)
        with lines_of_time(console, doing, every_s=every_s):
            yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(f"{doing} …")
        yield


@contextmanager
def lines_of_time(console: Console, doing: str, *, every_s: float = LONGEST_SILENCE_S) -> Iterator[None]:
    """Print how long something has lasted, every so many seconds; nothing on a terminal, whose bars show it."""
    if console.is_terminal or console.quiet:
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def print_lines() -> None:
        while not ended.wait(every_s):
            passed = f"{doing} … {time.monotonic() - began:.0f} s so far"
            console.print(passed, soft_wrap=True, markup=False, highlight=False)

    printer = threading.Thread(target=print_lines, daemon=True)
    printer.start()
    try:
        yield
    finally:
        ended.set()
        printer.join()


@contextmanager
def training_bar(console: Console) -> Iterator[Callable[["TrainingProgress"], None]]:
    """Show a bar on `console`, and yield the `on_progress` of `train_trm`."""
    bar = StepProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[score]}"),
        console=console,
    )
    with bar, lines_of_time(console, "Training the recommender"):
        task = bar.add_task("Reading texts", total=None, score="", unit="", left="")
        encoded_s = 0.0

        def show(progress: "TrainingProgress") -> None:
            nonlocal encoded_s
            encoded_s = encoded_s if progress.epoch else progress.seconds
            score = f"validation NDCG@10 {progress.ndcg_at_10:.4f}" if progress.epoch else ""
            if not math.isnan(progress.told_ndcg_at_10):
                score += f", with exact preferences {progress.told_ndcg_at_10:.4f}"
            if not math.isnan(progress.heard_ndcg_at_10):
                score += f", of requests {progress.heard_ndcg_at_10:.4f}"
            stage = "Reading texts" if progress.stage == "encoding" else "Training"
            if progress.stage == "encoding":
                done, total = progress.texts_done, progress.texts or None
                unit = "" if total is None else f"{done:,}/{total:,} texts"
            else:
                done, total, unit = progress.epoch, progress.epochs, f"{progress.epoch}/{progress.epochs} epochs"
            left = _left(progress, progress.seconds - encoded_s)
            bar.update(task, description=stage, total=total, completed=done, score=score, unit=unit, left=left)

        yield show


def _left(progress: "TrainingProgress", seconds: float) -> str:
    """How long all the epochs that are left take at the pace of those that are done; empty before the first."""
    if not 0 < progress.epoch < progress.epochs:
        return ""
    left = seconds / progress.epoch * (progress.epochs - progress.epoch)
    return f"{left:.0f} s left at this pace" if left < 120 else f"{left / 60:.0f} min left at this pace"
