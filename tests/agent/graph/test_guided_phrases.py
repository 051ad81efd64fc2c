"""The phrases of guided runs: those of the person's message first, else those of the history."""

import re
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph, replay_run
from deeprec.agent.graph.guided_phrases import message_phrases, split_refused
from deeprec.trm_tool import RecommenderUnavailableError, Retrieved, Retriever
from tests.tiny_server import TinyServer

GUIDED = AgentConfig(k=3, retrieve_k=4, guided=True, min_retrievals=1, max_retrievals=3)


@pytest.mark.parametrize(
    ("message", "wanted", "refused"),
    [
        ("a whodunit for a rainy day, nothing scary", "a whodunit for a rainy day", "scary"),
        ("no musicals; something funny", "something funny", "musicals"),
        ("a drama without any romance please, and not too long.", "a drama  , and", "any romance please; too long"),
        ("nothing helps me like a film that is funny", "nothing helps me like a film that is funny", ""),
        ("Bitte etwas Lustiges", "Bitte etwas Lustiges", ""),
        ("not horror", "", "horror"),
    ],
)
def test_what_is_refused_in_so_many_words_is_kept_apart_from_what_is_wanted(
    message: str, wanted: str, refused: str
) -> None:
    assert split_refused(message) == (wanted, refused)


class Films:
    """A catalogue of which only the phrases are asked."""

    def phrases_of(self, item_id: str) -> list[str]:
        known = {"1": ["horror", "mystery"], "2": ["horror", "thriller"], "3": ["horror"], "4": ["mystery", "1930s"]}
        return known[item_id]


def test_named_phrases_come_first_then_those_that_are_typical_of_what_is_found_for_the_message() -> None:
    common = {"comedy": 0.5, "drama": 0.4, "horror": 0.1, "mystery": 0.1, "thriller": 0.2, "1930s": 0.05}
    choose: Any = message_phrases
    chosen = choose(
        "a few dramas, or a comedy", "", found=["1", "4"], found_refused=[], catalogue=Films(), common=common
    )
    assert chosen == ["drama", "comedy", "mystery", "1930s", "horror"]
    chosen = choose("a whodunit", "scary", found=["1", "4"], found_refused=["2", "3"], catalogue=Films(), common=common)
    assert chosen == ["mystery", "1930s"]  # horror is more typical of what is scary
    chosen = choose("a whodunit", "thrillers", found=["2"], found_refused=[], catalogue=Films(), common=common)
    assert chosen == ["horror"]


def offered(server: TinyServer) -> set[str]:
    """The phrases that the first guided turn could choose from."""
    regex = next(body["structured_outputs"]["regex"] for body in server.requests if "structured_outputs" in body)
    return set(re.findall(r"[a-z0-9-]+", regex.split("begin_of_preference")[1].split("end_of_preference")[0]))


async def test_a_guided_run_explores_within_the_message(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    history = list(retriever.catalogue.ids[:6])
    message = "some horror, no comedy"
    output = await build_graph(policy, retriever, config=GUIDED, recorder=SqlRecorder(store)).ainvoke(
        {"history": history, "message": message, "lineage": {"seed": 5}}
    )
    trace = store.run(UUID(output["run_id"]))
    phrases = offered(server)
    assert output["status"] == "finished"
    assert "horror" in phrases
    assert "comedy" not in phrases
    assert len(phrases) <= 8
    used = {phrase for turn in trace.turns if turn.preference for phrase in turn.preference.split("; ")}
    assert used <= phrases
    assert (await replay_run(store, trace.run.run_id, policy=policy, retriever=retriever)).is_same

    server.requests.clear()
    without = AgentConfig(k=3, retrieve_k=4, guided=True, guided_by_message=False)
    await build_graph(policy, retriever, config=without).ainvoke({"history": history, "message": message})
    assert "comedy" in offered(server)


async def test_a_message_for_which_nothing_can_be_retrieved_leaves_the_phrases_of_the_history(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf:
        catalogue, identity = retriever.catalogue, retriever.identity

        def retrieve(self, history: list[str], preference: str | None = None, **settings: Any) -> Retrieved:
            if preference is not None and not history:
                raise RecommenderUnavailableError("no words today")
            return retriever.retrieve(history, preference, **settings)

    recommender: Any = Deaf()
    output = await build_graph(policy, recommender, config=GUIDED).ainvoke(
        {"history": list(retriever.catalogue.ids[:6]), "message": "etwas Lustiges"}
    )
    assert output["status"] == "finished"
    assert "the phrases on offer are not those of the message" in caplog.text
    assert "no words today" in caplog.text
    assert offered(server)
