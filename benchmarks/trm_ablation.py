"""What each part of the recommender is worth: it is trained without the part, and asked the same questions.

    GOMP_SPINCOUNT=0 python -m benchmarks.trm_ablation --out benchmarks/results/trm_ablation.json

Every variant is trained as if the last five interactions of each person had not happened, and evaluated on validation
positions only (the second to the sixth from the end): a choice made here never sees a test target. A variant that is in
the output file already is not trained again, so the run can be stopped and goes on where it was.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from deeprec.evals import evaluate_trm
from deeprec.trm_tool import (
    CachedEncoder,
    Dataset,
    Encoder,
    PreferenceConfig,
    TextRole,
    TrainingConfig,
    TRMConfig,
    embedded_ml100k,
    load_artifact,
    make_encoder,
    read_atomic_files,
    train_trm,
)
from deeprec.trm_tool.cli.options import DEFAULT_CACHE
from deeprec.trm_tool.trm.training import preferences

POSITIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The defaults, and what differs."""

    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    preferences: Mapping[str, Any] = field(default_factory=dict)
    item_texts: bool = True
    named_phrases: bool = True


VARIANTS: Mapping[str, Variant] = {
    "as it ships": Variant(),
    "no text fusion": Variant(item_texts=False),
    "one linear map for the adaptor": Variant(model={"experts": 1}),
    "no frequency gate": Variant(model={"frequency_gate": False}),
    "no gate on the preference": Variant(model={"belief_gate": False}),
    "no preference noise": Variant(preferences={"wrong": 0.0, "noisy": 0.0}),
    "no preferences at all": Variant(preferences={"empty": 1.0}),
    "phrases that a text names not read": Variant(named_phrases=False),
    "no averaged weights": Variant(training={"weight_average": 0.0}),
    "temperature .05": Variant(model={"temperature": 0.05}),
    "temperature .2": Variant(model={"temperature": 0.2}),
    "softmax over 200 sampled items": Variant(training={"sampled_softmax": 200}),
    "width 128, inner 512, dropout .5 (paper)": Variant(model={"width": 128, "inner": 512, "dropout": 0.5}),
}


class WithoutItemTexts:
    """An encoder that reads nothing in the items' texts: every item then has the same text part."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.id = encoder, encoder.id

    @property
    def width(self) -> int:
        """Length of a vector."""
        return self.encoder.width

    @property
    def fingerprint(self) -> str:
        """The encoder's own, marked: it reads nothing in items."""
        return f"{self.encoder.fingerprint} without items"

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        """Encode -> (len(texts), width), zeros for items."""
        vectors = self.encoder.encode(texts, role=role)
        return vectors * (role != "item")


def run_variant(dataset: Dataset, variant: Variant, encoder: Encoder, *, seed: int, epochs: int) -> dict[str, Any]:
    """Train a variant and evaluate it on the validation positions, all conditions."""
    if not variant.item_texts:
        encoder = WithoutItemTexts(encoder)
    weight = preferences.NAMED if variant.named_phrases else np.float32(0)
    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as scratch, patch.object(preferences, "NAMED", weight):
        folder = Path(scratch) / "artifact"
        metrics = train_trm(
            dataset,
            folder,
            config=replace(TRMConfig(), **variant.model),
            training=replace(TrainingConfig(), **variant.training),
            preferences=replace(PreferenceConfig(), **variant.preferences),
            encoder=encoder,
            epochs=epochs,
            without_last=POSITIONS,
            seed=seed,
        )
        spent = {"wall_s": round(time.perf_counter() - started), "cpu_s": round(time.process_time() - cpu)}
        evaluation = evaluate_trm(
            load_artifact(folder), dataset, split="valid", positions=POSITIONS, conditions=True, encoder=encoder
        )
    return evaluation.to_dict() | spent | {"best_epoch": metrics["best_epoch"], "epochs": metrics["epochs"]}


def make_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Masked figures, one row a variant."""
    columns: dict[str, str] = {}
    for result in results.values():
        for row in result["scores"]:
            if row["masked"] and row["system"].startswith("TRM") and "filtered" not in row["system"]:
                columns[row["system"]] = row["system"].removeprefix("TRM, ").replace("TRM", "R@10, no preference")
    table = Table("variant", "N@10, no preference", *columns.values(), "trust")
    for name, result in results.items():
        rows = {row["system"]: row["metrics"] for row in result["scores"] if row["masked"]}
        table.add_row(
            name,
            f"{rows['TRM']['ndcg@10']['mean']:.4f}",
            *(f"{rows[system]['recall@10']['mean']:.4f}" for system in columns),
            f"{result['trust']:g}",
        )
    return table


def main(
    out: Annotated[Path, typer.Option(help="JSON file; variants that it holds are not trained again.")],
    data: Annotated[Path | None, typer.Option(help="Atomic files; the embedded ml-100k if left out.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A variant by name; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each variant.")] = 1,
    epochs: Annotated[int, typer.Option(help="At most.")] = 20,
    encoder: Annotated[str | None, typer.Option(help="Text encoder; the packaged MiniLM if left out.")] = None,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
) -> None:
    """Train the variants that are missing, and print all."""
    torch.set_num_threads(threads)
    console = Console()
    dataset = read_atomic_files(data or embedded_ml100k())
    settings = {"dataset": dataset.fingerprint, "epochs": epochs, "encoder": encoder, "threads": threads}
    kept: dict[str, Any] = {"settings": settings, "results": {}}
    if out.is_file():
        kept = json.loads(out.read_text(encoding="utf-8"))
    if kept["settings"] != settings:
        raise SystemExit(f"{out} holds results of other settings ({kept['settings']}). Name another file.")
    unknown = set(only or ()) - set(VARIANTS)
    if unknown:
        raise SystemExit(f"The variant {min(unknown)!r} is not known. Choose among {', '.join(VARIANTS)}.")
    results = kept["results"]
    texts = CachedEncoder(make_encoder(encoder), DEFAULT_CACHE)
    for seed in range(seeds):
        for name in only or VARIANTS:
            key = name if not seed else f"{name}, seed {seed}"
            if key in results:
                continue
            results[key] = run_variant(dataset, VARIANTS[name], texts, seed=seed, epochs=epochs)
            out.parent.mkdir(parents=True, exist_ok=True)
            part = out.with_suffix(".part")
            part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            part.replace(out)
            console.print(f"{key}: {results[key]['wall_s']} s", highlight=False)
    console.print(make_table(results))
    console.print(
        f"Recall@10 on {dataset.name}, validation, seen items masked, positions 2 to {POSITIONS + 1} from the end.",
        highlight=False,
    )


if __name__ == "__main__":
    typer.run(main)
