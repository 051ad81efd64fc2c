"""Fingerprints of base models: which changes they see, and which kinds of them are compared."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

from deeprec.agent.policy.weight_fingerprints import fingerprint_base, fingerprint_served, same_weights

TENSORS = {"large": (512, 1024), "other": (512, 1024), "small": (3,)}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_model(folder: Path, **changed: torch.Tensor) -> Path:
    """Write weights of 4 MB, zero but for what is changed."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    weights = {name: torch.zeros(shape) for name, shape in TENSORS.items()} | changed
    save_file(weights, folder / "model.safetensors")
    return folder


def ones(name: str) -> dict[str, torch.Tensor]:
    return {name: torch.ones(TENSORS[name])}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_that_changed_is_seen_wherever_it_lies(tmp_path: Path, name: str) -> None:
    model = fingerprint_base(write_model(tmp_path / "model"))
    assert fingerprint_base(write_model(tmp_path / "same")) == model
    assert fingerprint_base(write_model(tmp_path / "changed", **ones(name))) != model


def test_a_change_between_two_samples_of_the_whole_file_is_seen(tmp_path: Path) -> None:
    """The small tensor is 12 bytes of 4 MB, which the earlier kind of fingerprint does not read."""
    before, after = (
        fingerprint_base(
            write_model(tmp_path / str(number), z=torch.full((70_000,), 1.0), middle=torch.full((3,), number))
        )
        for number in (1.0, 2.0)
    )
    assert before != after
    assert before.split("-")[0] == after.split("-")[0]


def test_files_that_the_index_does_not_name_do_not_count(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    before = fingerprint_base(model)
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(TENSORS, "model.safetensors")}), encoding="utf-8"
    )
    save_file({"again": torch.zeros(4)}, model / "consolidated.safetensors")
    assert fingerprint_base(model).split("-")[1] == before.split("-")[1]


@pytest.mark.parametrize(
    "header", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x0b" + b"\0" * 7 + b'{"a": null}', b"\1\0"]
)
def test_a_damaged_file_has_a_fingerprint_too(tmp_path: Path, header: bytes) -> None:
    model = write_model(tmp_path / "model")
    (model / "model.safetensors").write_bytes(header)
    one = fingerprint_base(model)
    (model / "model.safetensors").write_bytes(header + b"more")
    assert fingerprint_base(model) != one


def test_pickled_weights_differ_and_compare_with_what_earlier_versions_wrote(tmp_path: Path) -> None:
    models = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_text("{}", encoding="utf-8")
        assert fingerprint_served(str(folder), is_adapter=False) is None  # no weights of a known kind
        weights = {"small": torch.full((3,), float(number)), "large": torch.zeros(1_000_000)}
        torch.save(weights, folder / "pytorch_model.bin")
        models.append(fingerprint_base(folder))
        assert fingerprint_served(str(folder), is_adapter=False) == models[-1]
    assert not same_weights(*models)
    of_configuration = models[0].split("-")[0]
    for model in models:
        assert same_weights(f"{of_configuration}-{of_configuration}", model)


def test_weights_are_read_once_while_their_files_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model")
    opened, opening, now = list[Path](), Path.open, time.time()

    def open_and_count(path: Path, *args: Any, **settings: Any) -> Any:
        opened.append(path)
        return opening(path, *args, **settings)

    monkeypatch.setattr(Path, "open", open_and_count)
    monkeypatch.setattr(time, "time", lambda: now + 60)
    before = fingerprint_base(model)
    assert opened
    opened.clear()
    assert fingerprint_base(model) == before
    assert not [path for path in opened if path.suffix == ".safetensors"]
    save_file({name: torch.ones(shape) for name, shape in TENSORS.items()}, model / "model.safetensors")
    assert fingerprint_base(model) != before


def test_files_that_were_just_written_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes within one step of a file system's clock have one time."""
    model = write_model(tmp_path / "model")
    stat, before = (model / "model.safetensors").stat(), fingerprint_base(model)
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    stating = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: stat if path.suffix == ".safetensors" else stating(path))
    assert fingerprint_base(model) != before


def test_an_id_has_the_fingerprint_of_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository, config = tmp_path / "models--org--name", SimpleNamespace(_commit_hash=COMMIT)
    assert fingerprint_base("org/name", config) == f"org/name@{COMMIT}"
    snapshot = write_model(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    folder = tmp_path / "copy"
    shutil.copytree(snapshot, folder)
    assert fingerprint_base("org/name", config) == fingerprint_base("org/name") == fingerprint_base(folder)
    (snapshot / "model.safetensors").unlink()
    assert fingerprint_base("org/name") == f"org/name@{COMMIT}"  # the weights are not there
    assert fingerprint_base("no id at all") == "no id at all@None"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a-b", "a-b", True),
        ("a-b", "a-c", False),
        ("a", "a-b", True),
        ("c", "a-b", False),
        ("a-a", "a-b", True),
        ("a-a", "b-b", False),
        ("a", "b", False),
        ("org/n@c", "org/n@c", True),
        ("org/n@c", "org/n@None", True),
        ("org/n@c", "org/n@d", False),
        ("org/n-1@c", "org/n-2@c", False),
        ("org/n@c", "a-b", True),
    ],
)
def test_kinds_of_fingerprints_are_compared_by_what_both_have(one: str, other: str, same: bool) -> None:
    assert same_weights(one, other) is same_weights(other, one) is same
