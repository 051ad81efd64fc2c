"""The page of conversations, served for a browser."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import build_shopping_agent
from deeprec.agent.ui import make_ui_app
from tests.small_recommender import WordCounts


def page_of(recommender: WordCounts, agent: Any = None, **settings: Any) -> Any:
    """The application over an agent, which has no model unless it is given."""
    agent = agent or build_shopping_agent(None, recommender, checkpointer=InMemorySaver())
    return make_ui_app(agent, recommender.catalogue, **settings)


async def _nothing() -> None: ...


@contextmanager
def served(page: Any, close: Callable[[], Awaitable[None]] = _nothing) -> Iterator[str]:
    """The address of an application on a free port, in a thread of its own, which closes something at its end."""
    server = uvicorn.Server(uvicorn.Config(page, port=0, log_level="warning", timeout_graceful_shutdown=1))

    async def serve() -> None:
        await server.serve()
        await close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
