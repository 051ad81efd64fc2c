"""How long training takes to equal quality, and in how much memory: ours, RecBole's SASRec and RecTools', in one run.

    make bench
    python -m benchmarks.trm_training --budget-minutes 20 --out benchmarks/results/trm_training.json

Each trains in a process of its own, one after the other, on the same data and as many threads, and is validated after
every epoch on the same targets, seen items masked, by the same code. The peers keep their libraries' defaults.
RecBole's stands there twice: as it comes, and as `recbole_in_parts` computes it (the same result in less time).
The clocks count everything from the data set in memory: files, augmentation, text encoding, validation; not imports.
"""

import json
import multiprocessing
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.peer_protocol import SETTINGS, Patience, figures, peak_memory_mb, rank_targets
from benchmarks.peer_rectools import PYTHON, RecToolsConfig, rectools_versions, run_rectools
from deeprec.trm_tool import (
    Dataset,
    PreferenceConfig,
    TrainingConfig,
    TrainingProgress,
    TRMConfig,
    embedded_ml100k,
    make_encoder,
    read_atomic_files,
    train_trm,
)

OURS, STOCK, PARTS, RECTOOLS = (
    "deeprec",
    "RecBole SASRec, stock",
    "RecBole SASRec, in parts",
    "RecTools SASRec",
)
SETTING = SETTINGS["test1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the four trainings have in common, and what each needs."""

    data: Path | None
    budget_s: float
    """Seconds for each peer; a peer ends after the epoch in flight."""
    threads: int
    max_length: int
    """Longest history of ours and RecBole's; RecTools keeps its own."""
    epochs: int
    """The most epochs of ours."""
    patience: int
    """Epochs without a gain before RecTools stops; RecBole's and ours have their own."""
    seed: int
    encoder: str | None
    python: Path
    """The interpreter that has RecTools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One validation."""

    epoch: int
    ndcg_at_10: float
    """Seen items masked."""
    recall_at_10: float
    wall_s: float
    cpu_s: float
    """CPU time of the training's process, all threads: it remains comparable when the machine is shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One training."""

    points: tuple[Point, ...]
    peak_mb: float
    """The most memory that its process held at once, the libraries included."""


class BudgetSpent(Exception):  # noqa: N818
    """Ends a training from within; not an error."""


class Clock:
    """Validations over time; ends the training when its budget is spent."""

    def __init__(self, name: str, budget_s: float) -> None:
        self.name, self.points = name, list[Point]()
        self._budget_s = budget_s
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def add(self, ndcg_at_10: float, recall_at_10: float, wall_s: float | None = None, cpu_s: float = 0.0) -> None:
        """Take a validation, at this moment unless the seconds are given."""
        if wall_s is None:
            wall_s, cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu
        point = Point(
            epoch=len(self.points) + 1,
            ndcg_at_10=ndcg_at_10,
            recall_at_10=recall_at_10,
            wall_s=round(wall_s, 1),
            cpu_s=round(cpu_s, 1),
        )
        self.points.append(point)
        print(f"{self.name}: epoch {point.epoch}, NDCG@10 {ndcg_at_10:.4f}, {wall_s:.0f} s", flush=True)

    @property
    def spent(self) -> bool:
        """Whether the last validation came after the budget's end."""
        return bool(self.points) and self.points[-1].wall_s >= self._budget_s


def train_recbole(dataset: Dataset, options: Options, name: str) -> Curve:
    """Train RecBole's SASRec as RecBole does, apart from its files beside the working folder."""
    from recbole.data import data_preparation
    from recbole.data.dataset import SequentialDataset
    from recbole.model.sequential_recommender import SASRec

    from benchmarks.peer_recbole import make_recbole_scorer
    from benchmarks.recbole_in_parts import calculate_in_parts
    from deeprec.trm_tool.trm.training.recbole_support import QuietTrainer, make_config, seeded, write_for_recbole

    class TimedTrainer(QuietTrainer):
        def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
            loss = (lambda batch: calculate_in_parts(self.model, batch)) if name == PARTS else None
            return super()._train_epoch(train_data, epoch_idx, loss_func=loss, show_progress=False)

        def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
            found = figures(rank_targets(score, cases, dataset))
            clock.add(found["ndcg@10_masked"], found["recall@10_masked"])
            if clock.spent:
                raise BudgetSpent
            return found["ndcg@10_masked"], found

    cases = SETTING.validation_cases(dataset)
    clock = Clock(name, options.budget_s)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(), seeded(options.seed):
        warnings.simplefilter("ignore")  # RecBole's own, about NumPy and pandas
        write_for_recbole(dataset, Path(scratch), hidden=0)
        config = make_config("SASRec", Path(scratch), max_length=options.max_length, seed=options.seed)
        train, validation, _ = data_preparation(config, SequentialDataset(config))
        model = SASRec(config, train.dataset)
        score = make_recbole_scorer(model, train.dataset, dataset, options.max_length)
        try:
            with torch.autograd.set_detect_anomaly(name == STOCK):  # RecBole leaves it on for whoever imports SASRec
                TimedTrainer(config, model).fit(train, validation, verbose=False)
        except BudgetSpent:
            print(f"{name}: budget of {options.budget_s / 60:g} minutes spent", flush=True)
    return Curve(points=tuple(clock.points), peak_mb=peak_memory_mb())


def train_ours(dataset: Dataset, options: Options) -> Curve:
    """Train the preference-aware model, preferences and all, with its default settings."""
    import deeprec.trm_tool.trm.training.sequence_windows  # noqa: F401  # RecBole is imported before the clock starts

    encoder = make_encoder(options.encoder)
    clock = Clock(OURS, float("inf"))

    def on_progress(progress: TrainingProgress) -> None:
        if progress.epoch:
            clock.add(progress.ndcg_at_10, progress.recall_at_10)

    with tempfile.TemporaryDirectory() as scratch:
        train_trm(
            dataset,
            Path(scratch) / "artifact",
            config=TRMConfig(max_length=options.max_length),
            encoder=encoder,
            epochs=options.epochs,
            seed=options.seed,
            on_progress=on_progress,
        )
    return Curve(points=tuple(clock.points), peak_mb=peak_memory_mb())


def train_rectools(dataset: Dataset, options: Options) -> Curve:
    """Train RecTools' SASRec in its own environment, until it has converged."""
    clock, watch, peaks = Clock(RECTOOLS, options.budget_s), Patience(options.patience), [0.0]

    def judge(point: dict[str, Any]) -> tuple[bool, bool]:
        clock.add(point["ndcg@10_masked"], point["recall@10_masked"], point["wall_s"], point["cpu_s"])
        peaks.append(point["peak_mb"])
        return watch.better(point["ndcg@10_masked"]), watch.converged or clock.spent

    run_rectools(
        dataset,
        SETTING.validation_cases(dataset),
        [],
        judge,
        config=RecToolsConfig(threads=options.threads, seed=options.seed),
        python=options.python,
    )
    return Curve(points=tuple(clock.points), peak_mb=max(peaks))


def train(name: str, options: Options) -> Curve:
    """One training, in the process that calls this; a fresh one, so that its peak of memory is its own."""
    torch.set_num_threads(options.threads)
    dataset = read_atomic_files(options.data or embedded_ml100k())
    if name == OURS:
        return train_ours(dataset, options)
    return train_rectools(dataset, options) if name == RECTOOLS else train_recbole(dataset, options, name)


def first_at(points: Sequence[Point], level: float) -> Point | None:
    """The first validation that reached `level`."""
    return next((point for point in points if point.ndcg_at_10 >= level), None)


def compare(peer: Sequence[Point], ours: Sequence[Point]) -> list[dict[str, Any]]:
    """Time to equal quality, at shares of the best that the peer reached; None where it was not reached."""
    best = max(point.ndcg_at_10 for point in peer)
    rows = []
    for share in (0.5, 0.75, 0.9, 1.0):
        level = share * best
        theirs, own = first_at(peer, level), first_at(ours, level)
        assert theirs is not None
        rows.append(
            {
                "share_of_peers_best": share,
                "ndcg_at_10": round(level, 6),
                "peer": asdict(theirs),
                "ours": asdict(own) if own else None,
                "times_less_wall": round(theirs.wall_s / own.wall_s, 1) if own else None,
                "times_less_cpu": round(theirs.cpu_s / own.cpu_s, 1) if own else None,
            }
        )
    return rows


def make_table(comparisons: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> Table:
    """Peer by peer, level by level."""
    table = Table(title=title)
    for column in ("peer", "share of its best", "NDCG@10", "peer, s", "ours, s", "times less", "times less CPU"):
        table.add_column(column, justify="left" if column == "peer" else "right")
    for name, rows in comparisons.items():
        for row in rows:
            own = row["ours"]
            table.add_row(
                name,
                f"{row['share_of_peers_best']:.0%}",
                f"{row['ndcg_at_10']:.4f}",
                f"{row['peer']['wall_s']:.0f}",
                f"{own['wall_s']:.0f}" if own else "not reached",
                f"{row['times_less_wall']}" if own else "",
                f"{row['times_less_cpu']}" if own else "",
                end_section=row is rows[-1],
            )
    return table


def main(
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    data: Annotated[Path | None, typer.Option(help="Atomic files; the embedded ml-100k if left out.")] = None,
    budget_minutes: Annotated[float, typer.Option(help="For each peer; it ends after the epoch in flight.")] = 20.0,
    threads: Annotated[int, typer.Option(help="Of torch, for all.")] = 2,
    max_length: Annotated[int, typer.Option(help="Longest history, for ours and RecBole's.")] = 50,
    epochs: Annotated[int, typer.Option(help="Of ours, at most.")] = 20,
    patience: Annotated[int, typer.Option(help="Of RecTools: epochs without a gain.")] = 10,
    seed: int = 0,
    encoder: Annotated[str | None, typer.Option(help="Text encoder; the packaged MiniLM if left out.")] = None,
    python: Annotated[Path, typer.Option(help="The interpreter that has RecTools.")] = PYTHON,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Peers: {STOCK}; {PARTS}; {RECTOOLS}. All by default.")
    ] = None,
) -> None:
    """Train ours and the peers, print the table, write all curves."""
    options = Options(
        data=data,
        budget_s=60 * budget_minutes,
        threads=threads,
        max_length=max_length,
        epochs=epochs,
        patience=patience,
        seed=seed,
        encoder=encoder,
        python=python,
    )
    peers = only or [RECTOOLS, PARTS, STOCK]
    if unknown := set(peers) - {RECTOOLS, PARTS, STOCK}:
        raise typer.BadParameter(f"no peer is called {min(unknown)!r}; there are {RECTOOLS}; {PARTS}; {STOCK}")
    load_before = os.getloadavg()[0]
    curves = {name: run_alone(train, name, options) for name in (OURS, *peers)}
    comparisons = {name: compare(curve.points, curves[OURS].points) for name, curve in curves.items() if name != OURS}
    dataset = read_atomic_files(data or embedded_ml100k())
    title = f"Time to equal validation NDCG@10 on {dataset.name}, seen items masked, {threads} threads"
    console = Console(highlight=False)
    console.print(make_table(comparisons, title))
    for name, curve in curves.items():
        best = max(curve.points, key=lambda point: point.ndcg_at_10)
        console.print(
            f"{name}: best {best.ndcg_at_10:.4f} in epoch {best.epoch} of {len(curve.points)}, "
            f"after {best.wall_s:.0f} s ({best.cpu_s:.0f} s of processor); at most {curve.peak_mb:.0f} MiB."
        )
    result = {
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "settings": {
            **{name: value for name, value in asdict(options).items() if name not in ("data", "python")},
            OURS: {
                "architecture": asdict(TRMConfig(max_length=max_length)),
                "training": asdict(TrainingConfig()),
                "preferences": asdict(PreferenceConfig()),
            },
            STOCK: "RecBole's defaults for SASRec, loss CE, autograd's anomaly detection on, as importing it leaves it",
            PARTS: "the same gradient computed in parts of a batch, anomaly detection off",
            RECTOOLS: asdict(RecToolsConfig(threads=threads, seed=seed)) | {"rest": "RecTools' defaults"},
        },
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load_before": round(load_before, 2)},
        "versions": {name: metadata.version(name) for name in ("torch", "recbole", "numpy", "sentence-transformers")}
        | ({RECTOOLS: rectools_versions(python)} if RECTOOLS in curves else {}),
        "validation": "the item before the last, full catalogue, seen items masked, the same code for all",
        "time_to_equal_quality": comparisons,
        "peak_mb": {name: curve.peak_mb for name, curve in curves.items()},
        "curves": {name: [asdict(point) for point in curve.points] for name, curve in curves.items()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run_alone(train: Callable[[str, Options], Curve], name: str, options: Options) -> Curve:
    """Train in a fresh process that ends with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(train, name, options).result()


if __name__ == "__main__":
    typer.run(main)
