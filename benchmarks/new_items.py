"""Items that training never saw: how well they are found by their text, and how long adding many takes.

    GOMP_SPINCOUNT=0 python -m benchmarks.new_items --out benchmarks/results/new_items.json

Of the items that are a target (one of the last five of a person), 5% of the catalogue are drawn and taken out of the
training data, with all their interactions. The recommender is trained on the rest as it was before the last four
interactions of each person. Then the items are added by their text. Cases are the last five positions of each person;
histories hold new items where the person had them. New and old items are ranked together, seen items cannot come back.
"""

import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from deeprec.evals.metrics.ranking import mean_interval
from deeprec.evals.recommenders.evaluation import mean_by
from deeprec.evals.requests.cases import Case, make_cases
from deeprec.trm_tool import (
    Artifact,
    Catalogue,
    Dataset,
    Encoder,
    HashingEncoder,
    Item,
    PreferenceAwareTRM,
    Query,
    Retriever,
    TRMConfig,
    embedded_ml100k,
    load_artifact,
    make_encoder,
    read_atomic_files,
    save_artifact,
    train_trm,
)
from deeprec.trm_tool.data.dataset import MIN_INTERACTIONS
from deeprec.trm_tool.trm.catalogue_changes import add_items
from deeprec.trm_tool.trm.training.preferences import SEPARATOR
from deeprec.trm_tool.trm.training.train import DEFAULT_EPOCHS

SHARE, POSITIONS, K = 0.05, 5, 20
GOAL = 10.0
"""Times chance that Recall@20 with the target's attributes must reach."""
OLD_CASES = 1_000
"""Cases with an old target that are asked, drawn once a draw: they show what the new items take from the old."""
EXPECTED, TYPICAL, MEAN, NOTHING = "expected by its text", "mean over interactions", "mean over items", "nothing"
"""What may stand in the place of the id embedding that a new item lacks; the first is what `add_items` gives it."""
CHANCE = "k / (items that can come back): k = 20, items of the catalogue less the distinct ones of the history"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back for some cases, asked once."""

    hits: NDArray[np.float64]
    """1 where the target was among the first 20 (cases,)."""
    new: NDArray[np.float64]
    """Share of new items among the first 20 (cases,)."""


def draw_items(dataset: Dataset, seed: int) -> frozenset[str]:
    """Draw the items that training will not see: 5% of the catalogue, among those that are a target."""
    targets = {case.target for case in make_cases(dataset, "test", positions=POSITIONS)}
    able = [item_id for item_id in dataset.catalogue.ids if item_id in targets]
    count = min(round(SHARE * len(dataset.catalogue)), len(able))
    return frozenset(np.random.default_rng(seed).choice(able, count, replace=False).tolist())


def without_items(dataset: Dataset, held_out: frozenset[str]) -> Dataset:
    """The training data: as before the last four interactions of each person, and without any trace of the items.

    Cut first and thinned then, so that nothing after the cut moves into training.
    """
    past = dataset.without_last(POSITIONS - 1)
    kept = {user: tuple(i for i in past.sequences[user] if i not in held_out) for user in past.users}
    kept = {user: sequence for user, sequence in kept.items() if len(sequence) >= MIN_INTERACTIONS}
    items = [item for item in dataset.catalogue if item.id not in held_out]
    return replace(
        past,
        name=f"{past.name}, without {len(held_out)} items",
        catalogue=Catalogue(items, dataset.catalogue.attribute_kinds),
        users=tuple(kept),
        sequences=kept,
    )


def with_id(artifact: Artifact, id_embedding: torch.Tensor) -> Artifact:
    """The artifact with one vector in the place of the id embeddings of all items that training never saw."""
    ids = artifact.model.id_embedding.weight.clone()
    ids[int(artifact.config["trained_items"]) :] = id_embedding
    return replace(artifact, model=artifact.model.with_items(ids, artifact.text_embeddings))


def retrieve_each(
    retriever: Retriever, cases: Sequence[Case], new: frozenset[str], *, with_attributes: bool
) -> Answers:
    """Retrieve 20 items for each case; the preference is all phrases that are true of its target, or none."""
    catalogue = retriever.catalogue
    queries = [
        Query(
            history=case.history,
            preference=SEPARATOR.join(catalogue.phrases_of(case.target)) if with_attributes else None,
        )
        for case in cases
    ]
    found = [[item.id for item in answer] for answer in retriever.retrieve_batch(queries, k=K)]
    return Answers(
        hits=np.array([case.target in answer for case, answer in zip(cases, found, strict=True)], np.float64),
        new=np.array([sum(item_id in new for item_id in answer) / K for answer in found]),
    )


def chances(cases: Sequence[Case], items: int) -> NDArray[np.float64]:
    """Recall@20 of a random order (cases,): 0 for a target in the history, which cannot come back."""
    return np.array(
        [0.0 if case.target in case.history else min(1.0, K / (items - len(set(case.history)))) for case in cases]
    )


def summarise(cases: Sequence[Case], values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean over people of each one's mean over their cases, with a 95% interval over people (None: no spread)."""
    interval = mean_interval(mean_by([case.user for case in cases], values))
    found = {name: float(getattr(interval, name)) for name in ("mean", "low", "high")}
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in found.items()}


