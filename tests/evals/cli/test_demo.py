"""`deeprec demo --ui`: what the page is opened with. The demo itself is too long for a test."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deeprec.evals.cli import demo
from deeprec.trm_tool import Retriever
from deeprec.trm_tool.data import ShopConfig, generate_shop
from tests.command_line import answer_of, refusal_of


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page is opened with, and its recommender; no page is served and nothing is trained."""
    seen: dict[str, Any] = {}

    def open_page(load: Any, **settings: Any) -> None:
        seen.update(settings, retriever=load(Console(file=io.StringIO())))

    monkeypatch.setattr("deeprec.agent.cli.ui.open_page", open_page)
    return seen


@pytest.mark.parametrize(("options", "name"), [([], "ml-100k"), (["--shop"], "synthetic-shop")])
def test_the_page_comes_up_with_recommender_and_model(
    opened: dict[str, Any],
    artifact_folder: Path,
    tmp_path: Path,
    options: list[str],
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    shutil.copytree(artifact_folder, home / "trm" / name)
    generate_shop(home / "data" / "synthetic-shop", ShopConfig(products=100, people=20))
    answer_of(capsys, "demo", "--ui", *options, "--home", home, "--port", 0)
    assert isinstance(opened.pop("retriever"), Retriever)
    assert opened == {"serve": True, "port": 0, "store": str(home / "traces.db"), "home": home}


def test_a_recommender_that_is_missing_is_trained_on_a_generated_shop(
    opened: dict[str, Any],
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained: list[tuple[str, Path]] = []

    def train(data: Any, folder: Path, **_: Any) -> None:
        trained.append((data.name, folder))
        shutil.copytree(artifact_folder, folder)

    monkeypatch.setattr(demo, "train_trm", train)
    monkeypatch.setattr(demo, "ShopConfig", lambda seed: ShopConfig(seed=seed, products=100, people=20))
    answer_of(capsys, "demo", "--ui", "--shop", "--home", tmp_path, "--port", 0)
    assert trained == [("synthetic-shop", tmp_path / "trm" / "synthetic-shop")]


def test_a_shop_without_a_page_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Add --ui." in refusal_of(capsys, "demo", "--shop")
