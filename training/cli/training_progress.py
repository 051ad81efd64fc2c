"""The progress bar of a training, and the report of one that has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from deeprec.agent.cli.trace_options import to_json
from deeprec.training.trainers.launcher import is_first_process
from deeprec.trm_tool.progress import StepProgress

if TYPE_CHECKING:
    from deeprec.training.trainers.step_report import StepReport

_SHOWN = ("loss", "reward", "format_valid", "rewards/margins", "entropy")
_REPORTED = {
    "loss": "Loss",
    "eval_loss": "Loss on held-out runs",
    "eval_rewards/margins": "Reward of the chosen over the rejected run on held-out pairs",
    "eval_rewards/accuracies": "Share of held-out pairs whose chosen run has the higher reward",
    "eval_valid_answers": "Share of valid answers to held-out prompts",
    "reward": "Reward",
    "format_valid": "Share of runs that keep the format",
    "entropy": "Entropy, nats per token",
    "logprob_gap": "Distance from the logged log-probabilities, nats per token",
    "padding_waste": "Share of padding",
    "peak_memory_gb": "Peak memory, GB",
}


class StepBar:
    """A progress bar of the optimizer steps, with their metrics."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        console = Console(stderr=True, highlight=False, quiet=not is_first_process())
        self._progress = StepProgress(*columns, console=console)
        self._task = self._progress.add_task("steps", total=None, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, report: StepReport) -> None:
        """Move the bar to a step."""
        figures = [f"{name} {report.metrics[name]:.3f}" for name in _SHOWN if name in report.metrics]
        self._progress.update(self._task, total=report.steps, completed=report.steps_done, figures="  ".join(figures))


def report_training(trained: Path, out: Path, what: str, *, as_json: bool) -> None:
    """Report how the training went, from its log; of several processes the first one does."""
    if not is_first_process():
        return
    from deeprec.training.trainers.step_log import read_log

    lines = read_log(out)
    steps = [line for line in lines if "loss" in line]
    seconds = sum(line["step_time"] for line in steps)
    tokens = steps[-1]["num_tokens"]
    summary = {
        "trained": str(trained),
        "steps": len(steps),
        "tokens": tokens,
        "seconds": seconds,
        "first": steps[0],
        "last": steps[-1],
        "validation": [line for line in lines if "eval_loss" in line],
    }
    if as_json:
        typer.echo(json.dumps(to_json(summary), indent=2, allow_nan=False))
        return
    typer.echo(
        f"{what}, {len(steps)} steps, {tokens:,.0f} tokens in {seconds:,.0f} s "
        f"({1000 * seconds / max(tokens, 1):.1f} s per 1,000)."
    )
    for name, label in _REPORTED.items():
        figures = [line[name] for line in lines if isinstance(line.get(name), float)]
        if figures:
            last = f", {figures[-1]:.3f} at last" if len(figures) > 1 else ""
            typer.echo(f"{label}: {figures[0]:.3f} at first{last}")
    for line in steps[-1].get("warnings", ()):
        typer.echo(f"Warning: {line}")
    if "stopped" in steps[-1]:
        typer.echo(f"Ended early: {steps[-1]['stopped']}")
    typer.echo(f"Trained: {trained}")
