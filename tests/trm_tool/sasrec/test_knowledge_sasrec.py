"""RecBole's SASRec with knowledge: really trained on the tiny catalogue, kept in a file, and a recommender."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from deeprec.trm_tool import (
    ArtifactError,
    ConfigError,
    Dataset,
    HashingEncoder,
    Query,
    SasrecConfig,
    SasrecRecommender,
    SasrecTraining,
    load_sasrec,
    train_knowledge_sasrec,
)
from deeprec.trm_tool.sasrec.recommender import save_sasrec
from deeprec.trm_tool.testing import check_recommender

pytest.importorskip("recbole", reason="needs the extra [trm]")

SMALL = SasrecConfig(hidden_size=16, inner_size=32, n_layers=1, max_length=4)


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("sasrec") / "sasrec.safetensors"
    metrics = train_knowledge_sasrec(
        dataset,
        path,
        encoder=HashingEncoder(),
        config=SMALL,
        training=SasrecTraining(epochs=12, learning_rate=2e-2),
        holdout=3,
    )
    return path, metrics


@pytest.fixture(scope="module")
def sasrec(trained: tuple[Path, dict[str, Any]], dataset: Dataset) -> SasrecRecommender:
    return load_sasrec(trained[0], dataset, HashingEncoder())


def test_the_file_serves_what_was_measured(
    trained: tuple[Path, dict[str, Any]], sasrec: SasrecRecommender, dataset: Dataset
) -> None:
    users = [user for user in dataset.users if len(dataset.history(user, 2))]
    ranks = sasrec.ranks_of(
        [dataset.target(user, 2) for user in users], [Query(history=dataset.history(user, 2)) for user in users]
    )
    assert (ranks <= 10).mean() == pytest.approx(trained[1]["validation"]["masked"]["recall@10"], abs=1e-6)
    assert (sasrec.identity.holdout, sasrec.identity.dataset_fingerprint) == (3, dataset.fingerprint)


def test_it_keeps_the_contract_of_recommenders(sasrec: SasrecRecommender) -> None:
    check_recommender(sasrec)


def test_knowledge_moves_the_ranking_by_its_trust(sasrec: SasrecRecommender, dataset: Dataset) -> None:
    history, comedies = dataset.history("u1", 1), dataset.catalogue.phrases()["comedy"]

    def found(preference: str | None, trust: float) -> int:
        return sum(item.id in comedies for item in sasrec.retrieve(history, preference, k=8, trust=trust))

    assert found("comedy", 1.0) > found(None, 1.0)
    plain = sasrec.retrieve(history, k=8)
    assert sasrec.retrieve(history, "comedy", k=8, trust=0.0) == plain
    assert sasrec.retrieve(history, words="comedy", k=8) == sasrec.retrieve(history, "comedy", k=8)
    assert len(sasrec.retrieve([], k=8)) == 8


def test_a_state_is_that_of_recboles_sasrec() -> None:
    """The states at every position are what RecBole's own forward pass gives for each beginning of the history."""
    from deeprec.trm_tool.sasrec.network import KnowledgeSASRec
    from deeprec.trm_tool.sasrec.recommender import make_network

    network: KnowledgeSASRec = make_network(SMALL, 8, 20).eval()
    items = torch.tensor([[3, 9, 4, 1], [7, 2, 0, 0]])
    with torch.inference_mode():
        states = network.states(items)
        for length in (1, 2, 3, 4):
            cut = torch.where(torch.arange(4) < length, items, 0)
            own = network.forward(cut, torch.tensor([length, min(length, 2)]))
            torch.testing.assert_close(states[0, length - 1], own[0])
        torch.testing.assert_close(network.latest(items)[1], states[1, 1])


def test_training_is_repeatable_and_reads_no_held_out_item(dataset: Dataset, tmp_path: Path) -> None:
    quick = SasrecTraining(epochs=1)
    for name in ("one", "two"):
        train_knowledge_sasrec(
            dataset, tmp_path / name, encoder=HashingEncoder(), config=SMALL, training=quick, holdout=3
        )
    one, two = (load_file(tmp_path / name) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    counted = {item for user in dataset.users for item in dataset.history(user, 3)}
    assert set(np.array(dataset.catalogue.ids)[one["popularity"].numpy() > 0]) == counted


def test_a_damaged_file_is_named(trained: tuple[Path, dict[str, Any]], dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        load_sasrec(tmp_path / "none", dataset, HashingEncoder())
    (tmp_path / "text").write_text("not a model")
    with pytest.raises(ArtifactError, match="not a SASRec of this catalogue"):
        load_sasrec(tmp_path / "text", dataset, HashingEncoder())
    weights = load_file(trained[0])
    save_file(weights, tmp_path / "bare")
    with pytest.raises(ArtifactError, match="not a SASRec of this catalogue"):
        load_sasrec(tmp_path / "bare", dataset, HashingEncoder())
    popularity = weights.pop("popularity").numpy()
    settings = {
        "architecture": {**vars_of(SMALL), "n_layers": 10**9},
        "text_width": 32,
        "encoder_id": HashingEncoder().id,
        "dataset_fingerprint": "x",
        "holdout": 2,
    }
    save_sasrec(tmp_path / "huge", weights, settings, popularity=popularity)
    with pytest.raises(ArtifactError, match="n_layers is 1000000000"):
        load_sasrec(tmp_path / "huge", dataset, HashingEncoder())
    save_sasrec(
        tmp_path / "other", weights, settings | {"architecture": vars_of(SMALL), "text_width": 5}, popularity=popularity
    )
    with pytest.raises(ArtifactError, match="does not fit its own settings"):
        load_sasrec(tmp_path / "other", dataset, HashingEncoder())
    with pytest.raises(ConfigError, match="was trained with the text encoder"):
        load_sasrec(trained[0], dataset, HashingEncoder(8))


def vars_of(config: SasrecConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_settings_that_cannot_work_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be shared by 3 heads"):
        SasrecConfig(hidden_size=64, n_heads=3)
    with pytest.raises(ConfigError, match=r"SasrecTraining\.epochs is 0"):
        SasrecTraining(epochs=0)
    with pytest.raises(ConfigError, match="holdout is 1"):
        train_knowledge_sasrec(dataset, tmp_path / "x", encoder=HashingEncoder(), holdout=1)
