"""The texts that the model is shown: the default ones byte by byte, and those of a tea shop in both protocols."""

import hashlib
from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    Prompts,
    SqlRecorder,
    TraceStore,
    build_graph,
    fork_run,
    replay_run,
)
from deeprec.trm_tool import ConfigError, Retriever
from tests.model_scripts import LIST, SEARCH, tool_call
from tests.tiny_server import TinyServer

FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
TEA = Prompts(
    role="You advise the guests of a tea shop {since 1824}.",
    history="Teas that the guest drank, the latest last:",
    history_item="* {item}",
    message="The guest says: {message}",
    task="Find {k} teas for the guest.",
    found_item="#{number} {item}",
    tools_rank="Hand in your {k} teas.",
    retrieve_tool="Look into the tea cabinet.",
)


def test_the_default_texts_are_those_that_logged_runs_were_made_with() -> None:
    """A change of one of them changes token ids: raise PROMPT_VERSION with it."""
    prompts = Prompts()
    texts = [
        prompts.tagged_system(10),
        prompts.tools_system(10),
        prompts.tagged_correction.format(why="w"),
        prompts.tools_correction.format(why="w"),
        prompts.person(["A", "B"], "m", k=10),
        prompts.person([], None, k=10),
        prompts.items([(1, "A"), (4, "B")]),
        prompts.items([]),
    ]
    assert prompts.version == "1"
    assert hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16] == "d905e180e963c0a2"


async def test_a_tea_shop_speaks_for_itself_in_the_tagged_protocol(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    graph = build_graph(policy, retriever, prompts=TEA, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:2]), "message": "a light one"})
    trace = store.run(UUID(output["run_id"]))
    assert output["status"] == "finished"
    assert trace.run.prompt_version == TEA.version != Prompts().version
    [system, person] = next(request["messages"] for request in server.requests if "messages" in request)
    assert system["content"].startswith("You advise the guests of a tea shop {since 1824}.\nTo call the recommender,")
    assert person["content"].splitlines()[0] == "Teas that the guest drank, the latest last:"
    assert person["content"].splitlines()[-2:] == ["The guest says: a light one", "Find 3 teas for the guest."]
    shown = [request["prompt"] for request in server.requests if request["path"] == "/tokenize" and "prompt" in request]
    assert shown[0].splitlines()[2].startswith("#1 ")


async def test_a_tea_shop_speaks_for_itself_in_the_tools_protocol(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[2, 1])]
    graph = build_graph(chat, retriever, prompts=TEA, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:2])})
    assert store.run(UUID(output["run_id"])).run.prompt_version == TEA.version
    first, last = server.requests[0], server.requests[-1]
    assert first["messages"][0]["content"].startswith(
        "You advise the guests of a tea shop {since 1824}.\nCall the tool"
    )
    assert first["messages"][1]["content"].startswith("Teas that the guest drank")
    assert first["tools"][0]["function"]["description"] == "Look into the tea cabinet."
    assert last["messages"][-1]["content"].startswith("#1 ")


@pytest.mark.parametrize("kind", ["tagged", "tools"])
async def test_a_run_of_own_texts_is_run_again_with_these_texts_only(
    kind: str, server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    model: Any = policy if kind == "tagged" else chat
    search = SEARCH.format("comedy") if kind == "tagged" else tool_call("retrieve_items", preference="comedy")
    ranks = LIST.format("2\n1") if kind == "tagged" else tool_call("recommend_items", numbers=[2, 1])
    server.script = [search, ranks]
    graph = build_graph(model, retriever, prompts=TEA, config=FREE, recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": [], "lineage": {"seed": 3}})
    for prompts in (None, Prompts(role="You advise the guests of a coffee house.")):
        with pytest.raises(ConfigError, match=f"made with prompt version '{TEA.version}'.*as `prompts`"):
            await replay_run(store, output["run_id"], policy=model, retriever=retriever, prompts=prompts)
    server.script = [search, ranks]
    replay = await replay_run(store, output["run_id"], policy=model, retriever=retriever, prompts=TEA)
    assert replay.is_same
    server.script = [ranks]
    child = await fork_run(
        store, output["run_id"], turn=0, preference="drama", policy=model, retriever=retriever, prompts=TEA
    )
    assert (child.status, child.run.prompt_version) == ("finished", TEA.version)


def test_equal_texts_have_equal_versions_and_others_another_one() -> None:
    assert TEA.version.startswith("custom-")
    assert Prompts(role=TEA.role).version == Prompts(role=TEA.role).version != TEA.version


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"task": "Find {n} teas."}, r"Prompts\.task has the placeholder \{n\}, and \{k\} can be filled in"),
        ({"found_item": "{item}"}, r"Prompts\.found_item lacks the placeholder \{number\}"),
        ({"message": "The guest says {message"}, r"Prompts\.message cannot be filled in: expected '}'"),
        ({"message": "{message.__class__}{message}"}, r"has the placeholder \{message\.__class__\}"),
        ({"tagged_instructions": "Think."}, r"does not show the model the tag <\|begin_of_preference\|>"),
        ({"role": 7}, r"Prompts\.role is 7, which is not text"),
    ],
)
def test_texts_that_cannot_be_used_are_refused(texts: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Prompts(**texts)
