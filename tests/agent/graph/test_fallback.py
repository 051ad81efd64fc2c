"""The list of a run whose model gave none: what retrievals found, else the message, else the history."""

from dataclasses import replace
from typing import Any

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, build_graph, fuse_rankings
from deeprec.trm_tool import RecommenderRefusedError, Retrieved, Retriever
from tests.model_scripts import SEARCH
from tests.tiny_server import MODEL, TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
WHERE = {"studio": {"in": ["Fox", "A24"]}}


@pytest.fixture
def history(retriever: Retriever) -> list[str]:
    return list(retriever.catalogue.ids[:4])


@pytest.fixture
def unavailable() -> CompletionPolicy:
    return CompletionPolicy("http://127.0.0.1:9/v1", MODEL, max_retries=0, timeout_s=2)


def ids(output: Any) -> list[str]:
    return [position["item_id"] for position in output["recommendations"]]


def fail(handler: Any) -> None:
    handler.answer(500, {"error": {"message": "out of memory"}})


@pytest.mark.parametrize("trust", [None, 0.0])
async def test_without_a_model_the_message_is_the_preference_and_constraints_hold(
    retriever: Retriever, unavailable: CompletionPolicy, history: list[str], trust: float | None
) -> None:
    graph = build_graph(unavailable, retriever, config=replace(FREE, trust=trust))
    output = await graph.ainvoke({"history": history, "message": "a \n horror  film", "where": WHERE})
    asked = [item.id for item in retriever.retrieve(history, "a horror film", k=3, where=WHERE)]
    assert (output["status"], ids(output)) == ("fallback", asked)
    assert asked != [item.id for item in retriever.retrieve(history, k=3, where=WHERE)]


async def test_what_the_retrievals_found_before_the_model_failed_is_the_list(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    server.script = [SEARCH.format("comedy"), SEARCH.format("horror"), fail, fail]
    output = await build_graph(policy, retriever, config=FREE).ainvoke({"history": history, "where": WHERE})
    rankings = [[item.id for item in retriever.retrieve(history, p, k=4, where=WHERE)] for p in ("comedy", "horror")]
    assert (output["status"], ids(output)) == ("fallback", list(fuse_rankings(rankings))[:3])
    assert {position["source"] for position in output["recommendations"]} == {"filled"}


async def test_a_short_fallback_goes_on_with_what_the_message_asks_for(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    server.script = [SEARCH.format("comedy"), fail, fail]
    config = replace(FREE, retrieve_k=1)
    output = await build_graph(policy, retriever, config=config).ainvoke({"history": history, "message": "horror"})
    assert [position["source"] for position in output["recommendations"]] == ["filled", "fallback", "fallback"]
    asked = [item.id for item in retriever.retrieve(history, "horror", k=3)]
    assert ids(output)[1:] == [item for item in asked if item != ids(output)[0]][:2]


async def test_a_model_that_writes_nothing_readable_does_not_cost_the_message(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, history: list[str]
) -> None:
    server.script = ["no", "still no"]
    output = await build_graph(policy, retriever, config=FREE).ainvoke({"history": history, "message": "horror"})
    assert output["status"] == "malformed"
    assert ids(output) == [item.id for item in retriever.retrieve(history, "horror", k=3)]


async def test_a_message_that_the_recommender_refuses_leaves_the_list_by_history(
    retriever: Retriever,
    unavailable: CompletionPolicy,
    history: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Refuses:
        catalogue, identity = retriever.catalogue, retriever.identity

        def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
            if arguments[1]:
                raise RecommenderRefusedError("not for under-age accounts")
            return retriever.retrieve(*arguments, **options)

    output = await build_graph(unavailable, Refuses(), config=FREE).ainvoke({"history": history, "message": "gore"})
    assert (output["status"], ids(output)) == ("fallback", [item.id for item in retriever.retrieve(history, k=3)])
    assert "not for under-age accounts" in caplog.text
