"""The page of conversations over the shop of lamps: served for a browser, and a recommender that can be held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.shopping import build_shopping_agent
from deeprec.agent.ui import make_ui_app
from deeprec.trm_tool import Catalogue, Retrieved, Where
from tests.agent.shopping.lamp_shop import WordCounts


class HeldUp(WordCounts):
    """`WordCounts` whose retrievals wait while `waits` is set, or fail with `error`."""

    def __init__(self, items: Catalogue) -> None:
        super().__init__(items)
        self.waits, self.started = threading.Event(), threading.Event()
        self.error: Exception | None = None

    async def retrieve(  # type: ignore[override]
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        self.started.set()
        while self.waits.is_set():
            await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        return super().retrieve(history, preference, k=k, trust=trust, exclude=exclude, where=where)


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
