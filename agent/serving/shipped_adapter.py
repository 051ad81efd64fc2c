"""The adapter that ships with the package: it lets the embedded model turn what a person says into a preference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.serving.adapter_loading import load_adapter
from deeprec.agent.serving.server_process import ServerProcess
from deeprec.agent.serving.smollm2 import is_embedded_model

SHIPPED_ADAPTER = "smollm2-135m-words-v2"
"""The name of the adapter in requests and traces; it stands for one set of weights."""
SHIPPED_ADAPTER_FOLDER = Path(__file__).parent / "words_adapter"
"""The adapter as PEFT saves it, with its card (`README.md`) and the settings that it is used with."""


def shipped_settings() -> dict[str, Any]:
    """The settings of `AgentConfig` that the shipped adapter is used with, where a caller names no others."""
    settings: dict[str, Any] = json.loads((SHIPPED_ADAPTER_FOLDER / "settings.json").read_text(encoding="utf-8"))
    return settings


async def load_shipped_adapter(server: ServerProcess) -> str | None:
    """Load the shipped adapter into a server that was started here, if the embedded model is what it serves.

    Returns:
        the name of the adapter; None for another model, which it does not fit.

    Raises:
        PolicyRejectedError, PolicyUnavailableError: as `load_adapter`.
    """
    if not is_embedded_model(server.model):
        return None
    await load_adapter(server.base_url, SHIPPED_ADAPTER, SHIPPED_ADAPTER_FOLDER)
    return SHIPPED_ADAPTER


async def find_shipped_adapter(base_url: str, model: str | None) -> str | None:
    """Whether a server has the shipped adapter for a caller who names no other model.

    Args:
        base_url: With or without the closing `/v1`.
        model: What the caller names; the adapter is for None and for its own name.

    Returns:
        the name of the adapter, or None.

    Raises:
        ConfigError, PolicyError: as `CompletionPolicy.connect`.
    """
    if model not in (None, SHIPPED_ADAPTER):
        return None
    async with CompletionPolicy(base_url, model) as policy:
        return SHIPPED_ADAPTER if SHIPPED_ADAPTER in (await policy.connect()).adapters else None
