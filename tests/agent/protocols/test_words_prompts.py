"""Runs with the texts of the shipped adapter: a preference without a thought, then the list, free and guided."""

import hashlib
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import (
    AgentConfig,
    Allowance,
    CompletionPolicy,
    Prompts,
    RunTrace,
    SqlRecorder,
    TraceStore,
    build_graph,
    replay_run,
)
from deeprec.agent.protocols import Briefing
from deeprec.agent.protocols.tagged import TaggedProtocol
from deeprec.agent.protocols.tagged_text import preference_regex
from deeprec.trm_tool import Retriever
from tests.tiny_server import TinyServer

WORDS: dict[str, Any] = {"k": 3, "retrieve_k": 4, "max_retrievals": 1, "min_retrievals": 1, "prompts": "words"}
MESSAGE = "a comedy for a rainy day"


async def run(model: Any, retriever: Retriever, store: TraceStore, **settings: Any) -> RunTrace:
    graph = build_graph(model, retriever, config=AgentConfig(**{**WORDS, **settings}), recorder=SqlRecorder(store))
    history = list(retriever.catalogue.ids[:4])
    output = await graph.ainvoke({"history": history, "message": MESSAGE, "lineage": {"seed": 3}})
    return store.run(UUID(output["run_id"]))


def prompts_of(server: TinyServer) -> list[str]:
    asked = [request for request in server.requests if request["path"] == "/v1/completions"]
    return [bytes(token for token in body["prompt"] if token < 256).decode() for body in asked]


def test_the_texts_of_the_shipped_adapter_have_a_version_of_their_own() -> None:
    """A change of one of them changes what the adapter sees: raise WORDS_VERSION with it, and train it again."""
    prompts = Prompts.words()
    offered: dict[str, Any] = {"titles": ["A", "B"], "phrases": ["comedy", "1990s"], "numbers": ["year 1922 to 1998"]}
    texts = [
        prompts.tagged_system(10, 1),
        prompts.person(["A (x)", "B (y)"], "m", k=10, **offered),
        prompts.person([], None, k=10),
        prompts.person([], "\N{ZERO WIDTH SPACE}", k=10),
    ]
    assert prompts.version == "words-2"
    assert texts[1] == (
        "They chose: A; B\nThe person says: m\nThe catalogue knows: comedy; 1990s\nNumbers: year 1922 to 1998"
    )
    assert texts[2] == texts[3] == "They chose nothing yet.\nThe person says nothing."
    assert hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16] == "dada60d51bc1f4ff"
    assert Prompts.words(role="You advise the guests of a tea shop.").version.startswith("custom-")
    assert Prompts(thinks=False, leads=True).version == "custom-11dc948083b1"  # runs before `own_list` came have it


async def test_a_free_run_is_a_preference_and_the_list(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = ["comedy; not drama<|end_of_preference|>", "2\n1\n3\n</recommendation_list>"]
    trace = await run(policy, retriever, store)
    assert (trace.status, trace.run.prompt_version) == ("finished", "words-2")
    assert [(turn.action, turn.preference, turn.thought) for turn in trace.turns] == [
        ("retrieve", "comedy; not drama", None),
        ("recommend", None, None),
    ]
    first, last = prompts_of(server)
    titles = "; ".join(retriever.catalogue.item(item_id).title for item_id in retriever.catalogue.ids[:4])
    assert f"They chose: {titles}\n" in first
    assert first.endswith("<|begin_of_preference|>")
    assert last.endswith("\n<recommendation_list>\n")
    assert all(turn.chained for turn in trace.turns)


@pytest.mark.parametrize("retrievals", [1, 2])
async def test_a_guided_run_is_held_to_its_phrases_and_to_the_numbers_that_were_found(
    retrievals: int, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    trace = await run(policy, retriever, store, guided=True, min_retrievals=1, max_retrievals=retrievals)
    assert trace.status == "finished"
    assert [turn.action for turn in trace.turns] == [*["retrieve"] * retrievals, "recommend"]
    assert all(turn.thought is None for turn in trace.turns)
    assert len(trace.written) == 3
    assert prompts_of(server)[0].endswith("<|begin_of_preference|>")
    replay = await replay_run(store, trace.run.run_id, policy=policy, retriever=retriever)
    assert replay.is_same


def completions(server: TinyServer) -> int:
    return sum("completions" in request["path"] for request in server.requests)


@pytest.mark.parametrize(("protocol", "others"), [("tagged", 1), ("tools", 2)])
async def test_a_guided_list_takes_one_call_where_one_position_is_written(
    protocol: str,
    others: int,
    server: TinyServer,
    policy: CompletionPolicy,
    chat: ChatOpenAI,
    retriever: Retriever,
    store: TraceStore,
) -> None:
    model: Any = policy if protocol == "tagged" else chat
    calls, traces = [], []
    for positions in (None, 1):
        server.requests.clear()
        settings: dict[str, Any] = {"k": 4, "guided": True, "guided_positions": positions}
        traces.append(await run(model, retriever, store, **settings))
        calls.append(completions(server))
    whole, short = traces
    assert calls == [others + 4, others + 1]
    assert [(trace.status, len(trace.written)) for trace in traces] == [("finished", 4), ("finished", 1)]
    found = [item.id for item in short.retrievals[0].items]
    first = short.written[0].item_id
    assert [each.item_id for each in short.recommended] == [first, *(item for item in found if item != first)]
    assert [each.source for each in short.recommended] == ["written", *["filled"] * 3]
    assert whole.written[0].item_id == first
    if protocol == "tagged":
        assert short.turns[-1].text.endswith("\n</recommendation_list>")
        assert all(turn.chained for turn in short.turns)
    replay = await replay_run(store, short.run.run_id, policy=model, retriever=retriever)
    assert replay.is_same
    assert len(replay.child.written) == 1


def test_the_grammar_of_a_preference_ends_with_its_tag() -> None:
    regex = preference_regex(Allowance(phrases=["comedy", "sci-fi"], max_tokens=9, timeout_s=1))
    assert re.fullmatch(regex, "sci-fi; comedy<|end_of_preference|>")
    assert not re.fullmatch(regex, "scifi<|end_of_preference|>")


async def test_a_guided_list_names_no_candidate_that_became_excluded(
    server: TinyServer, policy: CompletionPolicy
) -> None:
    protocol = TaggedProtocol(policy, guided=True, prompts=Prompts.words())
    briefing = Briefing(history=["A"], message=MESSAGE, k=3, max_retrievals=2, phrases=["comedy"])
    allowance = Allowance(phrases=["comedy"], may_refuse=True, max_tokens=64, timeout_s=60, seed=3)
    for excluded in ((), (1, 3)):
        turn = await protocol.reason(await protocol.open(briefing), allowance)
        conversation: Any = turn.conversation
        for _ in range(2):
            conversation = await protocol.observe(conversation, [(number, f"Film {number}") for number in range(1, 6)])
        turn = await protocol.reason(conversation, replace(allowance, excluded=excluded))
        assert len(turn.decision.numbers) == 3
        assert set(turn.decision.numbers).isdisjoint(excluded)
