"""A thread goes on after a kill at any point of its run: no step is skipped, and none runs twice."""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import Field

from deeprec.agent import (
    AgentConfig,
    SqlRecorder,
    TraceStore,
    aresume_thread,
    build_graph,
    resume_thread,
)
from deeprec.trm_tool import ConfigError, Retrieved, Retriever

FREE = AgentConfig(k=3, retrieve_k=4)
SCRIPT: list[tuple[str, dict[str, Any]]] = [
    ("retrieve_items", {"preference": "comedy"}),
    ("retrieve_items", {"preference": "horror"}),
    ("recommend_items", {"numbers": [2, 1]}),
]


class KilledError(Exception):
    """The end of a process."""


class KilledSaver(BaseCheckpointSaver[str]):
    """The part of a checkpointer that ends the process in one of its writes, before or after it is kept."""

    at, is_after, count = 0, False, 0

    def put(self, *arguments: Any) -> Any:
        return self._write(super().put, arguments)

    def put_writes(self, *arguments: Any) -> None:
        self._write(super().put_writes, arguments)

    def _write(self, write: Callable[..., Any], arguments: Any) -> Any:
        self.count += 1
        if self.count == self.at and not self.is_after:
            raise KilledError
        kept = write(*arguments)
        if self.count == self.at:
            raise KilledError
        return kept


class KilledInMemory(KilledSaver, InMemorySaver):
    pass


class KilledInSqlite(KilledSaver, SqliteSaver):
    pass


class ScriptedModel(BaseChatModel):
    """A chat model that writes each turn of the script by the turns before it, and counts its calls."""

    calls: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self

    def _generate(self, messages: Any, *_: Any, **__: Any) -> ChatResult:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        self.calls.append(turn)
        name, arguments = SCRIPT[turn]
        call = {"name": name, "args": arguments, "id": f"call_{turn}"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


class CountedRecommender:
    """A recommender that keeps the preferences that it was called with."""

    def __init__(self, retriever: Retriever) -> None:
        self.catalogue, self.identity = retriever.catalogue, retriever.identity
        self.preferences: list[str] = []
        self._retriever = retriever

    def retrieve(self, history: Any, preference: str | None = None, **options: Any) -> Retrieved:
        if preference is not None:
            self.preferences.append(preference)
        return self._retriever.retrieve(history, preference, **options)


def thread(name: object) -> Any:
    return {"configurable": {"thread_id": str(name)}}


@pytest.mark.slow
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_killed_run_is_resumed_wherever_that_happened(
    retriever: Retriever, store: TraceStore, is_async: bool, is_after: bool
) -> None:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    saver: KilledSaver = KilledInMemory() if is_async else KilledInSqlite(connection)
    saver.is_after = is_after
    model, recommender = ScriptedModel(), CountedRecommender(retriever)

    def agent() -> Any:
        """The agent of another process."""
        return build_graph(model, recommender, config=FREE, recorder=SqlRecorder(store), checkpointer=saver)

    async def begin(name: int) -> Any:
        call = agent().ainvoke if is_async else partial(asyncio.to_thread, agent().invoke)
        return await call({"history": []}, thread(name), durability="sync")

    async def resume(name: int) -> Any:
        call = aresume_thread if is_async else partial(asyncio.to_thread, resume_thread)
        return await call(agent(), thread(name))

    for at in range(1, 99):
        model.calls[:], recommender.preferences[:] = [], []
        saver.count, saver.at = 0, at
        try:
            output = await begin(at)
            if saver.count < at:
                break
        except KilledError:
            saver.at = 0
            if at == 1 and not is_after:
                with pytest.raises(
                    ConfigError, match="No run was begun on the thread '1', so that none can be resumed"
                ):
                    await resume(at)
                continue
            output = await resume(at)
        assert output["status"] == "finished"
        assert model.calls == [0, 1, 2]
        assert recommender.preferences == ["comedy", "horror"]
        trace = store.run(output["run_id"])
        assert (len(trace.turns), len(trace.retrievals), trace.status, trace.incomplete) == (3, 2, "finished", False)
        assert await resume(at) == output  # nothing runs
    connection.close()
    assert at == 20  # the writes of the request and of 8 steps, 10 checkpoints, and a run that nothing killed
    assert len(store.runs()) == (20 if is_after else 19)


def test_a_second_request_of_a_thread_whose_first_step_is_not_kept_is_resumed(retriever: Retriever) -> None:
    saver, model = KilledInMemory(), ScriptedModel()
    graph = build_graph(model, retriever, config=FREE, checkpointer=saver)
    first = graph.invoke({"history": []}, thread("t"), durability="sync")
    saver.is_after, saver.count, saver.at = True, 0, 1
    with pytest.raises(KilledError):
        graph.invoke({"message": "something lighter"}, thread("t"), durability="sync")
    second = resume_thread(graph, thread("t"))
    assert (second["status"], second["run_id"] == first["run_id"]) == ("finished", False)
    assert model.calls == [0, 1, 2, 0, 1, 2]


def test_a_thread_is_kept_by_a_checkpointer(retriever: Retriever) -> None:
    with pytest.raises(ConfigError, match=r"no checkpointer, which keeps threads\. Pass one to build_graph"):
        resume_thread(build_graph(ScriptedModel(), retriever), thread("t"))
