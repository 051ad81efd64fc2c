"""How long training takes to equal quality: RecBole's stock SASRec against whole sequences, in one run.

    python -m deeprec.evals.bench.trm_training --budget-minutes 20 --out evals/bench/results/trm_training.json

Both train through RecBole's Trainer on the same data, at the same maximum length, on the same threads, and both are
validated after every epoch by RecBole's Evaluator without masking. Stock SASRec keeps RecBole's default settings and
its own augmentation. The clock counts everything from the data set in memory: files, augmentation, text encoding.
"""

import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from deeprec.trm_tool import (
    Dataset,
    PreferenceAwareTRM,
    PreferenceConfig,
    PreferencePool,
    TrainingConfig,
    TRMConfig,
    embedded_ml100k,
    make_encoder,
    read_atomic_files,
    write_preferences,
)

STOCK, OURS = "RecBole SASRec, stock", "deeprec, whole sequences"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One validation."""

    epoch: int
    ndcg_at_10: float
    recall_at_10: float
    wall_s: float
    cpu_s: float
    """Of this process, all threads: what remains comparable when the machine is shared."""


class BudgetSpent(Exception):  # noqa: N818
    """Ends a training from within; not an error."""


class Curve:
    """Validations over time; ends the training when its budget is spent."""

    def __init__(self, name: str, budget_s: float, tell: Callable[[str], None]) -> None:
        self.name, self.points = name, list[Point]()
        self._budget_s, self._tell = budget_s, tell
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def add(self, result: Any) -> None:
        """Take an `EpochResult`."""
        point = Point(
            epoch=result.epoch,
            ndcg_at_10=result.ndcg_at_10,
            recall_at_10=result.recall_at_10,
            wall_s=round(time.perf_counter() - self._wall, 1),
            cpu_s=round(time.process_time() - self._cpu, 1),
        )
        self.points.append(point)
        self._tell(f"{self.name}: epoch {point.epoch}, NDCG@10 {point.ndcg_at_10:.4f}, {point.wall_s:.0f} s")
        if point.wall_s >= self._budget_s:
            raise BudgetSpent


def train_stock(dataset: Dataset, curve: Curve, *, max_length: int, seed: int) -> None:
    """Train RecBole's SASRec as RecBole does, apart from its files beside the working folder."""
    from recbole.data import data_preparation
    from recbole.data.dataset import SequentialDataset
    from recbole.model.sequential_recommender import SASRec

    from deeprec.trm_tool.recbole_support import QuietTrainer, make_config, seeded, write_for_recbole

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(), seeded(seed):
        warnings.simplefilter("ignore")  # RecBole's own, about NumPy and pandas
        write_for_recbole(dataset, Path(scratch), hidden=0)
        config = make_config("SASRec", Path(scratch), max_length=max_length, seed=seed)
        whole = SequentialDataset(config)
        train, validation, _ = data_preparation(config, whole)
        model = SASRec(config, train.dataset)
        QuietTrainer(config, model, curve.add).fit(train, validation, verbose=False)


def train_ours(
    dataset: Dataset, curve: Curve, *, max_length: int, seed: int, epochs: int, encoder_id: str | None
) -> None:
    """Train the preference-aware model as `train_trm` does, validated without masking."""
    from deeprec.trm_tool.whole_sequences import run_recbole

    encoder, preferences = make_encoder(encoder_id), PreferenceConfig()
    texts = torch.from_numpy(encoder.encode([item.text for item in dataset.catalogue]))
    pool = PreferencePool(write_preferences(dataset.catalogue, preferences, seed), encoder, preferences)
    with tempfile.TemporaryDirectory() as scratch:
        run_recbole(
            dataset,
            lambda: PreferenceAwareTRM(TRMConfig(max_length=max_length), texts),
            pool,
            folder=Path(scratch),
            training=TrainingConfig(),
            epochs=epochs,
            holdout=2,
            seed=seed,
            on_epoch=curve.add,
            masked=False,
        )


def first_at(points: Sequence[Point], level: float) -> Point | None:
    """The first validation that reached `level`."""
    return next((point for point in points if point.ndcg_at_10 >= level), None)