def run_draw(
    dataset: Dataset, seed: int, encoder: Encoder, epochs: int, console: Console
) -> tuple[dict[str, Any], list[Case], dict[str, NDArray[np.float64]]]:
    """Train without the items of a draw, add them, ask -> figures, the cases with a new target, their values."""
    held_out = draw_items(dataset, seed)
    learned, started = without_items(dataset, held_out), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        train_trm(learned, Path(scratch) / "trm", encoder=encoder, epochs=epochs, seed=seed)
        trained = load_artifact(Path(scratch) / "trm")
    seconds = round(time.perf_counter() - started, 1)
    cases = make_cases(dataset, "test", positions=POSITIONS)
    about_new = [case for case in cases if case.target in held_out]
    about_old = [case for case in cases if case.target not in held_out]
    rng = np.random.default_rng(seed)
    about_old = [about_old[index] for index in rng.permutation(len(about_old))[:OLD_CASES]]

    shipped = add_items(trained, [dataset.catalogue.item(item_id) for item_id in sorted(held_out)], encoder).artifact
    weight = trained.model.id_embedding.weight
    share = torch.from_numpy(trained.popularity / trained.popularity.sum()).to(weight)
    places = {
        EXPECTED: shipped,
        TYPICAL: with_id(shipped, share @ weight),
        MEAN: with_id(shipped, weight.mean(0)),
        NOTHING: with_id(shipped, weight[0] * 0),
    }
    values: dict[str, NDArray[np.float64]] = {"chance": chances(about_new, len(dataset.catalogue))}
    rows = []
    for place, artifact in places.items():
        retriever = Retriever(artifact, encoder)
        row: dict[str, Any] = {"in place of the id embedding": place}
        for with_attributes in (True, False):
            new, old = (
                retrieve_each(retriever, asked, held_out, with_attributes=with_attributes)
                for asked in (about_new, about_old)
            )
            values[f"{place}, {_kind(with_attributes)}"] = new.hits
            row[_kind(with_attributes)] = {
                "new_targets_recall@20": summarise(about_new, new.hits),
                "old_targets_recall@20": summarise(about_old, old.hits),
                "share_of_new_among_20": summarise(about_old, old.new)["mean"],
            }
        rows.append(row)
        console.print(f"draw {seed}, {place}: {json.dumps(row[_kind(True)])}", highlight=False, soft_wrap=True)
    before = Retriever(trained, encoder)
    past = [replace(case, history=tuple(i for i in case.history if i not in held_out)) for case in about_old]
    figures = {
        "seed": seed,
        "held_out_items": len(held_out),
        "cases_with_a_new_target": len(about_new),
        "people_with_such_a_case": len({case.user for case in about_new}),
        "chance_recall@20": summarise(about_new, values["chance"])["mean"],
        "old_targets_recall@20_before_adding": {
            _kind(with_attributes): summarise(
                past, retrieve_each(before, past, held_out, with_attributes=with_attributes).hits
            )
            for with_attributes in (True, False)
        },
        "training_seconds": seconds,
        "rows": rows,
    }
    return figures, about_new, values


