"""The agent's surroundings: a tiny server, a policy on it, a real store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import CompletionPolicy, TraceStore, make_chat_model
from tests.tiny_server import MODEL, TinyServer, serve_tiny


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serve_tiny() as tiny:
        yield tiny


@pytest.fixture
async def policy(server: TinyServer) -> AsyncIterator[CompletionPolicy]:
    client = CompletionPolicy(server.base_url, MODEL, timeout_s=20, max_retries=1)
    yield client
    await client.aclose()


@pytest.fixture
async def chat(server: TinyServer) -> AsyncIterator[ChatOpenAI]:
    model = make_chat_model(server.base_url, MODEL)
    yield model
    await model.root_async_client.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    with TraceStore(tmp_path / "traces.db") as traces:
        yield traces