def compare(stock: Sequence[Point], ours: Sequence[Point]) -> list[dict[str, Any]]:
    """Time to equal quality, at shares of the best that stock reached; None where it was not reached."""
    best = max(point.ndcg_at_10 for point in stock)
    rows = []
    for share in (0.5, 0.75, 0.9, 1.0):
        level = share * best
        theirs, own = first_at(stock, level), first_at(ours, level)
        assert theirs is not None
        rows.append(
            {
                "share_of_stock_best": share,
                "ndcg_at_10": round(level, 6),
                "stock": asdict(theirs),
                "ours": asdict(own) if own else None,
                "times_less_wall": round(theirs.wall_s / own.wall_s, 1) if own else None,
                "times_less_cpu": round(theirs.cpu_s / own.cpu_s, 1) if own else None,
            }
        )
    return rows


def main(
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    data: Annotated[Path | None, typer.Option(help="Atomic files; the embedded ml-100k if left out.")] = None,
    budget_minutes: Annotated[float, typer.Option(help="For stock SASRec; it ends after the epoch in flight.")] = 20.0,
    threads: Annotated[int, typer.Option(help="Of torch, for both.")] = 2,
    max_length: Annotated[int, typer.Option(help="Longest history, for both.")] = 50,
    epochs: Annotated[int, typer.Option(help="Of ours, at most.")] = 20,
    seed: int = 0,
    encoder: Annotated[str | None, typer.Option(help="Text encoder; the packaged MiniLM if left out.")] = None,
) -> None:
    """Train both, print the table, write both curves."""
    torch.set_num_threads(threads)
    console = Console()
    dataset = read_atomic_files(data or embedded_ml100k())
    load_before = os.getloadavg()[0]
    curves = {}
    for name, budget_s in ((OURS, float("inf")), (STOCK, 60 * budget_minutes)):
        curves[name] = Curve(name, budget_s, lambda line: console.print(line, highlight=False))
        try:
            if name == STOCK:
                train_stock(dataset, curves[name], max_length=max_length, seed=seed)
            else:
                train_ours(dataset, curves[name], max_length=max_length, seed=seed, epochs=epochs, encoder_id=encoder)
        except BudgetSpent:
            console.print(f"{name}: budget of {budget_minutes:g} minutes spent", highlight=False)
    stock, ours = curves[STOCK].points, curves[OURS].points
    comparison = compare(stock, ours)

    table = Table(title=f"Time to equal validation NDCG@10 on {dataset.name}, unmasked, {threads} threads")
    for column in ("NDCG@10", "share of stock's best", "stock, s", "ours, s", "times less", "times less CPU"):
        table.add_column(column, justify="right")
    for row in comparison:
        own = row["ours"]
        table.add_row(
            f"{row['ndcg_at_10']:.4f}",
            f"{row['share_of_stock_best']:.0%}",
            f"{row['stock']['wall_s']:.0f}",
            f"{own['wall_s']:.0f}" if own else "not reached",
            f"{row['times_less_wall']}" if own else "",
            f"{row['times_less_cpu']}" if own else "",
        )
    console.print(table)
    console.print(
        f"Best: stock {max(point.ndcg_at_10 for point in stock):.4f} in {stock[-1].wall_s:.0f} s "
        f"({len(stock)} epochs), ours {max(point.ndcg_at_10 for point in ours):.4f} in {ours[-1].wall_s:.0f} s "
        f"({len(ours)} epochs).",
        highlight=False,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "settings": {
            "threads": threads,
            "max_length": max_length,
            "seed": seed,
            "budget_minutes": budget_minutes,
            "ours": {
                "architecture": asdict(TRMConfig(max_length=max_length)),
                "training": asdict(TrainingConfig()),
                "preferences": asdict(PreferenceConfig()),
            },
            "stock": "RecBole's defaults for SASRec, loss CE",
        },
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load_before": round(load_before, 2)},
        "versions": {name: metadata.version(name) for name in ("torch", "recbole", "numpy", "sentence-transformers")},
        "validation": "the item before the last, full catalogue, seen items not masked, RecBole's Evaluator",
        "time_to_equal_quality": comparison,
        "curves": {name: [asdict(point) for point in curve.points] for name, curve in curves.items()},
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
