"""RecBole's SASRec as a peer, trained on the tiny catalogue. Skipped where the extra `[trm]` is missing."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.peer_protocol import SETTINGS, figures, rank_targets
from deeprec.evals import Case
from deeprec.trm_tool import ConfigError, Dataset

pytest.importorskip("recbole", reason="needs the extra [trm]")

from benchmarks.peer_recbole import STATE, make_recbole_scorer, train_recbole
from benchmarks.recbole_in_parts import calculate_in_parts

SMALL: dict[str, Any] = {"train_batch_size": 16, "hidden_size": 16, "inner_size": 32, "max_length": 6}


@pytest.fixture
def model_and_loaders(dataset: Dataset, tmp_path: Path) -> Iterator[tuple[Any, Any, Any, Any]]:
    from recbole.data import data_preparation
    from recbole.data.dataset import SequentialDataset
    from recbole.model.sequential_recommender import SASRec

    from deeprec.trm_tool.trm.training.recbole_support import make_config, seeded, write_for_recbole

    with warnings.catch_warnings(), seeded(1):
        warnings.simplefilter("ignore")
        write_for_recbole(dataset, tmp_path, hidden=0)
        config = make_config(
            "SASRec", tmp_path, seed=1, hidden_dropout_prob=0.0, attn_dropout_prob=0.0, use_gpu=False, **SMALL
        )
        train, validation, _ = data_preparation(config, SequentialDataset(config))
        with torch.autograd.set_detect_anomaly(False):
            yield config, SASRec(config, train.dataset), train, validation


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_the_whole(
    model_and_loaders: tuple[Any, Any, Any, Any],
) -> None:
    _, model, train, _ = model_and_loaders
    batch = next(iter(train))
    assert len(set(batch[model.ITEM_SEQ_LEN].tolist())) > 1  # so that parts differ in length
    whole = model.calculate_loss(batch)
    whole.backward()
    expected = gradients(model)
    model.zero_grad()
    loss = calculate_in_parts(model, batch, part=5)  # 16 = 5 + 5 + 5 + 1
    loss.backward()
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


def test_our_unmasked_validation_is_recboles(model_and_loaders: tuple[Any, Any, Any, Any], dataset: Dataset) -> None:
    """The scorer renumbers items, cuts histories and puts them into RecBole's form: all of it shows here."""
    from deeprec.trm_tool.trm.training.recbole_support import QuietTrainer

    config, model, train, validation = model_and_loaders
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    trainer = QuietTrainer(config, model)
    trainer.eval_collector.data_collect(train)
    theirs = trainer.evaluate(validation, load_best_model=False)
    setting = SETTINGS["test1"]
    score = make_recbole_scorer(model.train(), train.dataset, dataset, SMALL["max_length"])
    ours = figures(rank_targets(score, setting.validation_cases(dataset), dataset))
    assert 0 < ours["ndcg@10_unmasked"] < 1
    assert ours["ndcg@10_unmasked"] == pytest.approx(float(theirs["ndcg@10"]), abs=2e-6)
    assert ours["recall@10_unmasked"] == pytest.approx(float(theirs["recall@10"]), abs=2e-6)
    assert model.training  # as it was


def train(dataset: Dataset, folder: Path, max_epochs: int, setting: str = "test1", **settings: Any) -> dict[str, Any]:
    lines: list[str] = []
    train_recbole(
        dataset,
        SETTINGS[setting],
        state=folder,
        results=folder,
        report=lines.append,
        max_epochs=max_epochs,
        **SMALL | {"patience": 5, "use_gpu": False} | settings,
    )
    found: dict[str, Any] = json.loads((folder / f"recbole_{setting}.json").read_text())
    assert len(found["curve"]) == found["curve"][-1]["epoch"]
    return found


def without_times(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in point.items() if not name.endswith(("_s", "_mb"))} for point in result["curve"]
    ]


