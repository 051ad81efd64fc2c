"""Progress of long commands: a bar on a terminal, lines in a log."""

import math
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


class StepProgress(Progress):
    """A bar for each task; where the console is a file or a pipe, a line at each tenth of a task instead."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        super().__init__(*columns, console=console, disable=console.quiet or not console.is_terminal)
        self._in_words = [column for column in columns if not isinstance(column, BarColumn)]
        self._printed = set[tuple[TaskID, str, int]]()
        self._pending = ""

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Move a task's bar; see `rich.progress.Progress.update`."""
        super().update(task_id, **changes)
        if not self.disable:
            return
        [task] = (task for task in self.tasks if task.id == task_id)
        at = (task_id, task.description, int(10 * task.completed / task.total) if task.total else 0)
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
def stage(console: Console, doing: str) -> Iterator[None]:
    """Show what is done while the context lasts, with its seconds; where the console is no terminal, as one line."""
    if not console.is_terminal:
        console.print(f"{doing} …", soft_wrap=True, markup=False, highlight=False)
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(f"{doing} …")
        yield


@contextmanager
def training_bar(console: Console) -> Iterator[Callable[["TrainingProgress"], None]]:
    """Show a bar on `console`, and yield the `on_progress` of `train_trm`."""
    bar = StepProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[score]}"),
        console=console,
    )
    with bar:
        task = bar.add_task("Reading texts", total=None, score="", unit="")

        def show(progress: "TrainingProgress") -> None:
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
            bar.update(task, description=stage, total=total, completed=done, score=score, unit=unit)

        yield show
