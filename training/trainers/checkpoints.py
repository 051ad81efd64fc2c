"""Checkpoints that a training resumes from exactly, written atomically and without pickles.

transformers saves optimizer, scheduler and random states with `torch.save`, a pickle, and loading a pickle can run any
code. Here tensors are safetensors and the rest is JSON. Tensors are whole, however many processes train, so that a
training resumes in another number of them.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.training.trainers.launcher import is_first_process
from deeprec.training.trainers.model_folders import write_folder
from deeprec.training.trainers.processes import spread_like, wait_for_all, whole
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import ConfigError

STATE, WEIGHTS, OPTIMIZER, RANDOM = "state.json", "weights.safetensors", "optimizer.safetensors", "random.safetensors"
TRAINER_STATE = "trainer_state.json"
_PREFIX = "step-"


def save_checkpoint(
    folder: Path,
    *,
    model: Any,
    optimizer: Any,
    scheduler: Any,
    step: int,
    identity: Mapping[str, Any],
    trainer_state: Mapping[str, Any],
) -> Path:
    """Write a checkpoint, and delete older ones once it is complete. Of several processes the first one writes.

    Args:
        folder: Where checkpoints are; each is a folder in it.
        model: The model; only the weights that are trained are saved.
        optimizer: A torch optimizer, or accelerate's wrapper of one.
        scheduler: The scheduler of the learning rate.
        step: Optimizer steps done.
        identity: What the training depends on, as JSON; `find_checkpoint` compares it.
        trainer_state: The state of transformers' trainer, as JSON.

    Returns:
        the checkpoint's folder.

    Raises:
        ConfigError: the checkpoint cannot be written. The one before it is unchanged.
    """
    tensors, groups = _flat(optimizer.state_dict())
    weights = {name: whole(tensor) for name, tensor in trained_weights(model).items()}
    written = folder / f"{_PREFIX}{step:06d}"
    if not is_first_process():
        wait_for_all()
        return written
    random_tensors, random_rest = _random_state()
    state = {
        "step": step,
        "identity": identity,
        "optimizer": groups,
        "scheduler": scheduler.state_dict(),
        "random": random_rest,
    }

    def write(staged: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, staged / WEIGHTS)
        save_file(tensors, staged / OPTIMIZER)
        save_file(random_tensors, staged / RANDOM)
        (staged / TRAINER_STATE).write_text(json.dumps(trainer_state), encoding="utf-8")
        (staged / STATE).write_text(json.dumps(state), encoding="utf-8")

    write_folder(written, write)
    for older in folder.iterdir():
        if older != written:  # also what a killed process left incomplete
            shutil.rmtree(older, ignore_errors=True)
    wait_for_all()
    return written


def find_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Path | None:
    """Find the last checkpoint of a training; None where there is none.

    Raises:
        ConfigError: the checkpoints belong to another training: another base model, other settings or other data.
    """
    found = sorted(path for path in folder.glob(f"{_PREFIX}*") if (path / STATE).is_file())
    if not found:
        return None
    kept = read_state(found[-1])["identity"]
    differing = sorted(name for name in {*kept, *identity} if kept.get(name) != identity.get(name))
    if "base" in differing and same_weights(str(kept.get("base")), str(identity.get("base"))):
        differing.remove("base")
    if differing:
        what = "; ".join(f"{name} was {kept.get(name)!r} and is {identity.get(name)!r}" for name in differing)
        raise ConfigError(
            f"{found[-1]} is a checkpoint of another training: {what}. Name another folder to write to, repeat the "
            f"command as it was, or delete {folder} to start from the beginning."
        )
    return found[-1]


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Read what a checkpoint holds beside tensors.

    Raises:
        ConfigError: the checkpoint is damaged.
    """
    try:
        state: dict[str, Any] = dict(read_json(checkpoint / STATE))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(checkpoint, error) from error
    if missing := {"identity", "step"} - state.keys():
        raise _damaged(checkpoint, KeyError(*missing))
    return state


def load_weights(checkpoint: Path, model: Any) -> None:
    """Load the trained weights of a checkpoint into a model.

    Raises:
        ConfigError: the model trains other weights than the checkpoint has, or the checkpoint is damaged.
    """
    kept = _load(checkpoint, WEIGHTS)
    trained = trained_weights(model)
    if {name: tensor.shape for name, tensor in kept.items()} != {
        name: tensor.shape for name, tensor in trained.items()
    }:
        raise ConfigError(
            f"{checkpoint} holds other weights than those that are trained here. Name another folder to write to, or "
            "the base model and the adapter that the training started from."
        )
    with torch.no_grad():
        for name, tensor in trained.items():
            tensor.copy_(spread_like(kept[name], tensor))


def load_optimizer(checkpoint: Path, optimizer: Any, scheduler: Any) -> None:
    """Load the state of optimizer and scheduler."""
    state = read_state(checkpoint)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.load_state_dict(_nested(_load(checkpoint, OPTIMIZER), state["optimizer"], parameters))
    scheduler.load_state_dict(state["scheduler"])


def load_random(checkpoint: Path) -> None:
    """Load the states of the random number generators of Python, NumPy and torch."""
    tensors, rest = _load(checkpoint, RANDOM), read_state(checkpoint)["random"]
    version, has_gauss = rest["python_version"], rest["python_gauss"]
    random.setstate((version, tuple(tensors["python"].tolist()), has_gauss))
    words = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words, *rest["numpy"]))
    torch.random.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a model that are trained, by name, as this process has them."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _random_state() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    version, words, gauss = random.getstate()
    _, numpy_words, *numpy_rest = np.random.get_state()
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(numpy_words, dtype=np.int64)),
        "torch": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    rest = {"python_version": version, "python_gauss": gauss, "numpy": [float(value) for value in numpy_rest]}
    rest["numpy"][:2] = [int(value) for value in numpy_rest[:2]]
    return tensors, rest


def _flat(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Split an optimizer's state into named tensors and JSON; the tensor `key` of parameter 3 becomes "3.key"."""
    tensors = {
        f"{number}.{key}": whole(value).contiguous()
        for number, values in state["state"].items()
        for key, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    rest = {
        str(number): {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
        for number, values in state["state"].items()
    }
    return tensors, {"state": rest, "param_groups": state["param_groups"]}


def _nested(
    tensors: Mapping[str, torch.Tensor], groups: Mapping[str, Any], parameters: Sequence[torch.Tensor]
) -> dict[str, Any]:
    state = {int(number): dict(values) for number, values in groups["state"].items()}
    for name, tensor in tensors.items():
        number, key = name.split(".", 1)
        state[int(number)][key] = spread_like(tensor, parameters[int(number)])
    return {"state": state, "param_groups": groups["param_groups"]}


def _load(checkpoint: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_file(checkpoint / name)
    except (OSError, SafetensorError) as error:
        raise _damaged(checkpoint, error) from error
    return tensors


def _damaged(checkpoint: Path, error: Exception) -> ConfigError:
    return ConfigError(f"The checkpoint {checkpoint} is damaged: {error}. Delete it to start from the beginning.")
