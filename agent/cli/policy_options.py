"""The agent and the model behind a command: their options, and a connection that is closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL
from deeprec.trm_tool.cli.option_groups import SettingsOf

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from deeprec.agent.policy.completion import CompletionPolicy

AgentOptions = Annotated[
    dict[str, Any],
    SettingsOf(
        AgentConfig,
        flags={"guided": "--guided/--free"},
        defaults={"guided": "guided for tagged, free for tools", "trust": "the recommender's own"},
    ),
]
"""The settings of `AgentConfig` that the user named, of which every one is an option (`make_agent_config`)."""

BaseUrlOption = Annotated[
    str,
    typer.Option(
        "--base-url",
        envvar="DEEPREC_BASE_URL",
        help="An OpenAI-compatible server; `deeprec llm serve` starts one.",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", envvar="DEEPREC_MODEL", help="A model of the server; else its only one.")
]

NamedBaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        envvar="DEEPREC_BASE_URL",
        help="The model's server; `deeprec llm serve` starts one.",
        show_default=f"{DEFAULT_BASE_URL} if a server is there, else no model",
    ),
]
ServeOption = Annotated[bool, typer.Option("--serve", help="Serve the embedded model for as long as the command runs.")]
ThreadsOption = Annotated[
    Path | None,
    typer.Option(
        "--threads",
        help="An SQLite file that keeps the conversations and the carts, so that they go on after a restart.",
        show_default="kept in memory",
    ),
]
DEFAULT_PORT = 8600
"""The port of the page of conversations."""


@asynccontextmanager
async def open_policy(
    base_url: str,
    model: str | None,
    *,
    protocol: str,
    temperature: float,
    top_p: float,
    adapter: str | None = None,
) -> AsyncIterator[tuple[str, CompletionPolicy | BaseChatModel]]:
    """Connect to a server, for as long as the context lasts.

    Args:
        base_url: with or without the closing `/v1`.
        model: the name under which the server has it; None takes the only one that it has.
        protocol: `tagged` gives a `CompletionPolicy`, `tools` a chat model.
        temperature: of a chat model's sampling; a `CompletionPolicy` gets it with each call.
        top_p: likewise.
        adapter: a loaded LoRA adapter to ask instead of the model.
    Yields:
        The name that requests carry, and the policy.
    Raises:
        ConfigError: the server lacks the model or the adapter.
        PolicyError: the server is unavailable.
    """
    from deeprec.agent.policy.chat_model import make_chat_model
    from deeprec.agent.policy.completion import CompletionPolicy

    async with CompletionPolicy(base_url, model, adapter=adapter) as policy:
        served = await policy.connect()
        if protocol == "tagged":
            yield served.name, policy
            return
        chat = make_chat_model(base_url, served.name, temperature=temperature, top_p=top_p)
        try:
            yield served.name, chat
        finally:
            await chat.root_async_client.close()
