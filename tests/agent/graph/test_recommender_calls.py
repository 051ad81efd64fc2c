"""Recommenders of one's own under the agent: any kind of call, bounded time, bounded attempts, every run closed."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event
from time import perf_counter, sleep
from typing import Any, cast
from uuid import UUID

import httpx
import httpx2
import pytest
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent import AgentConfig, CompletionPolicy, RetrieverUnavailableError, SqlRecorder, TraceStore, build_graph
from deeprec.trm_tool import (
    AnyRecommender,
    ConfigError,
    Dataset,
    RecommenderRefusedError,
    RecommenderUnavailableError,
    Retrieved,
    UnknownItemError,
)
from tests.model_scripts import LIST, SEARCH
from tests.small_recommender import CoOccurrence, RemoteCoOccurrence
from tests.tiny_server import MODEL, TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
QUICK = AgentConfig(k=3, retrieve_k=4, max_seconds=1)

Step = Callable[[], object]


class Scripted(CoOccurrence):
    """Does a step before each answer, the next one for each call; without one left it answers at once."""

    def __init__(self, dataset: Dataset, steps: list[Step] | None = None) -> None:
        super().__init__(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
        self.steps: Iterator[Step] = iter(steps or [])
        self.calls = 0

    def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
        self.calls += 1
        next(self.steps, lambda: None)()
        return super().retrieve(*arguments, **options)


def answer() -> None:
    """Answer at once."""


def fail(error: Exception) -> Step:
    def step() -> None:
        raise error

    return step


@pytest.fixture
def history(dataset: Dataset) -> list[str]:
    return list(dataset.catalogue.ids[:4])


@pytest.fixture
def hang() -> Iterator[Step]:
    """A step that does not end before the test does."""
    end = Event()
    yield end.wait
    end.set()


@pytest.mark.parametrize("wrap", [lambda own: own, RemoteCoOccurrence])
async def test_a_recommender_of_ones_own_serves_the_agent(
    wrap: Callable[[CoOccurrence], AnyRecommender],
    server: TinyServer,
    policy: CompletionPolicy,
    store: TraceStore,
    dataset: Dataset,
    history: list[str],
) -> None:
    recommender = Scripted(dataset)
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    graph = build_graph(policy, wrap(recommender), config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": history})
    trace = store.run(UUID(output["run_id"]))
    assert output["status"] == "finished"
    assert (trace.run.trm_fingerprint, trace.run.trm_holdout, trace.run.dataset_fingerprint) == ("counts-1", None, None)
    assert list(trace.retrievals[0].items) == list(CoOccurrence.retrieve(recommender, history, "comedy", k=4))


class Hears(Scripted):
    """It takes words, and notes how it is called."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self.heard: list[tuple[Any, ...]] = []

    def retrieve(
        self,
        history: Any,
        preference: Any = None,
        *,
        words: str | None = None,
        words_trust: float | None = None,
        **options: Any,
    ) -> Retrieved:
        self.heard.append((preference, options["trust"], words, words_trust))
        return super().retrieve(history, preference, **options)


@pytest.mark.parametrize("hears", [True, False])
async def test_every_retrieval_of_a_run_has_the_message_beside_the_preference(
    hears: bool, server: TinyServer, policy: CompletionPolicy, dataset: Dataset, history: list[str]
) -> None:
    recommender = Hears(dataset)
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    config = replace(FREE, trust=0.15, words_trust=0.6, hears_words=hears)
    await build_graph(policy, recommender, config=config).ainvoke({"history": history, "message": "with \n popcorn"})
    words = ("with popcorn", 0.6) if hears else (None, None)
    assert recommender.heard == [(None, 0.15, *words), ("comedy", 0.15, *words)]


@pytest.mark.parametrize("message", [None, "", "\N{POPCORN}\N{GHOST}"])
async def test_a_run_without_words_asks_as_it_did_before(
    message: str | None, server: TinyServer, policy: CompletionPolicy, dataset: Dataset, history: list[str]
) -> None:
    recommender = Hears(dataset)
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    await build_graph(policy, recommender, config=FREE).ainvoke({"history": history, "message": message})
    assert recommender.heard == [(None, None, None, None), ("comedy", None, None, None)]


async def test_a_recommender_of_ones_own_without_words_gets_them_in_front_of_the_preference(
    server: TinyServer, policy: CompletionPolicy, dataset: Dataset, history: list[str]
) -> None:
    asked: list[Any] = []

    class Deaf(Scripted):
        def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
            asked.append((arguments[1], options["trust"]))
            return super().retrieve(*arguments, **options)

    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    config = replace(FREE, trust=0.15)
    await build_graph(policy, Deaf(dataset), config=config).ainvoke({"history": history, "message": "with popcorn"})
    assert asked == [("with popcorn", None), ("with popcorn; comedy", None)]


