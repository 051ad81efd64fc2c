"""The progress bar of a training, for every command that trains."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from deeprec.trm_tool.train import TrainingProgress


@contextmanager
def training_bar(console: Console) -> Iterator[Callable[["TrainingProgress"], None]]:
    """Show a bar on `console` and give what `train_trm` wants as `on_progress`."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[score]}"),
        console=console,
        disable=console.quiet,
    )
    with bar:
        task = bar.add_task("Reading texts", total=None, score="", unit="")

        def show(progress: "TrainingProgress") -> None:
            score = f"validation NDCG@10 {progress.ndcg_at_10:.4f}" if progress.epoch else ""
            if not math.isnan(progress.told_ndcg_at_10):
                score += f", told attributes {progress.told_ndcg_at_10:.4f}"
            stage = "Reading texts" if progress.stage == "encoding" else "Training"
            if progress.stage == "encoding":
                done, total = progress.texts_done, progress.texts or None
                unit = "" if total is None else f"{done:,}/{total:,} texts"
            else:
                done, total, unit = progress.epoch, progress.epochs, f"{progress.epoch}/{progress.epochs} epochs"
            bar.update(task, description=stage, total=total, completed=done, score=score, unit=unit)

        yield show
