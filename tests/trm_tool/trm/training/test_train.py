"""Real training through RecBole on the tiny catalogue. Skipped where the extra `[trm]` is not installed."""

import logging
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deeprec.trm_tool import (
    Catalogue,
    ConfigError,
    DataError,
    Dataset,
    HashingEncoder,
    Item,
    PreferenceConfig,
    Retriever,
    TextRole,
    TrainingConfig,
    TrainingProgress,
    TRMConfig,
    load_artifact,
    train_trm,
)
from tests.counting_encoder import CountingEncoder
from tests.odd_dataset import make_odd_dataset

pytest.importorskip("recbole", reason="needs the extra [trm]")

EXACT = "masked, told all attributes of the target"
SMALL = TRMConfig(width=16, inner=32, layers=1, experts=2, max_length=4)


class BrokenEncoder(HashingEncoder):
    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        return super().encode(texts, role=role) * np.float32("nan")


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, list[TrainingProgress]]:  # type: ignore[type-arg]
    progress: list[TrainingProgress] = []
    out = tmp_path_factory.mktemp("trained") / "artifact"
    metrics = train_trm(
        dataset, out, config=SMALL, encoder=HashingEncoder(), epochs=3, seed=4, on_progress=progress.append
    )
    return out, metrics, progress


def test_training_writes_an_artifact_that_serves(
    trained: tuple[Path, dict, list[TrainingProgress]],  # type: ignore[type-arg]
    dataset: Dataset,
) -> None:
    out, metrics, progress = trained
    artifact = load_artifact(out)
    assert artifact.config["holdout"] == 2
    assert artifact.config["dataset_fingerprint"] == dataset.fingerprint
    assert artifact.popularity.sum() == sum(len(dataset.history(user, 2)) for user in dataset.users)
    assert len(Retriever.load(out).retrieve(dataset.history("u1", 1), "comedy", k=5)) == 5
    assert set(metrics["validation"]["masked"]) == {"recall@10", "ndcg@10", "recall@20", "ndcg@20"}
    assert [(step.stage, step.epoch) for step in progress] == [
        ("encoding", 0),
        ("training", 0),
        ("training", 1),
        ("training", 2),
        ("training", 3),
    ]
    assert progress[-1].loss < progress[2].loss


def test_the_kept_weights_are_those_of_the_best_epoch(
    trained: tuple[Path, dict, list[TrainingProgress]],  # type: ignore[type-arg]
) -> None:
    _, metrics, progress = trained
    plain, exact = (metrics["validation"][way]["ndcg@10"] for way in ("masked", EXACT))
    best = progress[1 + metrics["best_epoch"]]
    assert (best.ndcg_at_10, best.told_ndcg_at_10) == (plain, exact)
    assert plain + exact == max(step.ndcg_at_10 + step.told_ndcg_at_10 for step in progress[2:])


def test_recboles_figures_are_those_of_the_artifact(
    trained: tuple[Path, dict, list[TrainingProgress]],  # type: ignore[type-arg]
    dataset: Dataset,
) -> None:
    out, metrics, _ = trained
    retriever = Retriever.load(out)
    for protocol, seen, preferred in (("masked", False, False), ("unmasked", True, False), (EXACT, False, True)):
        found = []
        for user in dataset.users:
            target = dataset.target(user, 2)
            preference = "; ".join(dataset.catalogue.phrases_of(target)) if preferred else None
            ids = [
                item.id for item in retriever.retrieve(dataset.history(user, 2), preference, k=10, include_seen=seen)
            ]
            found.append(1 / np.log2(ids.index(target) + 2) if target in ids else 0.0)
        assert metrics["validation"][protocol]["ndcg@10"] == pytest.approx(np.mean(found), abs=1e-5)
        assert metrics["validation"][protocol]["recall@10"] == pytest.approx(np.mean(np.sign(found)), abs=1e-5)


@pytest.mark.slow
def test_equal_seeds_give_equal_artifacts(
    trained: tuple[Path, dict, list[TrainingProgress]],  # type: ignore[type-arg]
    dataset: Dataset,
    tmp_path: Path,
) -> None:
    random.seed(99)
    torch.manual_seed(99)
    for seed in (4, 5):
        train_trm(dataset, tmp_path / str(seed), config=SMALL, encoder=HashingEncoder(), epochs=3, seed=seed)
    first = load_artifact(trained[0])
    assert load_artifact(tmp_path / "4").fingerprint == first.fingerprint
    assert load_artifact(tmp_path / "5").fingerprint != first.fingerprint


