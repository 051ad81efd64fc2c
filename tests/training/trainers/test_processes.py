"""Training in two processes (gloo, on CPUs) has the results of one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deeprec.training.trainers.processes import check_same, own_share, sums_of_all
from tests.training.trainers.test_grpo import log_of
from tests.training.two_processes import ALL_WEIGHTS, WITH_KL, train_all, train_policy

ROOT = Path(__file__).parents[3]
# float32 gradients are added in another order. AdamW divides by their size, so that a weight whose gradient is near 0
# differs most: by up to 6e-6, where a step moves a weight by 1e-3.
TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the trainings by one process, and by two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "tests.training.two_processes", str(two), str(tiny_base)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    train_all(tiny_base, one)
    train_policy(tiny_base, one / "all weights", replace(ALL_WEIGHTS, steps=3))
    printed, errors = started.communicate(timeout=300)
    assert started.returncode == 0, errors
    for number in range(2):  # which were given other data than each other, and then other folders
        for what in ("The settings or the runs", "The checkpoints"):
            assert f"process {number}: {what} differ between the 2 processes" in printed
    return one, two


def weights(folder: Path) -> dict[str, torch.Tensor]:
    [file] = folder.glob("*/*model.safetensors")
    return load_file(file)


def assert_alike(one: Path, two: Path) -> None:
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=TOLERANCE)
    for line, other in zip(log_of(one), log_of(two), strict=True):
        assert other.keys() == line.keys()
        for name in line.keys() - {"padding_waste"}:  # batches are halved, so that each process has as many
            assert other[name] == pytest.approx(line[name], rel=1e-3, abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kl", "all weights", "sft", "dpo"])
def test_two_processes_have_the_weights_and_the_log_of_one(trained: tuple[Path, Path], name: str) -> None:
    """The last step of "all weights" goes on from a checkpoint of DDP with FSDP."""
    assert_alike(*(folder / name for folder in trained))


@pytest.mark.slow
def test_one_process_goes_on_where_two_stopped(trained: tuple[Path, Path], tiny_base: Path) -> None:
    for folder in trained:
        train_policy(tiny_base, folder / "kl", replace(WITH_KL, steps=3), groups=1)
    assert_alike(*(folder / "kl" for folder in trained))
    assert len(log_of(trained[1] / "kl")) == 3


@pytest.mark.slow
def test_the_first_process_alone_writes_and_nothing_is_pickled(trained: tuple[Path, Path]) -> None:
    one, two = ({path.relative_to(out) for path in out.rglob("*") if path.is_file()} for out in trained)
    assert one ^ two == set()
    assert {path.suffix for path in two} == {".json", ".jsonl", ".md", ".safetensors"}


def test_every_process_has_as_many_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_share(["a", "b", "c"]) == [("a", True), ("b", True), ("c", True)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        shares.append(own_share(["a", "b", "c"]))
        assert own_share([]) == []
    assert shares == [[("a", True), ("c", True)], [("b", True), ("c", False)]]


def test_one_process_sends_nothing() -> None:
    assert sums_of_all([1.5, 2.0]) == [1.5, 2.0]
    check_same("The runs", b"whatever")
