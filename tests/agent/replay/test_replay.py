"""Forks and replays of logged runs, against a real server, in both protocols."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_openai import ChatOpenAI

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    Prompts,
    RunTrace,
    SqlRecorder,
    TraceStore,
    TraceStoreError,
    build_graph,
    fork_run,
    make_chat_model,
    replay_run,
    turn_seed,
)
from deeprec.agent.traces import RunOutcome, TurnRecord
from deeprec.training import RolloutError, rollout_from_run
from deeprec.trm_tool import Catalogue, ConfigError, Retriever
from tests.model_scripts import LIST, SEARCH, tool_call
from tests.tiny_server import MODEL, TinyServer, encode

GUIDED = AgentConfig(guided=True, k=5, retrieve_k=4, min_retrievals=2, max_retrievals=3)
FREE = AgentConfig(k=3, retrieve_k=4, max_malformed=1)
LINEAGE: Any = {"tenant": "books", "user_id": "u1", "seed": 11, "split": "test", "suite": "s", "group_id": "g"}


@pytest.fixture
def history(retriever: Retriever) -> list[str]:
    return list(retriever.catalogue.ids[:4])


async def logged(policy: Any, retriever: Retriever, store: TraceStore, config: AgentConfig, **lineage: Any) -> RunTrace:
    graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
    request: Any = {
        "history": list(retriever.catalogue.ids[:4]),
        "message": "something light",
        "where": {"release_year": {"max": 2003}},
        "lineage": {**LINEAGE, "target_id": retriever.catalogue.ids[30], **lineage},
    }
    output = await graph.ainvoke(request)
    return store.run(UUID(output["run_id"]))


def completions(server: TinyServer) -> list[dict[str, Any]]:
    return [request for request in server.requests if request["path"] in ("/v1/completions", "/v1/chat/completions")]


def chain(turns: tuple[TurnRecord, ...]) -> list[int]:
    return [token for turn in turns for token in (*turn.prompt_ids, *turn.completion_ids)]


async def test_a_fork_edits_one_turn_and_lets_the_model_go_on(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), "nonsense", SEARCH.format("drama"), LIST.format("2\n1\n5")]
    original = await logged(policy, retriever, store, FREE)
    server.requests.clear()
    server.script = [LIST.format("1\n2")]
    steps: list[str] = []
    child = await fork_run(
        store,
        original.run.run_id,
        turn=2,
        preference="horror ;1990s",
        policy=policy,
        retriever=retriever,
        on_update=lambda node, _: steps.append(node),
    )
    assert str(child) == str(store.run(child.run.run_id))  # as text: NaN is no NaN's equal
    assert (child.status, child.incomplete) == ("finished", False)
    assert child.run.parent_id == original.run.run_id
    assert child.run.fork == {"turn": 2, "preference": "horror; 1990s"}
    # What the two share is there as it was, so that the child reads as a whole run.
    assert child.turns[:2] == original.turns[:2]
    assert child.retrievals[0] == original.retrievals[0]
    assert [turn.action for turn in child.turns] == ["retrieve", "malformed", "retrieve", "recommend"]
    edited = child.turns[2]
    assert edited.text == SEARCH.format("horror; 1990s")
    assert edited.completion_ids == tuple(encode(edited.text))
    assert len(edited.logprobs) == edited.completion_tokens == len(edited.completion_ids)
    assert all(math.isnan(value) for value in edited.logprobs)
    assert edited.prompt_ids == original.turns[2].prompt_ids
    assert child.retrievals[1].preference == "horror; 1990s"
    where: Any = {"release_year": {"max": 2003}}
    expected = retriever.retrieve(child.run.history, "horror; 1990s", words="something light", k=4, where=where)
    assert list(child.retrievals[1].items) == list(expected)
    # One call of the model: the turn after the edited one, and it saw the edited text.
    [asked] = completions(server)
    assert asked["prompt"] == [*chain(child.turns[:3]), *child.turns[3].prompt_ids]
    assert asked["seed"] == turn_seed(11, 3)
    assert steps == ["retrieve", "reason", "rank", "finish"]


@pytest.mark.slow
async def test_a_child_is_the_originals_request_with_its_settings_outside_its_group_and_suite(
    policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    original = await logged(policy, retriever, store, GUIDED)
    child = await fork_run(
        store, str(original.run.run_id)[:8], turn=0, preference="quiet films", policy=policy, retriever=retriever
    )
    changed = {"run_id", "parent_id", "fork", "group_id", "suite", "thread_id"}  # the thread is the rebuilt one
    same = {name for name in original.run.__slots__ if getattr(original.run, name) == getattr(child.run, name)}
    assert set(original.run.__slots__) - same == changed
    assert (child.run.group_id, child.run.suite) == (None, None)
    assert child.run.config["where"] == {"release_year": {"max": 2003}}
    assert child.turns[0].preference == child.retrievals[0].preference == "quiet films"
    assert original == store.run(original.run.run_id)
    other = await fork_run(
        store, original.run.run_id, turn=0, preference="quiet films", policy=policy, retriever=retriever, seed=5
    )
    assert other.run.seed == 5


@pytest.mark.slow
@pytest.mark.parametrize("config", [FREE, GUIDED], ids=["free", "guided"])
async def test_an_edited_run_is_never_a_rollout(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore, config: AgentConfig
) -> None:
    script = [SEARCH.format("comedy"), LIST.format("2\n1\n5")] if not config.guided else []
    server.script = list(script)
    original = await logged(policy, retriever, store, config)
    rollout_from_run(original, allow_guided=True)
    server.script = list(script[1:])
    child = await fork_run(store, original.run.run_id, turn=0, preference="horror", policy=policy, retriever=retriever)
    assert child.status in ("finished", "budget")
    with pytest.raises(RolloutError) as refused:
        rollout_from_run(child, allow_guided=True)
    assert refused.value.reason == "edited"


async def test_a_fork_of_the_tools_protocol_edits_the_call(
    server: TinyServer, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [
        {"content": "Hm.", **tool_call("retrieve_items", preference="comedy")},
        {"content": "And?", **tool_call("retrieve_items", preference="drama", because="x")},
        tool_call("recommend_items", numbers=[1, 2]),
    ]
    original = await logged(chat, retriever, store, FREE)
    server.requests.clear()
    server.script = [tool_call("recommend_items", numbers=[3, 1])]
    child = await fork_run(store, original.run.run_id, turn=1, preference="horror", policy=chat, retriever=retriever)
    [asked] = completions(server)
    assert [message["role"] for message in asked["messages"]] == [
        "system", "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
    said = json.loads(asked["messages"][4]["tool_calls"][0]["function"]["arguments"])
    assert said == {"preference": "horror", "because": "x"}
    assert "drama" not in json.dumps(asked["messages"][2:5:2])
    assert (child.turns[1].preference, child.turns[1].thought) == ("horror", "And?")
    assert "drama" not in json.dumps((child.turns[1].messages or [])[-1])
    assert child.turns[:1] == original.turns[:1]
    assert child.retrievals[1].preference == "horror"
    assert child.status == "finished"
    # And a fork of the fork, at a turn before the one that was edited first.
    server.script = [tool_call("retrieve_items", preference="war"), tool_call("recommend_items", numbers=[3, 1])]
    second = await fork_run(store, child.run.run_id, turn=0, preference="sci-fi", policy=chat, retriever=retriever)
    assert [retrieval.preference for retrieval in second.retrievals] == ["sci-fi", "war"]
    assert second.run.parent_id == child.run.run_id


async def test_a_guided_fork_of_the_tools_protocol(chat: ChatOpenAI, retriever: Retriever, store: TraceStore) -> None:
    original = await logged(chat, retriever, store, GUIDED)
    child = await fork_run(
        store, original.run.run_id, turn=1, preference="quiet films", policy=chat, retriever=retriever
    )
    assert child.turns[0] == original.turns[0]
    assert child.turns[1].preference == child.retrievals[1].preference == "quiet films"
    assert child.status in ("finished", "budget")
    assert len({place.item_id for place in child.written}) == 5


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["tagged", "tools"])
async def test_a_seeded_run_replays_as_it_was(
    protocol: str, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    used = policy if protocol == "tagged" else chat
    original = await logged(used, retriever, store, GUIDED)
    replay = await replay_run(store, original.run.run_id, policy=used, retriever=retriever)
    assert replay.is_same
    assert replay.child.run.fork == {"turn": None}
    assert replay.child.run.parent_id == original.run.run_id
    assert [turn.completion_ids for turn in replay.child.turns] == [turn.completion_ids for turn in original.turns]
    assert replay.child.recommended == original.recommended


@pytest.mark.slow
async def test_a_run_logged_with_counted_seeds_is_repeated_with_counted_seeds(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    original = await logged(policy, retriever, store, GUIDED, turn_seeds="counted")
    assert "turn_seeds" not in original.run.config  # as in a store of that time
    drawn = [asked["seed"] for asked in completions(server)]
    assert drawn[:2] == [11, 12]
    server.requests.clear()
    replay = await replay_run(store, original.run.run_id, policy=policy, retriever=retriever)
    assert replay.is_same
    assert replay.comparison.setting == ()
    assert [asked["seed"] for asked in completions(server)] == drawn


async def test_a_replay_says_where_the_model_wrote_something_else(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), SEARCH.format("drama"), LIST.format("2\n1")]
    original = await logged(policy, retriever, store, FREE)
    server.script = [SEARCH.format("comedy"), SEARCH.format("drums"), LIST.format("2\n1")]
    replay = await replay_run(store, original.run.run_id, policy=policy, retriever=retriever)
    assert not replay.is_same
    first = replay.comparison.first_token
    assert first is not None
    assert (first.turn, first.by, bytes([first.left or 0]), bytes([first.right or 0])) == (1, "policy", b"a", b"u")
    assert replay.comparison.first_turn == 1
    assert replay.comparison.setting == ()  # nothing but the model's own dice


@pytest.mark.slow
async def test_a_fork_is_replayed_from_its_edited_turn_and_stays_untrainable(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    original = await logged(policy, retriever, store, GUIDED)
    child = await fork_run(
        store, original.run.run_id, turn=1, preference="quiet films", policy=policy, retriever=retriever
    )
    replay = await replay_run(store, child.run.run_id, policy=policy, retriever=retriever)
    assert replay.is_same
    assert replay.child.turns[1].preference == "quiet films"
    assert replay.child.run.fork == child.run.fork
    with pytest.raises(RolloutError, match="edited"):
        rollout_from_run(replay.child, allow_guided=True)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (7, "has 3 turns, and no turn 8. Turns that retrieved: 1."),
        (-1, "no turn 0"),
        (1, "Turn 2 of run .* did not retrieve"),
        (2, "Turn 3 of run .* did not retrieve"),
    ],
)
async def test_a_turn_that_is_not_there_or_did_not_search_is_refused(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore, turn: int, said: str
) -> None:
    server.script = [SEARCH.format("comedy"), "nonsense", LIST.format("2\n1")]
    original = await logged(policy, retriever, store, FREE)
    with pytest.raises(TraceStoreError, match=said):
        await fork_run(store, original.run.run_id, turn=turn, preference="x", policy=policy, retriever=retriever)
    assert len(store.runs()) == 1


async def test_a_search_that_was_never_carried_out_is_refused(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), SEARCH.format("drama"), "1\n</recommendation_list>"]
    original = await logged(policy, retriever, store, replace(FREE, min_retrievals=0, max_retrievals=1))
    assert original.turns[1].action == "retrieve"
    with pytest.raises(TraceStoreError, match=r"Turn 2 of run .* did not retrieve"):
        await fork_run(store, original.run.run_id, turn=1, preference="x", policy=policy, retriever=retriever)


@pytest.mark.parametrize(
    ("preference", "said"),
    [
        ("", "the preference is empty"),
        (" ; \n", "the preference is empty"),
        ("x" * 401, "401 characters, more than 400"),
        ("x<|end_of_preference|>", "tags are made of"),
        ("</think>", "tags are made of"),
        ("<|im_end|>", "tags are made of"),
        ("com\u202eedy", "cannot be seen"),
        ("com\udc80edy", "cannot be seen"),
        ("comedy", "retrieved with exactly 'comedy'"),
    ],
)
async def test_a_preference_that_cannot_stand_in_a_turn_is_refused(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore, preference: str, said: str
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    original = await logged(policy, retriever, store, FREE)
    with pytest.raises(ConfigError, match=said):
        await fork_run(store, original.run.run_id, turn=0, preference=preference, policy=policy, retriever=retriever)
    assert len(store.runs()) == 1


async def test_a_run_from_before_there_was_trust_is_run_again(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")] * 2
    whole = await logged(policy, retriever, store, FREE)
    settings = {name: value for name, value in whole.run.config.items() if name != "trust"}
    old = replace(whole, run=replace(whole.run, run_id=uuid4(), config=settings))
    store.write_runs([old])
    replay = await replay_run(store, old.run.run_id, policy=policy, retriever=retriever)
    assert replay.is_same
    assert replay.child.run.config == whole.run.config


async def test_runs_that_are_not_whole_are_refused(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")] * 2
    whole, broken = [await logged(policy, retriever, store, FREE) for _ in range(2)]
    store.mark_incomplete(broken.run.run_id)
    going_on = replace(whole.run, run_id=uuid4())
    store.start_run(going_on)
    foreign = replace(whole.run, run_id=uuid4(), config={"max_turns": 3})
    store.start_run(foreign)
    store.finish_run(foreign.run_id, replace_outcome(whole))
    for run_id, said in (
        (broken.run.run_id, "incomplete"),
        (going_on.run_id, "has not ended"),
        (foreign.run_id, "other settings"),
        (uuid4(), "No run begins"),
    ):
        with pytest.raises(TraceStoreError, match=said):
            await replay_run(store, run_id, policy=policy, retriever=retriever)
    assert len(store.runs()) == 4


def replace_outcome(trace: RunTrace) -> Any:
    from deeprec.agent.traces import RunOutcome

    return RunOutcome(status="finished", written=trace.written, recommended=trace.recommended, latency_ms=1.0)


async def test_another_model_or_sampling_is_refused_unless_allowed(
    server: TinyServer, policy: CompletionPolicy, chat: ChatOpenAI, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [tool_call("retrieve_items", preference="comedy"), tool_call("recommend_items", numbers=[1, 2])]
    original = await logged(chat, retriever, store, FREE)
    other = make_chat_model(server.base_url, "gpt-9")
    cooler = make_chat_model(server.base_url, MODEL, temperature=0.2)
    fork: Any = {"turn": 0, "preference": "horror", "retriever": retriever}
    for model, said in (
        (other, "policy model 'tiny', and here it is 'gpt-9'"),
        (cooler, "sampling"),
        (policy, "protocol 'tools', and here it is 'tagged'"),
    ):
        with pytest.raises(ConfigError, match=said):
            await fork_run(store, original.run.run_id, policy=model, **fork)
    server.script = [tool_call("recommend_items", numbers=[1])]
    child = await fork_run(store, original.run.run_id, policy=other, allow_other_model=True, **fork)
    assert (child.run.policy_model, child.status) == ("gpt-9", "finished")
    for model in (other, cooler):
        await model.root_async_client.close()


@pytest.mark.slow
async def test_another_recommender_and_another_prompt_are_refused(
    policy: CompletionPolicy,
    retriever: Retriever,
    artifact_folder: Path,
    store: TraceStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = await logged(policy, retriever, store, GUIDED)
    fork: Any = {"turn": 0, "preference": "quiet films", "policy": policy}
    changed = Retriever.load(artifact_folder)
    changed.remove_items([retriever.catalogue.ids[40]])
    with pytest.raises(ConfigError, match="was made with the recommender"):
        await fork_run(store, original.run.run_id, retriever=changed, **fork)
    own = Prompts(role="You advise the guests of a tea shop.")
    with pytest.raises(ConfigError, match=r"prompt version '1', and here it is 'custom-[0-9a-f]{12}'.*as `prompts`"):
        await fork_run(store, original.run.run_id, retriever=retriever, prompts=own, **fork)
    # The wording changed and the version was not raised: the token ids differ.
    monkeypatch.setattr(Prompts, "tagged_system", lambda *_, **__: "Find items.")
    with pytest.raises(ConfigError, match="does not come out as it was logged"):
        await fork_run(store, original.run.run_id, retriever=retriever, **fork)
    assert [run.run_id for run in store.runs()] == [original.run.run_id]  # no half of a child stays behind


async def test_other_titles_are_refused_and_no_half_of_a_child_stays(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.script = [SEARCH.format("comedy"), SEARCH.format("drama"), LIST.format("2\n1")]
    original = await logged(policy, retriever, store, FREE)
    monkeypatch.setattr(Catalogue, "summary", lambda *_: "Another title")
    with pytest.raises(ConfigError, match="does not come out as it was logged"):
        await fork_run(store, original.run.run_id, turn=1, preference="quiet films", policy=policy, retriever=retriever)
    assert [run.run_id for run in store.runs()] == [original.run.run_id]


async def test_a_server_that_fails_after_the_fork_leaves_a_child_that_fell_back(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    def fail(handler: Any) -> None:
        handler.answer(500, {"error": {"message": "out of memory"}})

    server.script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    original = await logged(policy, retriever, store, FREE)
    server.script = [fail, fail]
    child = await fork_run(store, original.run.run_id, turn=0, preference="war", policy=policy, retriever=retriever)
    assert child.status == "fallback"
    assert len(child.recommended) == 3


async def test_a_run_from_before_the_recommender_heard_the_message_is_replayed_without_it(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    script = [SEARCH.format("comedy"), LIST.format("2\n1")]
    server.script = list(script)
    run = await logged(policy, retriever, store, replace(FREE, hears_words=False))
    config = {name: value for name, value in run.run.config.items() if name not in ("hears_words", "words_trust")}
    old = replace(run.run, run_id=uuid4(), config=config)
    store.start_run(old)
    for turn in run.turns:
        store.record_turn(old.run_id, turn)
    for retrieval in run.retrievals:
        store.record_retrieval(old.run_id, retrieval)
    store.finish_run(
        old.run_id, RunOutcome(status="finished", written=run.written, recommended=run.recommended, latency_ms=1.0)
    )
    server.script = list(script)
    replay = await replay_run(store, old.run_id, policy=policy, retriever=retriever)
    assert replay.is_same
    assert replay.child.run.config["hears_words"] is False
    heard = retriever.retrieve(run.run.history, "comedy", words="something light", k=4, where=run.run.config["where"])
    assert list(replay.child.retrievals[0].items) != list(heard)
