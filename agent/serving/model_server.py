"""Choosing a model server: one that runs already, or a new one, with vLLM where that is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deeprec.agent.graph.event_loop import run_blocking
from deeprec.agent.policy.completion import CompletionPolicy, PolicyUnavailableError, ServedModel
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL, Dtype, ServerProcess
from deeprec.agent.serving.servers import TransformersServer, VllmServer, has_vllm
from deeprec.agent.serving.shipped_adapter import SHIPPED_ADAPTER, load_shipped_adapter
from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL_NAME, pull_embedded_model

Engine = Literal["auto", "vllm", "transformers"]


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A model server that answers: its address, the name of its model, and its process if it was started here."""

    base_url: str
    model_name: str
    started: ServerProcess | None = None
    """The server that was started for this; None where one ran already."""
    adapter: str | None = None
    """The adapter that ships with the package, where the server has it: `CompletionPolicy(…, adapter=server.adapter)`
    with the settings of `shipped_settings()` turns a message into a preference."""

    def stop(self) -> None:
        """Stop the server if it was started here; one that ran already is left alone."""
        if self.started is not None:
            self.started.stop()


def make_server(
    model: Path | str,
    *,
    log: Path,
    engine: Engine = "auto",
    port: int | None = None,
    host: str = "127.0.0.1",
    max_model_len: int | None = None,
    max_num_seqs: int = 32,
    api_key: str | None = None,
    dtype: Dtype = "auto",
    vllm_args: Sequence[str] = (),
) -> ServerProcess:
    """Make a server, not started yet: vLLM where it is installed, else transformers, or the engine that is named.

    An interpreter in DEEPREC_SERVER_PYTHON chooses vLLM.

    Arguments as for `ServerProcess`; `vllm_args` are further flags of vLLM, which transformers does without.

    Raises:
        ConfigError: a setting that cannot work.
    """
    settings: dict[str, Any] = {
        "log": log,
        "port": port,
        "host": host,
        "max_model_len": max_model_len,
        "max_num_seqs": max_num_seqs,
        "api_key": api_key,
        "dtype": dtype,
    }
    if engine == "vllm" or (engine == "auto" and (os.environ.get("DEEPREC_SERVER_PYTHON") or has_vllm())):
        return VllmServer(model, extra_args=vllm_args, **settings)
    return TransformersServer(model, **settings)


def open_model_server(
    base_url: str | None = None,
    *,
    home: Path | str = ".deeprec",
    on_progress: Callable[[str], None] | None = None,
) -> ModelServer:
    """Find a server that runs, or start one with the embedded model on a free port, which takes about a minute.

    A server that is started here ends with this process at the latest.

    Args:
        base_url: where to look; else the environment's DEEPREC_BASE_URL, else where `deeprec llm serve` listens.
        home: the folder of the embedded model and of the server's log.
        on_progress: called with a line for each stage of a start.
    Raises:
        ConfigError: DEEPREC_SERVER_PYTHON names an interpreter without vLLM, or what answers serves several models.
        PolicyRejectedError: what answers refuses, for instance the key.
        ServerError: the server died, or was not healthy in time.
    """
    url = base_url or os.environ.get("DEEPREC_BASE_URL") or DEFAULT_BASE_URL
    try:
        served = run_blocking(_served(url))
        return ModelServer(url, served.name, adapter=SHIPPED_ADAPTER if SHIPPED_ADAPTER in served.adapters else None)
    except PolicyUnavailableError:
        if base_url is not None:  # it was named, so another is not what was meant
            raise
    model = pull_embedded_model(Path(home) / "models" / EMBEDDED_MODEL_NAME)
    server = make_server(model, log=Path(home) / "logs" / "server-notebook.log")
    server.start(on_progress)
    server.wait_healthy(on_progress=on_progress)
    return ModelServer(server.base_url, server.model_name, server, run_blocking(load_shipped_adapter(server)))


async def _served(base_url: str) -> ServedModel:
    async with CompletionPolicy(base_url, timeout_s=5, max_retries=0) as policy:
        return await policy.connect()
