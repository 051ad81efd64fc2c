"""Runs with the texts for instruct models: what they are offered and asked in each phase, corrections and cuts."""

import hashlib
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    PolicyError,
    Prompts,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
    fork_run,
    read_tagged,
    replay_run,
)
from deeprec.trm_tool import Retriever
from tests.model_scripts import tool_call
from tests.tiny_server import TinyServer

INSTRUCT = AgentConfig(k=3, retrieve_k=4, max_retrievals=2, prompts="instruct")
SEARCH = "They ask for it.</think>\n<|begin_of_preference|>{}<|end_of_preference|>"
"""A turn whose thought the prompt has opened."""
MESSAGE = "a comedy for a rainy day"


async def run(model: Any, retriever: Retriever, store: TraceStore, config: AgentConfig = INSTRUCT) -> RunTrace:
    graph = build_graph(model, retriever, config=config, recorder=SqlRecorder(store))
    history = list(retriever.catalogue.ids[:4])
    output = await graph.ainvoke({"history": history, "message": MESSAGE, "lineage": {"seed": 3}})
    return store.run(UUID(output["run_id"]))


def completions(server: TinyServer) -> list[tuple[str, list[str]]]:
    """The end of the prompt and the stops of each request for a completion."""
    asked = [request for request in server.requests if request["path"] == "/v1/completions"]
    return [(bytes(token for token in body["prompt"] if token < 256).decode(), body["stop"]) for body in asked]


def offered(server: TinyServer) -> list[list[str]]:
    return [
        [tool["function"]["name"] for tool in request["tools"]] for request in server.requests if "tools" in request
    ]


def fingerprint(prompts: Prompts) -> str:
    shown: dict[str, Any] = {"phrases": ["a", "b"], "card": ["year: 1 to 2"]}
    texts = [
        prompts.tagged_system(10, 3),
        prompts.tools_system(10, 3),
        prompts.person(["A"], "m", k=10, **shown),
        prompts.after_items("m", k=10, is_last=False),
        prompts.after_items(None, k=10, is_last=True),
        *(
            prompts.correction("w", k=10, is_tagged=is_tagged, has_found=has_found)
            for is_tagged in (False, True)
            for has_found in (False, True)
        ),
        prompts.tools_rank,
    ]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def test_the_texts_for_instruct_models_have_a_version_of_their_own() -> None:
    """A change of one of them changes what models see: raise INSTRUCT_VERSION with it, and keep the texts of before."""
    prompts = Prompts.instruct()
    assert prompts.version == "instruct-2"
    assert fingerprint(prompts) == "356be30516bda7ae"
    own = Prompts.instruct(role="You advise the guests of a tea shop.")
    assert own.version.startswith("custom-")
    assert own.version != Prompts(role=own.role).version
    assert own.task == prompts.task


def test_without_a_card_they_are_the_texts_of_before() -> None:
    before = Prompts.instruct(card="")
    assert before.version == "instruct-1"
    assert fingerprint(before) == "e9e7ddc4c847ec1e"
    assert Prompts.instruct(role="You advise the guests of a tea shop.", card="").version == "custom-7017cb712c91"
    assert Prompts.of_version("instruct-1") == before
    assert Prompts.of_version("instruct-2") is None


async def test_both_protocols_show_what_the_catalogue_can_be_asked_for(
    server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), SEARCH.format("drama"), "2\n1\n3\n</recommendation_list>"]
    await run(policy, retriever, store)
    tagged = completions(server)[0][0]
    server.requests.clear()
    server.script = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[1])]
    await run(chat, retriever, store)
    tools = next(request["messages"] for request in server.requests if "tools" in request)[1]["content"]
    for shown in (tagged, tools):
        assert f"\n{Prompts.instruct().card}\nrelease_year: 1975 to 2004\nclass: " in shown
        assert "\nPhrases that may fit, the likeliest first: comedy; " in shown


async def test_a_run_with_the_texts_of_before_is_repeated_with_them(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    calls = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[1])]
    server.script = [*calls]
    graph = build_graph(
        chat, retriever, config=INSTRUCT, prompts=Prompts.instruct(card=""), recorder=SqlRecorder(store)
    )
    output = await graph.ainvoke({"history": [], "message": MESSAGE})
    server.script = [*calls]
    assert (await replay_run(store, output["run_id"], policy=chat, retriever=retriever)).is_same


@pytest.mark.parametrize(("kind", "version"), [("tagged", "1"), ("tools", "instruct-2")])
async def test_without_a_choice_tagged_has_the_trained_texts_and_tools_those_for_instruct_models(
    kind: str, version: str, server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever
) -> None:
    graph = build_graph(policy if kind == "tagged" else chat, retriever, config=AgentConfig(k=3, max_turns=1))
    server.script = ["x"] * 9
    await graph.ainvoke({"history": []})
    first = next(request["messages"] for request in server.requests if "messages" in request)
    expected = Prompts() if version == "1" else Prompts.instruct()
    assert first[0]["content"].startswith(expected.role)


