"""LoRA adapters of a transformers model that runs here: read once, switched between batches, without PEFT.

An adapter's product is added to a layer's output, so the model's own weights stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import ConfigError

_PREFIX = "base_model.model."
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
}
"""Settings of an adapter, and those of their values under which it is nothing but products of two matrices."""


@dataclass(frozen=True, slots=True, eq=False)
class LoraLayer:
    """The part of an adapter that is added to one linear layer: `scale * (x @ down.T @ up.T)`."""

    down: torch.Tensor
    """Shape (rank, inputs)."""
    up: torch.Tensor
    """Shape (outputs, rank)."""
    scale: float


def read_adapter(folder: Path, model: Any) -> dict[str, LoraLayer]:
    """An adapter as PEFT saves it, by the name of the layer, checked against a model and on its device.

    Raises:
        ConfigError: there is none, it is damaged, of another kind than plain LoRA, or of another model.
    """
    try:
        settings = read_json(folder / "adapter_config.json")
        tensors = load_file(folder / "adapter_model.safetensors")
        rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
        if rank < 1:
            raise ValueError(f"r is {rank}")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ConfigError(
            f"{folder} has no adapter that can be read: {error}. Name a folder that PEFT saved."
        ) from error
    for name, plain in _PLAIN.items():
        if settings.get(name, plain[0]) not in plain:
            raise ConfigError(f"The adapter in {folder} has {name} {settings[name]!r}; only plain LoRA is run here.")
    scale = alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank
    layers: dict[str, LoraLayer] = {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        keys = [f"{_PREFIX}{name}.lora_{side}.weight" for side in "AB"]
        if keys[0] not in tensors or keys[1] not in tensors:
            continue
        down, up = (tensors.pop(key).to(module.weight) for key in keys)
        shapes = (tuple(down.shape), tuple(up.shape))
        if shapes != ((rank, module.in_features), (module.out_features, rank)):
            raise ConfigError(
                f"The adapter in {folder} has {shapes} for {name}, whose weight is {tuple(module.weight.shape)}: it is "
                "of another base model."
            )
        layers[name] = LoraLayer(down, up, scale)
    if tensors or not layers:
        raise ConfigError(
            f"The adapter in {folder} has {len(tensors)} weights that this model has no layer for"
            f"{f', such as {next(iter(tensors))}' if tensors else ''}: it is of another base model."
        )
    return layers


class LoraSwitch:
    """Puts one adapter at a time, or none, onto a model.

    Args:
        model: a transformers model. It gets a hook on each linear layer, and computes as before while none is on.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._on: Mapping[str, LoraLayer] = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(self._hook(name))

    def put_on(self, layers: Mapping[str, LoraLayer] | None) -> None:
        """Let the model compute with these layers of an adapter, or with none, until the next call."""
        self._on = layers or {}

    def _hook(self, name: str) -> Any:
        def add(_: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            layer = self._on.get(name)
            return None if layer is None else output + layer.scale * (inputs[0] @ layer.down.T @ layer.up.T)

        return add
