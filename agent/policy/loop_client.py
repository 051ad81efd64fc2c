"""An HTTP client that any number of event loops, threads and forked processes may share."""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

import openai


class LoopClient(openai.DefaultAsyncHttpxClient):
    """An asynchronous client with one connection pool for each event loop that sends with it.

    A pooled connection belongs to the loop that opened it: another loop fails or waits for ever on it. The OpenAI SDK
    and LangChain take this client in place of their own.

    Args:
        settings: Those of httpx's clients; each loop's client gets them.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._settings = settings
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.DefaultAsyncHttpxClient] = (
            WeakKeyDictionary()
        )

    async def send(self, request: Any, **settings: Any) -> Any:
        """Send a request over a connection of the running loop. Settings and errors are those of httpx."""
        here = asyncio.get_running_loop()
        client = self._of_loops.get(here)
        if client is None:
            for loop in [loop for loop in self._of_loops if loop.is_closed()]:  # a connection keeps its loop alive
                self._of_loops.pop(loop, None)
            client = self._of_loops[here] = openai.DefaultAsyncHttpxClient(**self._settings)
        return await client.send(request, **settings)

    async def aclose(self) -> None:
        """Close the connections, those of other running event loops included. A later call opens new ones."""
        here = asyncio.get_running_loop()
        for loop, client in list(self._of_loops.items()):
            if loop is here:
                await client.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.aclose(), loop))
        self._of_loops.clear()