def test_training_leaves_no_trace_beside_its_artifact(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr(sys, "argv", ["deeprec", "--epochs=50", "--learning_rate=nonsense", "trm", "train"])
    environment, handlers = dict(os.environ), list(logging.getLogger().handlers)
    states = random.getstate(), torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    metrics = train_trm(dataset, tmp_path / "work" / "out", config=SMALL, encoder=HashingEncoder(), epochs=1)
    assert metrics["epochs"] == 1  # RecBole would have read the command line
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["out"]
    assert list((tmp_path / "scratch").iterdir()) == []
    assert dict(os.environ) == environment
    assert logging.getLogger().handlers == handlers
    assert random.getstate() == states[0]
    assert torch.equal(torch.random.get_rng_state(), states[1])
    assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[index,union-attr]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_large_catalogue_is_trained_on_samples(dataset: Dataset, tmp_path: Path) -> None:
    progress: list[TrainingProgress] = []
    train_trm(
        dataset,
        tmp_path / "artifact",
        config=SMALL,
        encoder=HashingEncoder(),
        epochs=3,
        on_progress=progress.append,
        training=TrainingConfig(sampled_softmax=10),
        preferences=PreferenceConfig(empty=0),
    )
    assert progress[-1].loss < progress[2].loss


def test_a_loss_that_is_no_number_ends_training_with_advice(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"became nan in epoch 1 .* Lower the learning rate"):
        train_trm(dataset, tmp_path / "out", config=SMALL, encoder=BrokenEncoder(), epochs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"holdout": 1}, "own validation target"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    dataset: Dataset, tmp_path: Path, arguments: dict[str, int], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        train_trm(dataset, tmp_path / "out", encoder=HashingEncoder(), **arguments)  # type: ignore[arg-type]


def test_items_without_attributes_are_trained_on(tmp_path: Path) -> None:
    catalogue = Catalogue([Item(id=f"{row}", title=f"T{row}", text=f"t{row}") for row in range(20)], {})
    sequences = {f"u{user}": catalogue.ids[user : user + 8] for user in range(10)}
    plain = Dataset(name="plain", catalogue=catalogue, users=tuple(sequences), sequences=sequences)
    metrics = train_trm(plain, tmp_path / "artifact", config=SMALL, encoder=HashingEncoder(), epochs=1)
    assert set(metrics["validation"]) == {"masked", "unmasked"}
    load_artifact(tmp_path / "artifact")


def test_a_catalogue_too_small_to_rank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 19 items"):
        train_trm(make_odd_dataset([[1, 2, 3, 4, 5]], items=19), tmp_path / "out", encoder=HashingEncoder())


def test_data_with_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="with holdout 3 nothing is left to train on"):
        train_trm(make_odd_dataset([[1, 2, 3, 4]] * 5), tmp_path / "out", encoder=HashingEncoder(), holdout=3)


def test_a_folder_with_something_else_is_refused_before_training(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something other than an artifact"):
        train_trm(dataset, tmp_path, encoder=HashingEncoder(), on_progress=lambda step: pytest.fail("began"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("learning_rate", 0.0), ("batch_size", 0), ("window_overlap", -1), ("patience", -1), ("clip_norm", float("nan"))],
)
def test_a_training_setting_that_cannot_work_is_named(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        TrainingConfig(**{setting: value})  # type: ignore[arg-type]


@pytest.mark.slow
def test_texts_are_encoded_once_for_two_trainings(tmp_path: Path) -> None:
    encoder, progress = CountingEncoder(), list[TrainingProgress]()
    dataset = make_odd_dataset([list(range(20)), list(range(19, -1, -1)), [3, 1, 4, 15, 9, 2, 6, 5]])
    cache = tmp_path / "cache"
    train_trm(
        dataset, tmp_path / "one", config=SMALL, encoder=encoder, cache=cache, epochs=1, on_progress=progress.append
    )
    encoding = [step for step in progress if step.texts]
    assert encoding[-1].texts_done == encoding[-1].texts
    encoded = len(encoder.encoded)
    assert encoded > 20
    train_trm(dataset, tmp_path / "two", config=SMALL, encoder=encoder, cache=cache, epochs=1)
    assert len(encoder.encoded) == encoded


@pytest.mark.slow
def test_the_average_of_the_weights_follows_where_an_epoch_is_one_step(tmp_path: Path) -> None:
    """Ten steps in all: an average over a hundred would still hold what the weights were before training."""
    dataset = make_odd_dataset([list(range(20)), list(range(19, -1, -1)), [3, 1, 4, 15, 9, 2, 6, 5]])
    sizes = []
    for average in (0.0, 0.99):
        train_trm(
            dataset,
            tmp_path / f"{average}",
            config=SMALL,
            encoder=HashingEncoder(),
            epochs=10,
            training=TrainingConfig(weight_average=average, patience=10),
        )
        model = load_artifact(tmp_path / f"{average}").model
        sizes.append(model.id_embedding.weight.square().mean().item())
    start = 0.02**2  # weights are drawn with a deviation of .02
    assert sizes[1] - start > 0.3 * (sizes[0] - start) > 0