async def test_a_tagged_turn_is_opened_and_the_last_one_is_the_list(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), SEARCH.format("drama"), "2\n1\n3\n</recommendation_list>"]
    trace = await run(policy, retriever, store)
    assert (trace.status, trace.run.prompt_version) == ("finished", "instruct-2")
    assert [turn.preference for turn in trace.turns] == ["comedy", "drama", None]
    assert trace.turns[0].thought == "They ask for it."
    (first, stops), (second, _), (last, _) = completions(server)
    assert first.endswith("<think>")
    assert set(stops) == {"<|end_of_preference|>", "<recommendation_list>", "<|begin_of_item_list|>"}
    assert second.endswith(f"The person says: {MESSAGE}\n{INSTRUCT_GO_ON}\n<think>")
    assert last.endswith(f"The person says: {MESSAGE}\n{INSTRUCT_STOP}\n<recommendation_list>\n")
    chain = [token for turn in trace.turns for token in (*turn.prompt_ids, *turn.completion_ids)]
    asked = [request["prompt"] for request in server.requests if request["path"] == "/v1/completions"]
    assert chain == [*asked[-1], *trace.turns[-1].completion_ids]
    assert all(turn.chained for turn in trace.turns)


INSTRUCT_GO_ON = Prompts.instruct().go_on.format(k=3)
INSTRUCT_STOP = Prompts.instruct().stop_now.format(k=3)


async def test_a_list_before_any_retrieval_is_corrected_once_with_an_opened_preference(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [
        "So.</think>\n<recommendation_list>\n4\n5\n</recommendation_list>",
        "comedy; drama<|end_of_preference|>",
        SEARCH.format("drama"),
        "1\n2\n3\n</recommendation_list>",
    ]
    trace = await run(policy, retriever, store)
    assert [turn.action for turn in trace.turns] == ["malformed", "retrieve", "retrieve", "recommend"]
    assert (trace.status, trace.turns[1].preference) == ("finished", "comedy; drama")
    assert trace.turns[0].text.endswith("<recommendation_list>")  # the server stopped there
    corrected, stops = completions(server)[1]
    assert corrected.endswith("so search first: write a preference.\n<|begin_of_preference|>")
    assert "<recommendation_list>" in stops

    server.script = [turn.text for turn in trace.turns]
    assert (await replay_run(store, trace.run.run_id, policy=policy, retriever=retriever)).is_same
    server.script = [SEARCH.format("drama"), "1\n2\n3\n</recommendation_list>"]
    child = await fork_run(store, trace.run.run_id, turn=1, preference="horror", policy=policy, retriever=retriever)
    assert (child.status, child.turns[1].text) == ("finished", "horror<|end_of_preference|>")


async def test_what_follows_a_malformed_turn_after_a_retrieval_is_the_list(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), "I am done.", "2. Second\n1. First\nThat is all."]
    trace = await run(policy, retriever, store)
    assert [turn.action for turn in trace.turns] == ["retrieve", "malformed", "recommend"]
    assert (trace.status, len(trace.written), trace.ungrounded) == ("finished", 2, 1)
    assert completions(server)[2][0].endswith(
        "the 3 best numbers of the items above, one a line.\n<recommendation_list>\n"
    )


LONG = "; ".join(f"phrase {number} of many" for number in range(40))


@pytest.mark.parametrize(
    ("text", "action", "read"),
    [
        ("<recommendation_list>\n1\n2", "recommend", (1, 2)),
        ("<recommendation_list>1; 2, #3</recommendation_list>", "recommend", (1, 2, 3)),
        ("<|recommendation_list|>\n1. Toy Story (1995)\n2\n<|end_of_recommendation_list|>\nBye.", "recommend", (1, 2)),
        ("Hm.</think>\n<|begin_of_preference|>comedy; 1990s", "retrieve", "comedy; 1990s"),
        ("<|begin_of_preference|>comedy</|end_of_preference|>", "retrieve", "comedy"),
        ("<recommendation_list><|begin_of_preference|>fun; scary</recommendation_list>", "retrieve", "fun; scary"),
        ("<|begin_of_preference|>...; ...<|end_of_preference|>", "malformed", None),
        ("<recommendation_list>\n...\n...\n</recommendation_list>", "malformed", None),
        ("Well, comedies.", "malformed", None),
    ],
)
def test_open_blocks_and_odd_tags_are_read(text: str, action: str, read: Any) -> None:
    decision = read_tagged(text, lenient=True)
    assert decision.action == action
    assert (decision.numbers or decision.preference) == read
    strict = read_tagged("<recommendation_list>\n1\n2")
    assert (strict.action, strict.detail) == ("malformed", "the list was not closed")


