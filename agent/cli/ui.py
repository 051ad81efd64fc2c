"""`deeprec ui`: the page where people talk with the shopping agent."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from deeprec.agent.cli.policy_options import (
    DEFAULT_PORT,
    ModelOption,
    NamedBaseUrlOption,
    ServeOption,
    ThreadsOption,
)
from deeprec.agent.cli.trace_options import DEFAULT_STORE
from deeprec.agent.policy.server_address import is_loopback
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT, ArtifactOption, SignalsOption
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.traces import TraceStore
    from deeprec.trm_tool import Retriever

app = typer.Typer(add_completion=False)

_STOP_S = 3
"""Seconds that open connections get at the end."""


@app.command()
def ui(
    artifact: ArtifactOption = DEFAULT_ARTIFACT,
    signals: SignalsOption = None,
    base_url: NamedBaseUrlOption = None,
    model: ModelOption = None,
    serve: ServeOption = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the page; 0 takes a free one.")
    ] = DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Beyond this machine it needs DEEPREC_API_KEY.")
    ] = "127.0.0.1",
    threads: ThreadsOption = None,
    store: Annotated[
        str, typer.Option(envvar="DEEPREC_STORE", help="The trace store that the searches are logged to.")
    ] = DEFAULT_STORE,
) -> None:
    """Talk with the shopping agent on a web page, until Ctrl-C. Without a model, rules and the recommender answer."""
    from deeprec.agent.cli.shopping_agent import load_recommender

    open_page(
        lambda console: load_recommender(artifact, signals, console),
        base_url=base_url,
        model=model,
        serve=serve,
        port=port,
        host=host,
        threads=threads,
        store=store,
    )


def open_page(
    load: Callable[[Console], Retriever],
    *,
    base_url: str | None = None,
    model: str | None = None,
    serve: bool = False,
    port: int = DEFAULT_PORT,
    host: str = "127.0.0.1",
    threads: Path | None = None,
    store: str = DEFAULT_STORE,
    home: Path = Path(".deeprec"),
) -> None:
    """Serve the page until Ctrl-C. The address is taken before `load` gets the recommender, which may take minutes.

    Raises:
        ConfigError: the page cannot listen there, or a setting cannot work.
    """
    from deeprec.agent.cli.shopping_agent import served_model
    from deeprec.agent.traces import TraceStore

    key = os.environ.get("DEEPREC_API_KEY") or None
    if key is None and not is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise ConfigError(
            f"The page would listen on {host!r} without a key: whoever reaches it could use the agent. "
            "Set DEEPREC_API_KEY to a key (an empty one counts as none), or listen on 127.0.0.1."
        )
    console = Console(soft_wrap=True)
    with _listen(host, port) as listening:
        retriever = load(console)
        with served_model(base_url, serve, console, home) as found, TraceStore(store) as traces:
            asyncio.run(_serve(retriever, traces, found, model, threads, key, listening, console))


async def _serve(
    retriever: Retriever,
    traces: TraceStore,
    base_url: str | None,
    model: str | None,
    threads: Path | None,
    key: str | None,
    listening: socket.socket,
    console: Console,
) -> None:
    import uvicorn

    from deeprec.agent.cli.shopping_agent import open_shopping_agent
    from deeprec.agent.ui import make_ui_app

    async with open_shopping_agent(retriever, traces, base_url=base_url, model=model, threads=threads) as agent:
        about = agent.about(retriever)
        page = make_ui_app(agent.graph, retriever.catalogue, store=traces, key=key, about=about)
        settings = uvicorn.Config(page, log_level="warning", timeout_graceful_shutdown=_STOP_S)
        host, port = listening.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        console.print(Text(about))
        console.print(f"The page is at http://{name}:{port}/ . Ctrl-C stops it.")
        if agent.model is None:
            console.print("A model comes with --serve (the embedded one) or --base-url.")
        await uvicorn.Server(settings).serve(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error.strerror
        raise ConfigError(
            f"The page cannot listen on {host}:{port} ({why}). Choose another --port or --host."
        ) from None
