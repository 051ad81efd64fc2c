"""What the tests of the trainers share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM
from transformers.utils import logging

from deeprec.trm_tool import Artifact, load_artifact
from tests.training.tiny_policy import write_tiny_base, write_tiny_chat_base


@pytest.fixture(scope="session", autouse=True)
def no_bars() -> Iterator[None]:
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model's folder: the tiny server's random Llama."""
    return write_tiny_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def chat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model's folder whose tokenizer has a chat template."""
    return write_tiny_chat_base(tmp_path_factory.mktemp("models") / "tiny-chat")


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Path) -> LlamaForCausalLM:
    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(tiny_base).eval()
    return model


@pytest.fixture(scope="session")
def artifact(artifact_folder: Path) -> Artifact:
    """The artifact of the tiny catalogue as `--holdout 3` would have trained it, which training asks for."""
    loaded = load_artifact(artifact_folder)
    return replace(loaded, config=loaded.config | {"holdout": 3})