def test_a_number_that_the_token_limit_may_have_halved_is_left_out() -> None:
    assert read_tagged("<recommendation_list>\n4\n1", cut=True, lenient=True).numbers == (4,)


async def test_a_preference_that_is_too_long_is_cut_in_both_protocols_and_says_so(
    server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    ranks = "1\n2\n3\n</recommendation_list>"
    server.script = [SEARCH.format(LONG), SEARCH.format("drama"), ranks]
    tagged = await run(policy, retriever, store)
    server.script = [tool_call("retrieve_items", preference=LONG), tool_call("recommend_items", numbers=[1])]
    tools = await run(chat, retriever, store)
    for trace in (tagged, tools):
        first = trace.turns[0]
        assert (trace.status, first.action) == ("finished", "retrieve")
        assert LONG.startswith(str(first.preference))
        assert len(str(first.preference)) <= 400
        assert str(first.detail).endswith("more than 400: its last phrases were cut")
    server.script = [SEARCH.format("x" * 500), "comedy<|end_of_preference|>", SEARCH.format("drama"), ranks]
    uncut = await run(policy, retriever, store)
    assert [turn.action for turn in uncut.turns] == ["malformed", "retrieve", "retrieve", "recommend"]


async def test_only_the_tools_that_are_due_are_offered_and_one_has_to_be_called(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    search = tool_call("retrieve_items", preference="comedy")
    server.script = [search, search, tool_call("recommend_items", numbers=[2, 1])]
    trace = await run(chat, retriever, store)
    assert trace.status == "finished"
    assert offered(server) == [["retrieve_items"], ["retrieve_items", "recommend_items"], ["recommend_items"]]
    for request in server.requests:
        assert (request["tool_choice"], request["parallel_tool_calls"]) == ("required", False)
    arguments = server.requests[-1]["tools"][0]["function"]["parameters"]["properties"]
    assert (arguments["numbers"]["minItems"], arguments["numbers"]["maxItems"]) == (1, 3)
    first, last = (request["messages"][-1]["content"] for request in server.requests[1:])
    assert first.endswith(f"The person says: {MESSAGE}\n{INSTRUCT_GO_ON}")
    assert last.endswith(f"The person says: {MESSAGE}\n{INSTRUCT_STOP}")


async def test_in_rank_only_the_list_tool_is_offered(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[2, 1])]
    await run(chat, retriever, store, AgentConfig(k=3, retrieve_k=4, max_turns=1))
    assert offered(server) == [["retrieve_items"], ["recommend_items"]]
    assert server.requests[-1]["messages"][-1]["content"] == Prompts.instruct().tools_rank.format(k=3)


def refuse(handler: Any) -> None:
    handler.answer(400, {"error": {"message": "tool_choice is not supported", "type": "BadRequestError"}})


async def test_a_server_without_tool_choice_is_asked_again_without_and_never_with_it_again(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [
        refuse,
        tool_call("retrieve_items", preference="comedy"),
        tool_call("recommend_items", numbers=[2, 1]),
    ]
    trace = await run(chat, retriever, store)
    assert (trace.status, [turn.action for turn in trace.turns]) == ("finished", ["retrieve", "recommend"])
    assert ["tool_choice" in request for request in server.requests] == [True, False, False]
    assert offered(server)[1:] == [["retrieve_items"], ["retrieve_items", "recommend_items"]]


async def test_a_refusal_that_is_about_something_else_is_still_one(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [refuse, refuse]
    with pytest.raises(PolicyError, match="tool_choice is not supported"):
        await run(chat, retriever, store, AgentConfig(k=3, raise_outages=True))
    server.script = [tool_call("retrieve_items", preference="comedy"), refuse]
    server.requests.clear()
    trace = await run(chat, retriever, store)
    assert trace.status == "fallback"
    assert ["tool_choice" in request for request in server.requests] == [True, True]  # it had been accepted once


async def test_a_chat_model_that_knows_no_tool_choice_is_bound_without(retriever: Retriever, store: TraceStore) -> None:
    from langchain_core.language_models import GenericFakeChatModel

    bound: list[list[str]] = []

    class Plain(GenericFakeChatModel):
        def bind_tools(self, tools: Any) -> Any:  # type: ignore[override]
            bound.append([tool["function"]["name"] for tool in tools])
            return self

    calls = [
        AIMessage("", tool_calls=[{"name": "retrieve_items", "args": {"preference": "comedy"}, "id": "1"}]),
        AIMessage("", tool_calls=[{"name": "recommend_items", "args": {"numbers": [1]}, "id": "2"}]),
    ]
    trace = await run(Plain(messages=iter(calls)), retriever, store)
    assert trace.status == "finished"
    assert bound[-2:] == [["retrieve_items"], ["retrieve_items", "recommend_items"]]