def test_a_training_that_was_broken_off_goes_on_as_if_it_had_not_been(dataset: Dataset, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    expected = train(dataset, straight, 3)
    assert train(dataset, broken, 1)["status"] == "ended at the last epoch allowed"
    found = train(dataset, broken, 3)
    assert without_times(found) == without_times(expected)
    assert [point["epoch"] for point in found["curve"]] == [1, 2, 3]
    assert found["curve"][0]["loss"] > found["curve"][2]["loss"]  # it learns
    ranks = [json.loads((folder / "recbole_test1_ranks.json").read_text()) for folder in (straight, broken)]
    assert ranks[0] == ranks[1]
    assert found["test"] == expected["test"]


def test_a_converged_training_is_not_trained_on(dataset: Dataset, tmp_path: Path) -> None:
    first = train(dataset, tmp_path, 60, patience=1, learning_rate=0.03)
    assert first["status"] == "converged"
    assert first["best_epoch"] == len(first["curve"]) - 1
    again = train(dataset, tmp_path, 60, patience=1, learning_rate=0.03)
    assert again["curve"] == first["curve"]
    assert again["test"] == first["test"]


def test_the_last_five_of_a_user_are_ranked_and_never_learned_from(dataset: Dataset, tmp_path: Path) -> None:
    found = train(dataset, tmp_path, 1, "last5")
    ranks = json.loads((tmp_path / "recbole_last5_ranks.json").read_text())
    assert sorted(set(ranks["position"])) == [1, 2, 3, 4, 5]
    assert len(ranks["user"]) == 5 * len(dataset.users)
    assert all(low <= high for low, high in zip(ranks["masked"], ranks["unmasked"], strict=True))
    learned = {item for user in dataset.users for item in dataset.sequences[user][:-6]}
    targets = [item for user in dataset.users for item in dataset.sequences[user][-5:]]
    assert found["targets_never_in_training"] == sum(item not in learned for item in targets) > 0


def test_a_damaged_state_is_refused_by_name(dataset: Dataset, tmp_path: Path) -> None:
    train(dataset, tmp_path, 1)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"state\.safetensors is not a state of this training"):
        train(dataset, tmp_path, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "whose seed differ (seed was 0, is now 1)"),
        ({"learning_rate": 0.03}, "whose learning_rate differ (learning_rate was 0.001, is now 0.03)"),
        ({"setting": "last5"}, "whose setting differ"),
        ({}, "whose dataset fingerprint differ"),
    ],
)
def test_a_state_of_other_settings_or_data_is_refused(
    dataset: Dataset, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    train(dataset, tmp_path, 1)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(ConfigError) as raised:
        train(dataset if change else dataset.without_last(1), tmp_path, 2, **change)
    assert message in str(raised.value)
    assert "--states, and the training begins anew" in str(raised.value)
    assert (tmp_path / STATE).read_bytes() == before


def forget_training(path: Path) -> None:
    """Make a state one of those that were written before they named their training."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress = file.metadata()["progress"]
    save_file(tensors, path, metadata={"progress": progress})


def test_a_state_that_does_not_say_what_it_is_of_needs_its_result(dataset: Dataset, tmp_path: Path) -> None:
    straight, old = tmp_path / "straight", tmp_path / "old"
    expected = train(dataset, straight, 2)
    train(dataset, old, 1)
    forget_training(old / STATE)
    with pytest.raises(ConfigError, match="whose seed differ"):
        train(dataset, old, 2, seed=1)
    result = old / "recbole_test1.json"
    kept = result.read_text()
    result.write_text(kept.replace('"loss": ', '"loss": 1'))  # of another run
    with pytest.raises(ConfigError, match=r"does not name its training, and .*recbole_test1\.json does not"):
        train(dataset, old, 2)
    result.write_text(kept)
    assert without_times(train(dataset, old, 2)) == without_times(expected)
    result.unlink()  # from now on the state says so itself
    assert len(train(dataset, old, 2)["curve"]) == 2


def test_the_scorer_takes_a_history_longer_than_the_model(
    model_and_loaders: tuple[Any, Any, Any, Any], dataset: Dataset
) -> None:
    _, model, loader, _ = model_and_loaders
    score = make_recbole_scorer(model, loader.dataset, dataset, SMALL["max_length"])
    user = dataset.users[0]
    whole = dataset.history(user, 1)
    assert len(whole) > SMALL["max_length"]
    cases = [Case(user=user, history=history, target=whole[-1]) for history in (whole, whole[-6:], whole[-5:])]
    scores = score(cases)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    assert not np.allclose(scores[1], scores[2])
