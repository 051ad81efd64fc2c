"""Train peer recommenders on ml-100k, keep the rank of every target, and compare ours with them on the same users.

    python -m benchmarks.trm_peers recbole --setting test1      hours; go on with the same command
    python -m benchmarks.trm_peers rectools --setting test1     needs `make bench`; then again with --refit
    python -m benchmarks.trm_peers status
    python -m benchmarks.trm_peers compare --test1 ARTIFACT --last5 ARTIFACT --out FILE

The artifacts are those of `deeprec trm train --out ARTIFACT`, for test1, and with `--without-last 4`, for last5.

Settings: `test1` learns from all but the last two items of each user, and the last is the target; `last5` from all but
the last six, and each of the last five is a target, with everything before it as its history.
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.peer_protocol import find_setting
from deeprec.trm_tool import Dataset, embedded_ml100k, read_atomic_files
from deeprec.trm_tool.errors import ConfigError, DeepRecError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

SettingOption = Annotated[str, typer.Option(help="test1 or last5.")]
ResultsOption = Annotated[Path, typer.Option(help="Folder for results.")]
DataFolder = Annotated[Path | None, typer.Option(help="Atomic files; the embedded ml-100k if left out.")]
Patience = Annotated[int, typer.Option(min=1, help="Epochs without a gain on validation that end the training.")]
Threads = Annotated[int, typer.Option(min=1, help="Of torch.")]

RESULTS = Path("benchmarks/results/trm_peers")
RECTOOLS = Path(".venv-bench/bin/python")
STATES = Path(".deeprec/peers")


def report(line: str) -> None:
    """One line, at once, also into a file."""
    typer.echo(line)


def read(data: Path | None) -> Dataset:
    """The data set that is asked for."""
    return read_atomic_files(data or embedded_ml100k())


@app.callback()
def peers() -> None:
    """Peer recommenders, trained on the same data, for ours to stand beside."""


@app.command()
def recbole(
    setting: SettingOption,
    data: DataFolder = None,
    results: ResultsOption = RESULTS,
    states: Annotated[Path, typer.Option(help="Folder for what a training goes on from.")] = STATES,
    patience: Patience = 10,
    threads: Threads = 2,
    max_epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 300,
    seed: int = 0,
) -> None:
    """RecBole's SASRec until it has converged; killed, it goes on from its last epoch."""
    from benchmarks.peer_recbole import train_recbole

    torch.set_num_threads(threads)
    train_recbole(
        read(data),
        find_setting(setting),
        state=states / f"recbole_{setting}",
        results=results,
        report=report,
        patience=patience,
        max_epochs=max_epochs,
        seed=seed,
    )


@app.command()
def rectools(
    setting: SettingOption,
    data: DataFolder = None,
    results: ResultsOption = RESULTS,
    python: Annotated[Path, typer.Option(help="The interpreter that has RecTools.")] = RECTOOLS,
    patience: Patience = 10,
    threads: Threads = 2,
    max_epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 100,
    seed: int = 0,
    refit: Annotated[bool, typer.Option("--refit", help="Again, validation targets learned too.")] = False,
) -> None:
    """RecTools' SASRec until it has converged, in an environment of its own."""
    from benchmarks.peer_rectools import RecToolsConfig, train_rectools

    found = results / f"rectools_{setting}.json"
    if refit and not found.exists():
        raise ConfigError(f"{found} does not exist, so the best epoch is unknown. Run this without --refit first.")

    train_rectools(
        read(data),
        find_setting(setting),
        results=results,
        report=report,
        patience=patience,
        config=RecToolsConfig(epochs=max_epochs, threads=threads, seed=seed),
        python=python,
        refit_epochs=json.loads(found.read_text(encoding="utf-8"))["best_epoch"] if refit else None,
    )


@app.command()
def status(results: ResultsOption = RESULTS) -> None:
    """How far each training is."""
    for path in sorted(results.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if "curve" not in found:
            continue
        last, best = found["curve"][-1], found["curve"][max(found["best_epoch"] - 1, 0)]
        report(
            f"{found['peer']}, {found['setting']['name']}: {found['status']}; {last['epoch']} epochs, the best "
            f"{best['epoch']} with validation NDCG@10 {best['ndcg@10_masked']:.4f} masked; {last['wall_s']:.0f} s, "
            f"{last['cpu_s']:.0f} s of processor"
        )


@app.command()
def compare(
    test1: Annotated[Path, typer.Option(help="Our artifact, trained without the last 2 items of each user.")],
    last5: Annotated[Path, typer.Option(help="Our artifact, trained without the last 6 items of each user.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    data: DataFolder = None,
    results: ResultsOption = RESULTS,
    seed: int = 0,
) -> None:
    """Our recommender beside the peers and the baselines, paired on the same targets."""
    from benchmarks.trm_peers_table import compare as compare_on, make_tables, write_comparisons
    from deeprec.trm_tool import load_artifact

    dataset = read(data)
    comparisons = [
        compare_on(dataset, find_setting(name), load_artifact(folder), results, seed=seed)
        for name, folder in (("test1", test1), ("last5", last5))
    ]
    write_comparisons(comparisons, dataset, out, seed=seed)
    console = Console(highlight=False)
    for comparison in comparisons:
        for table in make_tables(comparison):
            console.print(table)


def main() -> None:
    """Run a command; a mistake of the user is one line and exit code 2."""
    try:
        app()
    except DeepRecError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
