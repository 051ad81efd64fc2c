"""The shopping agent behind a command: its recommender, its model if there is one, and where its threads are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from langgraph.graph.state import CompiledStateGraph
from rich.console import Console

from deeprec.agent.cli.llm import wait_with_progress
from deeprec.agent.cli.policy_options import open_policy
from deeprec.agent.graph.config import make_agent_config
from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.policy.openai_endpoint import PolicyUnavailableError
from deeprec.agent.serving.model_server import make_server
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL
from deeprec.agent.serving.shipped_adapter import find_shipped_adapter, load_shipped_adapter, shipped_settings
from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL_NAME, pull_embedded_model
from deeprec.agent.shopping import Cart, MemoryCart, SqliteCart, build_shopping_agent
from deeprec.agent.shopping.thread_carts import carts_of_threads
from deeprec.agent.traces import SqlRecorder, TraceStore
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool import Retriever
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.progress import stage

LIST_LENGTH = 5
"""Items of a list in a conversation."""


class ShoppingAgent(NamedTuple):
    """A shopping agent, its cart, and the name of its model; None where it has none."""

    graph: CompiledStateGraph[Any, Any, Any, Any]
    model: str | None
    cart: Cart

    def about(self, retriever: Retriever) -> str:
        """A line about what it recommends from, and what searches."""
        searches = f"{self.model} searches" if self.model else "no language model: rules and the recommender answer"
        return visible(f"{len(retriever.catalogue):,} items; {searches}.")


def load_recommender(artifact: Path, signals: Path | None, console: Console) -> Retriever:
    """Load a recommender, with signals where a file is named, and its text encoder: the first answer waits for nothing.

    Raises:
        ArtifactError: the folder has no artifact, or the file no signals, that can be used.
        ConfigError: the signals are those of another artifact.
    """
    retriever = Retriever.load(artifact, reranking=signals)
    with stage(console, "Loading the recommender, and reading what its items can be asked for"):
        retriever.warm_up()
    return retriever


@contextmanager
def served_model(
    base_url: str | None, serve: bool, console: Console, home: Path = Path(".deeprec")
) -> Iterator[str | None]:
    """The address of the model's server: the one that is named, or one that is started here with the embedded model.

    Without either it is where `deeprec llm serve` listens, if something answers there, and else None. The embedded
    model and the server's log lie in `home`.

    Raises:
        ConfigError: both are named.
        ServerError: the server did not start.
    """
    if serve and base_url:
        raise ConfigError("--serve starts a server, and --base-url names one. Give one of the two.")
    if not serve:
        yield base_url or (DEFAULT_BASE_URL if asyncio.run(_answers(DEFAULT_BASE_URL)) else None)
        return
    with stage(console, "Unpacking the embedded language model"):
        folder = pull_embedded_model(home / "models" / EMBEDDED_MODEL_NAME)
    with make_server(folder, log=home / "logs" / "server.log") as server:
        wait_with_progress(server, console)
        asyncio.run(load_shipped_adapter(server))
        yield server.base_url


@asynccontextmanager
async def open_shopping_agent(
    retriever: Retriever,
    traces: TraceStore,
    *,
    base_url: str | None,
    model: str | None,
    threads: Path | None,
) -> AsyncIterator[ShoppingAgent]:
    """Build the shopping agent, with its connections, for as long as the context lasts.

    Args:
        retriever: Its recommender.
        traces: Where the runs of its searches are logged.
        base_url: The model's server; None for an agent without a model.
        model: A model of the server; None takes the shipped adapter where the server has it, else its only model.
        threads: The SQLite file of the threads and of the people's carts; None keeps both in memory.

    Raises:
        ConfigError: the server lacks the model, or the file is no SQLite file.
        PolicyError: the server is unavailable.
    """
    async with AsyncExitStack() as stack:
        policy: Any = None
        name: str | None = None
        settings: dict[str, Any] = {}
        if base_url is not None:
            adapter = await find_shipped_adapter(base_url, model)
            settings = shipped_settings() if adapter else {"guided": True}
            config = make_agent_config({"k": LIST_LENGTH}, **settings)
            name, policy = await stack.enter_async_context(
                open_policy(
                    base_url,
                    None if adapter else model,
                    protocol="tagged",
                    temperature=config.temperature,
                    top_p=config.top_p,
                    adapter=adapter,
                )
            )
        checkpointer, cart = await stack.enter_async_context(_threads_and_carts(threads))
        graph = build_shopping_agent(
            policy,
            retriever,
            config=make_agent_config({"k": LIST_LENGTH}, **settings),
            cart=cart,
            recorder=stack.enter_context(SqlRecorder(traces)),
            checkpointer=checkpointer,
        )
        yield ShoppingAgent(graph, name, cart)


@asynccontextmanager
async def _threads_and_carts(threads: Path | None) -> AsyncIterator[tuple[Any, Cart]]:
    if threads is None:
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver(), MemoryCart()
        return
    import sqlite3

    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    threads.parent.mkdir(parents=True, exist_ok=True)
    try:
        async with AsyncSqliteSaver.from_conn_string(str(threads)) as saver:
            await saver.setup()
            yield saver, SqliteCart(threads, first=await carts_of_threads(saver))
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{threads} cannot keep conversations ({error}). Name another file with --threads.") from None


async def _answers(base_url: str) -> bool:
    """Whether a model server answers there, within two seconds."""
    async with CompletionPolicy(base_url, timeout_s=2, max_retries=0) as policy:
        try:
            await policy.connect()
        except PolicyUnavailableError:
            return False
        return True
