"""The agent's surroundings: a tiny server, a policy on it, a real store, and records with every field filled."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import CompletionPolicy, TraceStore, make_chat_model
from deeprec.agent.traces import RecommendationRecord, RetrievalRecord, RunOutcome, RunRecord, TurnRecord
from deeprec.trm_tool import ScoredItem
from tests.postgres_server import NoPostgresError, PostgresServer, serve_postgres
from tests.tiny_server import MODEL, TinyServer, serve_tiny


class Make:
    """Records with every field filled; a test changes those that it is about."""

    @staticmethod
    def run(run_id: UUID | None = None, **changes: Any) -> RunRecord:
        values: dict[str, Any] = {
            "run_id": run_id or uuid4(),
            "user_id": "12",
            "history": ("50", "181"),
            "message": "something lighter",
            "target_id": "1",
            "protocol": "tagged",
            "protocol_version": "1",
            "prompt_version": "1",
            "guided": False,
            "k": 3,
            "policy_model": "SmolLM2-135M-Instruct",
            "adapter": "deeprec",
            "adapter_version": "4",
            "trm_fingerprint": "ab" * 8,
            "sampling": {"temperature": 1.0, "top_p": 0.9, "max_tokens": 64},
            "config": {"max_turns": 3, "names": ["a"]},
            "seed": 2**40,
            "split": "test",
            "suite": "demo",
            "group_id": "g1",
            "parent_id": uuid4(),
            "versions": {"vllm": "0.32.0"},
        }
        return RunRecord(**values | changes)

    @staticmethod
    def turn(position: int, **changes: Any) -> TurnRecord:
        """Turns of 5 + 3 tokens; the last action of a run has to be set to "recommend"."""
        values: dict[str, Any] = {
            "position": position,
            "node": "reason",
            "prompt_ids": tuple(range(10 * position, 10 * position + 5)),
            "completion_ids": (100_000 + position, 7, 2),
            "logprobs": (-0.5, -0.25, -2.0),
            "chained": True,
            "text": "<think>They like space.</think>",
            "thought": "They like space.",
            "action": "retrieve",
            "preference": "sci-fi; 1980s",
            "finish_reason": "stop",
            "prompt_tokens": 8 * position + 5,
            "completion_tokens": 3,
            "latency_ms": 120.5,
        }
        return TurnRecord(**values | changes)

    @staticmethod
    def retrieval(position: int, **changes: Any) -> RetrievalRecord:
        values: dict[str, Any] = {
            "position": position,
            "turn": position,
            "preference": "sci-fi; 1980s",
            "k": 3,
            "items": (ScoredItem("9", 0.9), ScoredItem(str(20 + position), 0.5), ScoredItem("1", 0.25)),
            "unenforced": ("colour",),
            "latency_ms": 3.5,
        }
        return RetrievalRecord(**values | changes)

    @staticmethod
    def outcome(**changes: Any) -> RunOutcome:
        def line(
            rank: int, item_id: str, retrieval: int | None, source: str, score: float | None
        ) -> RecommendationRecord:
            return RecommendationRecord(rank=rank, item_id=item_id, retrieval=retrieval, score=score, source=source)  # type: ignore[arg-type]

        values: dict[str, Any] = {
            "status": "finished",
            "written": (
                line(1, "9", 0, "written", 0.9),
                line(2, "9", 0, "written", 0.9),
                line(3, "77", None, "written", None),
            ),
            "recommended": (line(1, "9", 0, "written", 0.9), line(2, "1", 0, "filled", 0.25)),
            "ungrounded": 1,
            "latency_ms": 900.0,
        }
        return RunOutcome(**values | changes)

    @staticmethod
    def write(store: TraceStore, run: RunRecord | None = None, turns: int = 3, **ending: Any) -> UUID:
        run = run or Make.run()
        store.start_run(run)
        for position in range(turns - 1):
            store.record_turn(run.run_id, Make.turn(position))
            store.record_retrieval(run.run_id, Make.retrieval(position))
        store.record_turn(run.run_id, Make.turn(turns - 1, node="rank", action="recommend", items=("9",)))
        store.finish_run(run.run_id, Make.outcome(**ending))
        return run.run_id


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
