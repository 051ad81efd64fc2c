"""Constraints that no item passes end a run at once, with the reason and the nearest set."""

from typing import Any
from uuid import UUID

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph
from deeprec.trm_tool import Dataset, Retriever
from tests.small_recommender import CoOccurrence, RemoteCoOccurrence
from tests.tiny_server import TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)


@pytest.fixture
def history(retriever: Retriever) -> list[str]:
    return list(retriever.catalogue.ids[:4])


async def test_a_mistyped_value_ends_the_run_with_what_may_be_meant_and_the_nearest_list(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore, history: list[str]
) -> None:
    graph = build_graph(policy, retriever, config=FREE, recorder=SqlRecorder(store))
    fox = {"studio": {"in": ["Fox"]}}
    output = await graph.ainvoke(
        {"history": history, "message": "horror", "where": {"class": {"in": ["comdy"]}, **fox}}
    )
    assert (output["status"], output["recommendations"]) == ("empty", [])
    assert "no item has 'comdy' as class (did you mean 'Comedy'" in str(output["detail"])
    nearest: Any = output["nearest"]
    assert (nearest["without"], nearest["where"]) == (["class"], fox)
    asked = [item.id for item in retriever.retrieve(history, "horror", k=3, where=fox)]
    assert [item["item_id"] for item in nearest["recommendations"]] == asked
    assert all(item["title"] for item in nearest["recommendations"])
    trace = store.run(UUID(output["run_id"]))
    assert (trace.status, trace.detail, trace.turns, trace.recommended) == ("empty", output["detail"], (), ())
    assert server.requests == []


@pytest.mark.parametrize("wrap", [lambda own: own, RemoteCoOccurrence])
async def test_a_recommender_of_ones_own_gets_the_same(
    wrap: Any, policy: CompletionPolicy, dataset: Dataset, history: list[str]
) -> None:
    own = CoOccurrence(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
    graph = build_graph(policy, wrap(own), config=FREE)
    output = await graph.ainvoke({"history": history, "where": {"price": {"min": 500}}})
    assert output["status"] == "empty"
    assert "no item that is left passes where.price (the nearest values are 29.5)" in str(output["detail"])
    assert [item["item_id"] for item in output["nearest"]["recommendations"]] == [
        item.id for item in own.retrieve(history, k=3)
    ]
