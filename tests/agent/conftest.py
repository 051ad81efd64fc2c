"""The agent's surroundings: a tiny server, a policy on it, a real store, and records with every field filled."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import CompletionPolicy, TraceStore, make_chat_model
from tests.made_runs import made_conversation_turn, made_outcome, made_record, made_retrieval, made_turn, write_run
from tests.postgres_server import NoPostgresError, PostgresServer, serve_postgres
from tests.tiny_server import MODEL, TinyServer


class Make:
    """Records with every field filled; a test changes those that it is about."""

    run = staticmethod(made_record)
    turn = staticmethod(made_turn)
    retrieval = staticmethod(made_retrieval)
    outcome = staticmethod(made_outcome)
    conversation_turn = staticmethod(made_conversation_turn)
    write = staticmethod(write_run)


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, started once a session."""
    try:
        with serve_postgres() as server:
            yield server
    except NoPostgresError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'traces.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    made = server.database()
    yield made
    server.drop(made)


@pytest.fixture
def any_store(url: str) -> Iterator[TraceStore]:
    """A store in a database of each kind."""
    with TraceStore(url) as opened:
        yield opened


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
