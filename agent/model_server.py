"""The model server of a notebook or a script: one that runs already, or a new one with the embedded model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deeprec.agent.background import run_blocking
from deeprec.agent.embedded_model import EMBEDDED_MODEL_NAME, pull_embedded_model
from deeprec.agent.live import DEFAULT_BASE_URL
from deeprec.agent.policy import CompletionPolicy, PolicyUnavailableError, ServedModel
from deeprec.agent.serving import VllmServer


@dataclass(frozen=True, slots=True)
class ModelServer:
    """Where a model answers."""

    base_url: str
    model_name: str
    started: VllmServer | None = None
    """The server that was started for this; None where one ran already."""

    def stop(self) -> None:
        """Stop the server if it was started here; one that ran already is left alone."""
        if self.started is not None:
            self.started.stop()


def open_model_server(
    base_url: str | None = None,
    *,
    home: Path | str = ".deeprec",
    on_progress: Callable[[str], None] | None = None,
) -> ModelServer:
    """Find a server that runs, or start vLLM with the embedded model on a free port, which takes about a minute.

    A server that is started here ends with this process at the latest.

    Args:
        base_url: where to look; else the environment's DEEPREC_BASE_URL, else where `deeprec llm serve` listens.
        home: the folder of the embedded model and of the server's log.
        on_progress: called with a line for each stage of a start.
    Raises:
        ConfigError: there is no vLLM to start, or what answers serves several models.
        PolicyRejectedError: what answers refuses, for instance the key.
        ServerError: the server died, or was not healthy in time.
    """
    url = base_url or os.environ.get("DEEPREC_BASE_URL") or DEFAULT_BASE_URL
    try:
        return ModelServer(url, run_blocking(_served(url)).name)
    except PolicyUnavailableError:
        if base_url is not None:  # it was named, so another is not what was meant
            raise
    model = pull_embedded_model(Path(home) / "models" / EMBEDDED_MODEL_NAME)
    server = VllmServer(model, log=Path(home) / "logs" / "vllm-notebook.log")
    server.start(on_progress)
    server.wait_healthy(on_progress=on_progress)
    return ModelServer(server.base_url, server.model_name, server)


async def _served(base_url: str) -> ServedModel:
    async with CompletionPolicy(base_url, timeout_s=5, max_retries=0) as policy:
        return await policy.connect()
