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
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from deeprec.trm_tool.trm.training.train import TrainingProgress


LONGEST_SILENCE_S = 20.0
"""A log is given a line at least so often, while something lasts."""


class StepProgress(Progress):
    """A bar for each task; where the console is a file or a pipe, a line at the first step and each tenth instead.

    Where no line has come for `every_s` seconds, the latest state is printed again with the time that has passed.
    """

    def __init__(self, *columns: ProgressColumn, console: Console, every_s: float = LONGEST_SILENCE_S) -> None:
        super().__init__(*columns, console=console, disable=console.quiet or not console.is_terminal)
        self._in_words = [column for column in columns if not isinstance(column, BarColumn)]
        self._printed = set[tuple[TaskID, str, int, bool]]()
        self._shown: Task | None = None
        self._is_pending = False
        self._one_writer = threading.Lock()
        self._every_s, self._printed_s = every_s, time.monotonic()
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the bars, or the lines in their place."""
        super().start()
        if self.disable and not self.console.quiet:
            self._ended.clear()
            threading.Thread(target=self._break_silence, daemon=True).start()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Move a task's bar; see `rich.progress.Progress.update`."""
        super().update(task_id, **changes)
        if not self.disable:
            return
        with self._one_writer:
            [task] = (task for task in self.tasks if task.id == task_id)
            tenth = int(10 * task.completed / task.total) if task.total else 0
            at = (task_id, task.description, tenth, task.completed > 0)
            self._shown, self._is_pending = task, True
            if at not in self._printed:
                self._printed.add(at)
                self._print()

    def stop(self) -> None:
        """Stop, and print the last state of tasks that ended early."""
        super().stop()
        self._ended.set()
        with self._one_writer:
            if self._is_pending:
                self._print()

    def _print(self) -> None:
        if self._shown is not None:
            parts = (str(column(self._shown)) for column in self._in_words)
            self.console.print("  ".join(filter(None, parts)), soft_wrap=True, markup=False, highlight=False)
            self._is_pending, self._printed_s = False, time.monotonic()

    def _break_silence(self) -> None:
        while not self._ended.wait(max(0.0, self._printed_s + self._every_s - time.monotonic())):
            with self._one_writer:
                if time.monotonic() - self._printed_s >= self._every_s and not self._ended.is_set():
                    self._printed_s = time.monotonic()  # also where no task has begun
                    self._print()


@contextmanager
def stage(console: Console, doing: str, *, every_s: float = LONGEST_SILENCE_S) -> Iterator[None]:
    """Show what is done while the context lasts, with its seconds.

    Where the console is no terminal, it is a line at the start and one whenever `every_s` seconds more have passed.
    """
    if console.is_terminal or console.quiet:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=console.quiet) as bar:
            bar.add_task(f"{doing} …")
            yield
        return
    console.print(f"{doing} …", soft_wrap=True, markup=False, highlight=False)
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
    with bar:
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