async def test_scores_in_the_state_are_plain_floats(
    server: TinyServer, policy: CompletionPolicy, dataset: Dataset, history: list[str]
) -> None:
    class NumPyScores(Scripted):
        def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
            import numpy as np

            from deeprec.trm_tool import ScoredItem

            found = super().retrieve(*arguments, **options)
            return Retrieved([ScoredItem(item.id, np.float32(item.score)) for item in found])

    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    graph = build_graph(policy, NumPyScores(dataset), config=FREE, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"history": history}, thread)
    state = (await graph.aget_state(thread)).values
    scores = [item["score"] for item in (*state["candidates"], *state["request"]["own_ranking"])]
    assert {type(score) for score in scores} == {float}


@pytest.mark.parametrize("is_async", [False, True])
def test_a_recommender_that_hangs_holds_neither_the_caller_nor_the_event_loop(
    is_async: bool, server: TinyServer, store: TraceStore, dataset: Dataset, history: list[str], hang: Step
) -> None:
    """`asyncio.run` joins the default executor's threads before it returns, so that one of those would hold it."""
    graph = build_graph(
        CompletionPolicy(server.base_url, MODEL), Scripted(dataset, [hang]), config=QUICK, recorder=SqlRecorder(store)
    )

    def invoke() -> object:
        return asyncio.run(graph.ainvoke({"history": history})) if is_async else graph.invoke({"history": history})

    begun = perf_counter()
    with pytest.raises(RecommenderUnavailableError, match="no answer within 1 seconds"):
        invoke()
    assert perf_counter() - begun < 10
    [run] = store.runs()
    assert run.status == "aborted"


class HangsLater(RemoteCoOccurrence):
    """Answers twice and then never."""

    async def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
        found = await super().retrieve(*arguments, **options)
        if cast(Scripted, self.local).calls > 2:
            await asyncio.Event().wait()
        return found


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_retrieval_that_hangs_ends_with_the_time_of_the_run(
    is_async: bool,
    server: TinyServer,
    policy: CompletionPolicy,
    store: TraceStore,
    dataset: Dataset,
    history: list[str],
    hang: Step,
) -> None:
    recommender = HangsLater(Scripted(dataset)) if is_async else Scripted(dataset, [answer, answer, hang])
    server.script = [SEARCH.format(preference) for preference in ("comedy", "drama")]
    config = AgentConfig(k=3, retrieve_k=4, max_seconds=4)
    graph = build_graph(policy, recommender, config=config, recorder=SqlRecorder(store))
    begun = perf_counter()
    output = await graph.ainvoke({"history": history})
    assert perf_counter() - begun < 10
    trace = store.run(UUID(output["run_id"]))
    assert (output["status"], output["detail"]) == (
        "budget",
        "all 4 seconds spent, the last of them waiting for the recommender",
    )
    assert [len(retrieval.items) for retrieval in trace.retrievals] == [4, 0]
    assert "no answer within" in str(trace.retrievals[1].detail)
    assert {listed["source"] for listed in output["recommendations"]} == {"filled"}


async def test_the_attempts_share_the_time_of_the_run(
    policy: CompletionPolicy, store: TraceStore, dataset: Dataset, history: list[str]
) -> None:
    def slow_failure() -> None:
        sleep(1.2)
        raise ConnectionError("gone")

    recommender = Scripted(dataset, [slow_failure] * 3)
    config = AgentConfig(k=3, max_seconds=2)
    graph = build_graph(policy, recommender, config=config, recorder=SqlRecorder(store))
    begun = perf_counter()
    with pytest.raises(RetrieverUnavailableError, match="at last with ConnectionError: gone"):
        await graph.ainvoke({"history": history})
    assert perf_counter() - begun < 3.5
    assert recommender.calls == 2


UNAVAILABLE = [
    RecommenderUnavailableError("restarting"),
    ConnectionError("gone"),
    TimeoutError("slow"),
    httpx.ReadTimeout("slow"),
    httpx.ConnectError("refused"),
    httpx2.ReadTimeout("slow"),
    httpx2.ConnectError("refused"),
]