class TimedEncoder(HashingEncoder):
    """Counts the seconds that encoding takes, so that they can be separated."""

    seconds = cpu_seconds = 0.0

    def encode(self, texts: Sequence[str], **role: Any) -> NDArray[np.float32]:
        """Encode as `HashingEncoder` does, and count the seconds."""
        started, cpu_started = time.perf_counter(), time.process_time()
        vectors = super().encode(texts, **role)
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += time.process_time() - cpu_started
        return vectors


def make_items(prefix: str, count: int, rng: np.random.Generator) -> list[Item]:
    """Synthetic products with a brand, tags and a price."""
    brands, tags = [f"Brand {number}" for number in range(500)], [f"tag{number}" for number in range(200)]
    return [
        Item(
            id=f"{prefix}{number}",
            title=f"Product {rng.integers(10**6)} of the {prefix} series",
            attributes={
                "brand": brands[rng.integers(500)],
                "tags": tuple(tags[index] for index in rng.choice(200, 4, replace=False)),
                "price": float(rng.integers(1, 10_000)) / 10,
            },
        )
        for number in range(count)
    ]


def time_changes(old: int, new: int) -> dict[str, Any]:
    """Seconds to add, reprice and remove `new` items of a catalogue of `old`, and to save and load the result."""
    rng, encoder = np.random.default_rng(0), TimedEncoder(384)
    catalogue = Catalogue(make_items("old", old, rng), {"brand": "category", "tags": "tags", "price": "number"})
    texts = torch.from_numpy(encoder.encode([item.title for item in catalogue]))
    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}
    load_before = round(os.getloadavg()[0], 2)

    @contextmanager
    def clock(name: str) -> Iterator[None]:
        started, cpu_started = time.perf_counter(), time.process_time()
        yield
        seconds[name] = round(time.perf_counter() - started, 2)
        cpu_seconds[name] = round(time.process_time() - cpu_started, 2)

    with tempfile.TemporaryDirectory() as scratch:
        save_artifact(
            Path(scratch) / "trm",
            PreferenceAwareTRM(TRMConfig(), texts),
            catalogue,
            encoder_id=encoder.id,
            text_embeddings=texts,
            popularity=np.ones(old),
            dataset_fingerprint="",
            holdout=2,
            trust=1.0,
            metrics={},
            seed=0,
        )
        retriever = Retriever.load(Path(scratch) / "trm", encoder)
        added = make_items("new", new, rng)
        encoder.seconds = encoder.cpu_seconds = 0.0
        with clock("add"):
            retriever.add_items(added)
        for spent, encoding in ((seconds, encoder.seconds), (cpu_seconds, encoder.cpu_seconds)):
            spent |= {"of_that_encoding": round(encoding, 2), "add_encoding_apart": round(spent["add"] - encoding, 2)}
        with clock("add one more"):
            retriever.add_items(make_items("one", 1, rng))
        items = [retriever.catalogue.item(item.id) for item in added]
        cheaper = [replace(item, attributes={**item.attributes, "price": 1.0}) for item in items]
        with clock("reprice"):
            retriever.update_items(cheaper)
        with clock("remove"):
            retriever.remove_items([item.id for item in added])
        with clock("save"):
            retriever.save(Path(scratch) / "trm")
        with clock("load"):
            Retriever.load(Path(scratch) / "trm", encoder)
    return {
        "items_before": old,
        "items_added": new,
        "text_width": 384,
        "load_before": load_before,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def pool(draws: Sequence[tuple[list[Case], Mapping[str, NDArray[np.float64]]]]) -> dict[str, Any]:
    """All draws together: a person's cases of all draws are one value of the interval."""
    cases = [case for own, _ in draws for case in own]
    values = {name: np.concatenate([each[name] for _, each in draws]) for name in draws[0][1]}
    chance = float(mean_by([case.user for case in cases], values["chance"]).mean())
    pooled: dict[str, Any] = {
        "cases": len(cases),
        "people": len({case.user for case in cases}),
        "chance_recall@20": round(chance, 4),
    }
    for name, own in values.items():
        if name != "chance":
            recall = summarise(cases, own)
            times = {bound: None if value is None else round(value / chance, 1) for bound, value in recall.items()}
            pooled[name] = {"recall@20": recall, "times_chance": times}
    return pooled


def main(
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("benchmarks/results/new_items.json"),
    data: Annotated[Path | None, typer.Option(help="Atomic files; the embedded ml-100k if left out.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of held-out items; each trains a model.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training, at most.")] = DEFAULT_EPOCHS,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 2,
    encoder: Annotated[str | None, typer.Option(help="Text encoder; the packaged MiniLM if left out.")] = None,
    added: Annotated[int, typer.Option(min=1, help="Items of the timing.")] = 10_000,
) -> None:
    """Train without some items, add them by text, print how well they are found, and time large additions."""
    torch.set_num_threads(threads)
    console, load_before = Console(), os.getloadavg()[0]
    timings = [time_changes(old, added) for old in (2_000, 100_000)]
    dataset = read_atomic_files(data or embedded_ml100k())
    texts = make_encoder(encoder)
    ran = [run_draw(dataset, seed, texts, epochs, console) for seed in range(draws)]
    pooled = pool([(cases, values) for _, cases, values in ran])
    reached = (pooled[f"{EXPECTED}, {_kind(True)}"]["times_chance"]["low"] or 0.0) >= GOAL

    title = f"Recall@20 of items that training never saw, {dataset.name}, {draws} draws, seen items masked"
    table = Table("in place of the id embedding", "preference", "Recall@20", "times chance", title=title)
    for place in (EXPECTED, TYPICAL, MEAN, NOTHING):
        for with_attributes in (True, False):
            row = pooled[f"{place}, {_kind(with_attributes)}"]
            table.add_row(place, _kind(with_attributes), _shown(row["recall@20"]), _shown(row["times_chance"]))
    console.print(table)
    console.print(f"Chance: {pooled['chance_recall@20']:.4f}, {CHANCE}. {pooled['cases']} cases.", highlight=False)
    console.print(f"Goal, {GOAL:g} times chance: {'reached' if reached else 'missed'}", highlight=False)
    for timing in timings:
        console.print(f"{added} items added to {timing['items_before']}, seconds: {timing['seconds']}", highlight=False)
    result = {
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint, "items": len(dataset.catalogue)},
        "protocol": {
            "share_held_out": SHARE,
            "positions": POSITIONS,
            "k": K,
            "seen_items": "masked",
            "ranked": "the full catalogue, new and old items",
            "preference": "all phrases true of the target, never its title; default trust",
            "chance": CHANCE,
            "interval": "95%, bootstrap over people, each with the mean of their cases",
        },
        "settings": {"draws": draws, "epochs": epochs, "threads": threads, "architecture": asdict(TRMConfig())},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load_before": round(load_before, 2)},
        "versions": {name: metadata.version(name) for name in ("torch", "recbole", "numpy", "sentence-transformers")},
        "goal": {"times_chance": GOAL, "reached": reached},
        "pooled": pooled,
        "draws": [figures for figures, _, _ in ran],
        "timing": {"encoder": "hashing-384 over synthetic texts", "runs": timings},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _kind(with_attributes: bool) -> str:
    return "all attributes of the target" if with_attributes else "no preference"


def _shown(values: Mapping[str, float | None]) -> str:
    low = "" if values["low"] is None else f"\n{values['low']:g} to {values['high']:g}"
    return f"{values['mean']:g}{low}"


if __name__ == "__main__":
    typer.run(main)
