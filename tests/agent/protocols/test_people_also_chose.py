"""Runs whose model asks what people also chose before it searches."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
    fork_run,
    replay_run,
)
from deeprec.trm_tool import Artifact, Dataset, HashingEncoder, Retriever, fit_reranking
from tests.model_scripts import raw_tool_call, tool_call
from tests.small_recommender import CoOccurrence
from tests.tiny_server import TinyServer

LOOK = tool_call("people_also_chose", how="next")
SEARCH = tool_call("retrieve_items", preference="comedy")
LIST = tool_call("recommend_items", numbers=[2, 1])


@pytest.fixture(scope="module")
def known(artifact: Artifact, dataset: Dataset) -> Retriever:
    plain = Retriever(artifact, HashingEncoder())
    return Retriever(artifact, HashingEncoder(), reranking=fit_reranking(plain, dataset))


async def run(chat: Any, recommender: Any, store: TraceStore, dataset: Dataset, **settings: Any) -> RunTrace:
    config = AgentConfig(
        **{"k": 3, "retrieve_k": 4, "max_retrievals": 2, "shows_choices": True, "max_malformed": 0, **settings}
    )
    graph = build_graph(chat, recommender, config=config, recorder=SqlRecorder(store))
    request: Any = {"history": list(dataset.history(dataset.users[0], 2)), "lineage": {"seed": 3}}
    return store.run(UUID((await graph.ainvoke(request))["run_id"]))


def offered(server: TinyServer) -> list[list[str]]:
    return [[tool["function"]["name"] for tool in each["tools"]] for each in server.requests if "tools" in each]


@pytest.mark.parametrize("prompts", ["instruct", "trained"])
async def test_the_answer_stands_in_the_trace_and_spends_no_retrieval(
    prompts: Any, server: TinyServer, chat: ChatOpenAI, known: Retriever, store: TraceStore, dataset: Dataset
) -> None:
    server.script = [LOOK, SEARCH, LIST]
    trace = await run(chat, known, store, dataset, prompts=prompts)
    assert (trace.status, [turn.action for turn in trace.turns]) == ("finished", ["retrieve", "recommend"])
    assert [retrieval.preference for retrieval in trace.retrievals] == ["comedy"]
    described = next(tool for tool in server.requests[0]["tools"] if tool["function"]["name"] == "people_also_chose")
    arguments = described["function"]["parameters"]
    assert (arguments["required"], arguments["properties"]["how"]["enum"]) == ([], ["together", "next", "lately"])
    *_, asked, answer = server.requests[1]["messages"]
    assert asked["tool_calls"][0]["function"]["name"] == "people_also_chose"
    assert answer["content"].startswith("Chosen next after the person's items:\n- ")
    assert answer["content"] in [message["data"]["content"] for message in trace.turns[0].messages or []]
    server.script = [LOOK, SEARCH, LIST]
    assert (await replay_run(store, trace.run.run_id, policy=chat, retriever=known)).is_same
    server.script = [LIST]
    child = await fork_run(store, trace.run.run_id, turn=0, preference="horror", policy=chat, retriever=known)
    assert (child.turns[0].messages or [])[:-1] == (trace.turns[0].messages or [])[:-1]


async def test_three_of_each_look_up_are_answered_in_a_run(
    server: TinyServer, chat: ChatOpenAI, known: Retriever, store: TraceStore, dataset: Dataset
) -> None:
    card = tool_call("describe_catalogue")
    server.script = [LOOK, card, LOOK, LOOK, card, LOOK, SEARCH, LIST]
    trace = await run(chat, known, store, dataset, describes_catalogue=True, max_malformed=1)
    assert [turn.action for turn in trace.turns] == ["malformed", "retrieve", "recommend"]
    assert trace.turns[0].detail == "there is no tool 'people_also_chose'"
    assert ["people_also_chose" in names for names in offered(server)] == [True] * 4 + [False] * 4
    assert ["describe_catalogue" in names for names in offered(server)] == [True] * 8


async def test_two_look_ups_in_one_message_spend_the_one_that_is_answered(
    server: TinyServer, chat: ChatOpenAI, known: Retriever, store: TraceStore, dataset: Dataset
) -> None:
    both = {"tool_calls": [raw_tool_call("people_also_chose", "{}"), raw_tool_call("describe_catalogue", "{}", 1)]}
    server.script = [both] * 7
    trace = await run(chat, known, store, dataset, describes_catalogue=True)
    assert trace.turns[0].action == "malformed"
    assert ["people_also_chose" in names for names in offered(server)][:7] == [True] * 3 + [False] * 4
    assert ["describe_catalogue" in names for names in offered(server)][:7] == [True] * 6 + [False]


class Fails(CoOccurrence):
    """A recommender whose counts are broken."""

    def also_chosen(self, item_ids: Sequence[str], how: str, *, k: int, exclude: Sequence[str] = ()) -> list[str]:
        raise RuntimeError("no counts")


@pytest.mark.parametrize(
    ("kind", "says"),
    [(Fails, "What people also chose is not known at the moment."), (CoOccurrence, "Nothing is known here")],
)
async def test_a_recommender_that_cannot_say_ends_no_run(
    kind: type[CoOccurrence], says: str, server: TinyServer, chat: ChatOpenAI, store: TraceStore, dataset: Dataset
) -> None:
    server.script = [LOOK, SEARCH, LIST]
    own = kind(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
    trace = await run(chat, own, store, dataset)
    assert trace.status == "finished"
    assert server.requests[1]["messages"][-1]["content"].startswith(says)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (tool_call("people_also_chose", how="<|end|>"), "This call could not be read."),
        (tool_call("people_also_chose", item="<|end|>" * 900), "No item of the catalogue is called"),
        ({"tool_calls": [raw_tool_call("people_also_chose", '{"how": "ne')]}, "Chosen together with"),
        ('```json\n{"name": "people_also_chose", "arguments": {"how": "next"}}\n```', "Chosen next after"),
    ],
)
async def test_odd_look_ups_get_a_short_and_safe_answer(
    asked: Any, shown: str, server: TinyServer, chat: ChatOpenAI, known: Retriever, store: TraceStore, dataset: Dataset
) -> None:
    server.script = [asked, SEARCH, LIST]
    trace = await run(chat, known, store, dataset)
    answer = server.requests[1]["messages"][-1]["content"]
    assert answer.startswith(shown)
    assert not set(answer) & set("<>[]|")
    assert (trace.status, len(trace.retrievals)) == ("finished", 1)


async def test_nothing_is_offered_unless_the_settings_say_so(
    server: TinyServer,
    policy: CompletionPolicy,
    chat: ChatOpenAI,
    known: Retriever,
    store: TraceStore,
    dataset: Dataset,
) -> None:
    server.script = [SEARCH, LIST]
    await run(chat, known, store, dataset, shows_choices=False)
    assert "people_also_chose" not in str(server.requests)
    for model, guided in ((policy, True), (policy, False), (chat, True)):
        server.requests.clear()
        server.script = []
        await run(model, known, store, dataset, guided=guided, k=2)
        assert not any("people_also_chose" in str(request) for request in server.requests)