@pytest.mark.parametrize("error", UNAVAILABLE, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
async def test_an_unavailable_recommender_is_called_again(
    error: Exception, server: TinyServer, policy: CompletionPolicy, dataset: Dataset, history: list[str]
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    recommender = Scripted(dataset, [fail(error), fail(error), answer, fail(error), fail(error), answer])
    output = await build_graph(policy, recommender, config=FREE).ainvoke({"history": history})
    assert output["status"] == "finished"
    assert recommender.calls == 6


@pytest.mark.parametrize("error", UNAVAILABLE, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
async def test_a_recommender_that_stays_unavailable_ends_the_run_with_its_first_ranking(
    error: Exception,
    server: TinyServer,
    policy: CompletionPolicy,
    store: TraceStore,
    dataset: Dataset,
    history: list[str],
) -> None:
    server.script = [SEARCH.format("comedy")]
    recommender = Scripted(dataset, [answer, *[fail(error)] * 3])
    graph = build_graph(policy, recommender, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": history})
    assert output["status"] == store.run(UUID(output["run_id"])).status == "fallback"
    assert f"failed 3 times, at last with {type(error).__name__}" in str(output["detail"])
    assert len(output["recommendations"]) == 3


async def test_a_refused_preference_is_not_repeated_and_ends_the_run_with_a_list(
    server: TinyServer, policy: CompletionPolicy, store: TraceStore, dataset: Dataset, history: list[str]
) -> None:
    server.script = [SEARCH.format("comedy")]
    recommender = Scripted(dataset, [answer, fail(RecommenderRefusedError("not for under-age accounts"))])
    graph = build_graph(policy, recommender, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": history})
    assert (output["status"], output["detail"]) == ("fallback", "not for under-age accounts")
    assert recommender.calls == 2
    assert len(output["recommendations"]) == 3


@pytest.mark.parametrize("error", [RecommenderRefusedError("no such tenant"), ZeroDivisionError("a bug")])
async def test_another_error_of_the_first_call_goes_to_the_caller_and_closes_the_run(
    error: Exception, policy: CompletionPolicy, store: TraceStore, dataset: Dataset, history: list[str]
) -> None:
    recommender = Scripted(dataset, [fail(error)])
    with pytest.raises(type(error), match=str(error)):
        await build_graph(policy, recommender, config=FREE, recorder=SqlRecorder(store)).ainvoke({"history": history})
    [run] = store.runs()
    assert run.status == "aborted"
    assert str(store.run(run.run_id).detail).endswith(str(error))
    assert recommender.calls == 1


@pytest.mark.parametrize("error", [UnknownItemError("never seen"), ConfigError("k is too large")])
async def test_a_mistake_of_the_caller_opens_no_run(
    error: Exception, policy: CompletionPolicy, store: TraceStore, dataset: Dataset, history: list[str]
) -> None:
    recommender = Scripted(dataset, [fail(error)])
    with pytest.raises(type(error), match=str(error)):
        await build_graph(policy, recommender, config=FREE, recorder=SqlRecorder(store)).ainvoke({"history": history})
    assert list(store.runs()) == []
    assert recommender.calls == 1


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), MemoryError(), KeyError("b7"), ZeroDivisionError("bug")])
async def test_a_failing_recommender_costs_a_run_neither_its_ending_nor_its_list(
    error: Exception,
    server: TinyServer,
    policy: CompletionPolicy,
    store: TraceStore,
    dataset: Dataset,
    history: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.script = [SEARCH.format("comedy"), SEARCH.format("drama")]
    recommender = Scripted(dataset, [answer, answer, fail(error)])
    graph = build_graph(policy, recommender, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": history})
    trace = store.run(UUID(output["run_id"]))
    name = type(error).__name__
    assert (output["status"], trace.status) == ("fallback", "fallback")
    assert output["failure"] is not None
    assert (output["failure"]["part"], output["failure"]["cause"]) == ("recommender", name)
    assert str(trace.detail).startswith(name)
    assert str(trace.retrievals[1].detail).startswith(name)
    found = [item.id for item in trace.retrievals[0].items]
    assert [place["item_id"] for place in output["recommendations"]] == found[:3]
    [warning] = [entry for entry in caplog.records if "goes on without the recommender" in entry.getMessage()]
    assert warning.exc_info is not None  # where the bug is
    strict = replace(FREE, raise_outages=True)
    server.script = [SEARCH.format("comedy")]
    with pytest.raises(type(error)):
        await build_graph(policy, Scripted(dataset, [answer, fail(error)]), config=strict).ainvoke({"history": history})


async def test_a_run_that_an_error_ended_is_closed_and_can_go_on_from_its_checkpoint(
    server: TinyServer, policy: CompletionPolicy, store: TraceStore, dataset: Dataset, history: list[str]
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    recommender = Scripted(dataset, [answer, fail(ZeroDivisionError("a bug"))])
    saver = InMemorySaver()
    strict = replace(FREE, raise_outages=True)
    graph = build_graph(policy, recommender, config=strict, recorder=SqlRecorder(store), checkpointer=saver)
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(ZeroDivisionError):
        await graph.ainvoke({"history": history}, thread, durability="sync")
    [run] = store.runs()
    assert (run.status, store.run(run.run_id).detail) == ("aborted", "ZeroDivisionError: a bug")
    output = await graph.ainvoke(None, thread, durability="sync")
    trace = store.run(run.run_id)
    assert output["status"] == trace.status == "finished"
    assert (trace.incomplete, trace.detail, len(trace.recommended)) == (False, None, 3)


async def test_something_else_than_a_retrieval_is_named(policy: CompletionPolicy, dataset: Dataset) -> None:
    class Lists(Scripted):
        def retrieve(self, *arguments: Any, **options: Any) -> Any:
            return list(super().retrieve(*arguments, **options))

    with pytest.raises(ConfigError, match=r"Lists\.retrieve returned a list\. Return a deeprec"):
        await build_graph(policy, Lists(dataset), config=FREE).ainvoke({"history": []})
