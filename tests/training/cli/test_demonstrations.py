"""`deeprec train demonstrations`, and the warm start on what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deeprec.agent.cli.main import main
from deeprec.trm_tool import Artifact, Dataset, save_artifact
from deeprec.trm_tool.data import MadeRequestConfig, RequestMaker, write_requests

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")


def call(*arguments: str) -> int:
    try:
        main(["train", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def recommender(artifact: Artifact, dataset: Dataset, tmp_path: Path) -> Path:
    """The folder of the recommender of holdout 3."""
    config = artifact.config
    folder = tmp_path / "trm"
    save_artifact(
        folder,
        artifact.model,
        artifact.catalogue,
        encoder_id=str(config["encoder_id"]),
        text_embeddings=artifact.text_embeddings,
        popularity=artifact.popularity,
        dataset_fingerprint=dataset.fingerprint,
        holdout=3,
        trust=0.5,
        metrics={},
        seed=3,
    )
    return folder


@pytest.fixture
def flags(recommender: Path, dataset: Dataset, atomic_folder: Path, chat_base: Path, tmp_path: Path) -> list[str]:
    """The options of the command for requests of everybody."""
    asked = tmp_path / "asked.jsonl"
    write_requests(asked, RequestMaker(dataset, MadeRequestConfig(second_wishes=0.0)).make())
    named = {"requests": asked, "artifact": recommender, "data": atomic_folder, "base": chat_base}
    return [part for name, value in named.items() for part in (f"--{name}", str(value))]


@pytest.mark.slow
def test_an_adapter_learns_from_demonstrations_of_requests(
    flags: list[str], chat_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "traces.db")
    assert call("demonstrations", *flags, "--store", store, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["new"] == report["runs"] > 2
    assert report["mean_reciprocal_rank"] > report["mean_reciprocal_rank_before"]
    assert call("demonstrations", *flags, "--store", store) == 0
    said = capsys.readouterr().out
    assert f"{report['runs']} demonstrations of 12 requests, 0 of them new." in said
    assert f"deeprec train sft --suite {report['suite']} --store {store} --out OUT" in said
    out = tmp_path / "out"
    sft = ["sft", "--suite", report["suite"], "--store", store, "--out", str(out), "--base", str(chat_base)]
    assert call(*sft, "--cpu", "--dtype", "float32", "--epochs", "4", "--learning-rate", "2e-2", "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["last"]["loss"] < trained["first"]["loss"]
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    grpo = ["grpo", "--stage", "recommendation", *sft[1:]]
    assert call(*grpo, "--cpu") == 2
    assert "guided" in capsys.readouterr().err


def test_requests_that_give_nothing_are_counted_before_the_error(
    flags: list[str], dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = MadeRequestConfig(second_wishes=0.0, split="test")
    write_requests(tmp_path / "asked.jsonl", RequestMaker(dataset, config).make())
    assert call("demonstrations", *flags, "--store", str(tmp_path / "traces.db")) == 2
    said = capsys.readouterr()
    assert "Left out: 12 (a target that is held out)." in said.out
    assert "Train on them" not in said.out
    assert "No demonstration could be made of 12 requests" in said.err
    assert call("demonstrations", *flags, "--artifact", str(tmp_path / "none"), "--store", str(tmp_path / "x.db")) == 2
    assert not (tmp_path / "x.db").exists()
