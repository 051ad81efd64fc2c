"""What a person plainly refuses or bounds holds for every list, whatever the model writes."""

import uuid
from typing import Any

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph
from deeprec.agent.graph.messages import answer_text
from deeprec.trm_tool import Catalogue, Dataset, Retrieved, Retriever, neutralise
from tests.model_scripts import LIST, SEARCH
from tests.small_recommender import CoOccurrence
from tests.tiny_server import TinyServer
from tools.listening.constraint_obedience import ScriptedProtocol


@pytest.fixture(scope="module")
def own(dataset: Dataset) -> CoOccurrence:
    return CoOccurrence(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])


async def run(own: CoOccurrence, message: str, preference: str = "drama", **request: Any) -> Any:
    config = AgentConfig(k=10, retrieve_k=20, **request.pop("settings", {}))
    graph = build_graph(None, own, protocol=ScriptedProtocol([preference]), config=config)
    return await graph.ainvoke({"history": list(own.catalogue.ids[:3]), "message": message, **request})


def shown(output: Any, catalogue: Catalogue, name: str) -> list[Any]:
    return [catalogue.item(each["item_id"]).attributes.get(name) for each in output["recommendations"]]


async def test_what_the_model_does_not_write_holds_all_the_same(own: CoOccurrence) -> None:
    message = "a drama, no horror please, and it must cost under 20 dollars"
    before = await run(own, message, settings={"enforces_words": False})
    assert any("Horror" in classes for classes in shown(before, own.catalogue, "class"))
    assert before["constraints"] == {"hard": [], "guessed": [], "unenforceable": []}

    output = await run(own, message)
    assert len(output["recommendations"]) == 10
    assert not any("Horror" in classes for classes in shown(output, own.catalogue, "class"))
    assert all(price < 20 for price in shown(output, own.catalogue, "price"))
    kept = [(each["text"], each["source"], each["words"]) for each in output["constraints"]["hard"]]
    assert kept == [
        ("not horror", "message", "no horror please"),
        ("price <= 19.5", "message", "under 20 dollars"),
    ]


@pytest.mark.parametrize(
    "message",
    ["I can't get enough of horror", "nothing beats a good horror film", "not only horror", "no shortage of horror"],
)
async def test_praise_excludes_nothing(own: CoOccurrence, message: str) -> None:
    output = await run(own, message, "horror")
    assert output["constraints"]["hard"] == []
    assert any("Horror" in classes for classes in shown(output, own.catalogue, "class"))


async def test_what_leaves_nothing_only_weighs_and_is_named(own: CoOccurrence) -> None:
    output = await run(own, "a drama, no horror, made after 2500")
    assert [each["text"] for each in output["constraints"]["hard"]] == ["not horror"]
    [guess] = output["constraints"]["guessed"]
    assert (guess["text"], guess["why"]) == ("release_year >= 2501", "no item that is left passes it")
    assert len(output["recommendations"]) == 10


@pytest.mark.parametrize(
    ("message", "hard", "named"),
    [
        (
            "a drama over 20 dollars, under 10 dollars",
            ["price >= 20.5"],
            ["No item passes both 'price >= 20.5' and 'price <= 9.5'; the first one holds."],
        ),
        (
            "only comedies, and no comedy",
            ["not comedy"],
            ["No item passes both 'not comedy' and 'only comedy'; the first one holds."],
        ),
        ("a comedy, no comedy please", ["not comedy"], ["'comedy' is asked for and refused; the refusal holds."]),
        ("a happy tragedy, no drama", ["not drama"], ["'drama' is asked for and refused; the refusal holds."]),
        ("a comedy, no drama", ["not drama"], None),
    ],
)
async def test_contradictions_are_named_and_get_a_full_list(
    dataset: Dataset, message: str, hard: list[str], named: list[str] | None
) -> None:
    class Hearing(CoOccurrence):
        def closest_phrases(self, text: str, n: int, *, min_cosine: float = 0.0) -> list[str]:
            return ["drama"][:n] if text == "a happy tragedy" else []

    own = Hearing(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
    output = await run(own, message)
    assert [each["text"] for each in output["constraints"]["hard"]] == hard
    assert output["constraints"].get("contradictions") == named
    assert (output["status"], len(output["recommendations"])) == ("finished", 10)
    assert all(neutralise(line, 200) in answer_text(output) for line in named or ())


@pytest.mark.parametrize("settings", [{}, {"weighs_missing": False}])
async def test_a_refusal_in_words_that_the_catalogue_lacks_weighs_as_the_closest_phrase(
    dataset: Dataset, settings: dict[str, bool]
) -> None:
    class Hearing(CoOccurrence):
        def closest_phrases(self, text: str, n: int, *, min_cosine: float = 0.0) -> list[str]:
            known = {"scary": ("horror", 0.7), "long": ("drama", 0.2)}
            return [phrase for phrase, cosine in [known.get(text, ("war", 0.0))] if cosine >= min_cosine][:n]

    own = Hearing(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
    output = await run(own, "an adventure, but nothing scary, and nothing long", "drama", settings=settings)
    deaf = await run(own, "an adventure, but nothing scary", "drama", settings={"enforces_words": False})
    horror = [sum("Horror" in each for each in shown(run_, own.catalogue, "class")) for run_ in (output, deaf)]
    stated = output["constraints"]
    if settings:
        assert (stated, horror[0]) == ({"hard": [], "guessed": [], "unenforceable": []}, horror[1])
        return
    assert horror[0] < horror[1]
    [guess] = stated["guessed"]
    assert (guess["text"], guess["stands_for"], guess["words"]) == ("not horror", "not scary", "nothing scary")
    assert (stated["hard"], stated["unenforceable"]) == ([], ["not scary"])


async def test_what_is_asked_for_is_not_what_a_refusal_means(dataset: Dataset) -> None:
    class Hearing(CoOccurrence):
        def closest_phrases(self, text: str, n: int, *, min_cosine: float = 0.0) -> list[str]:
            return ["horror"][:n]

    own = Hearing(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
    output = await run(own, "horror, but nothing bloody", "horror")
    assert output["constraints"] == {"hard": [], "guessed": [], "unenforceable": []}


async def test_the_model_is_shown_that_its_constraint_contradicts_what_holds(own: CoOccurrence) -> None:
    protocol = ScriptedProtocol(["drama; price <= 10; price >= 20"])
    config = AgentConfig(k=10, retrieve_k=20, enforces_words=False)
    graph = build_graph(None, own, protocol=protocol, config=config)
    request = {"history": list(own.catalogue.ids[:3]), "message": "at most 10 dollars, and at least 20 dollars"}
    output = await graph.ainvoke(request)
    [(_, remark)] = protocol.shown
    assert remark.missing == ("price >= 20 together with price <= 10",)
    assert (remark.kept, remark.weighed) == (("price <= 10",), ())
    named = ["No item passes both 'price <= 10' and 'price >= 20'; the first one holds."]
    assert output["constraints"]["contradictions"] == named


async def test_the_requests_own_constraints_come_first(own: CoOccurrence) -> None:
    output = await run(own, "only comedies", where={"class": {"in": ["Horror", "Comedy"]}, "price": {"max": 25}})
    assert [each["source"] for each in output["constraints"]["hard"]] == ["request", "request", "message"]
    assert all("Comedy" in classes for classes in shown(output, own.catalogue, "class"))
    assert all(price <= 25 for price in shown(output, own.catalogue, "price"))


async def test_what_the_graph_enforces_is_not_named_as_not_enforced(dataset: Dataset) -> None:
    class KnowsNoWhere(CoOccurrence):
        def retrieve(self, *arguments: Any, where: Any = None, **options: Any) -> Retrieved:
            return Retrieved(super().retrieve(*arguments, **options), unenforced=tuple(where or ()))

    own = KnowsNoWhere(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])
    output = await run(own, "no horror, under 20 dollars")
    assert output["unenforced"] == []
    assert not any("Horror" in classes for classes in shown(output, own.catalogue, "class"))
    assert all(price < 20 for price in shown(output, own.catalogue, "price"))
    soft = await run(own, "something nice", "only comedy")
    assert soft["unenforced"] == []  # a guess only weighs


async def test_a_preference_as_mere_text_leaves_the_words_text_too(own: CoOccurrence) -> None:
    output = await run(own, "no horror", settings={"reads_constraints": False})
    assert output["constraints"]["hard"] == []


async def test_the_list_of_a_run_whose_model_is_unavailable_obeys(
    server: TinyServer, retriever: Retriever, store: TraceStore
) -> None:
    nobody = CompletionPolicy("http://127.0.0.1:9/v1", max_retries=0)
    graph = build_graph(nobody, retriever, config=AgentConfig(k=10), recorder=SqlRecorder(store))
    history = list(retriever.catalogue.ids[:3])
    deaf = await graph.ainvoke({"history": history, "message": "horror"})
    output = await graph.ainvoke({"history": history, "message": "horror, but no horror from the 80s. No comedies."})
    assert (deaf["status"], output["status"]) == ("fallback", "fallback")
    assert any("Comedy" in classes for classes in shown(deaf, retriever.catalogue, "class"))
    assert [each["text"] for each in output["constraints"]["hard"]] == ["not comedy"]
    assert not any("Comedy" in classes for classes in shown(output, retriever.catalogue, "class"))
    assert len(output["recommendations"]) == 10


async def test_the_trace_keeps_what_held_with_each_retrieval(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever, store: TraceStore
) -> None:
    server.script = [SEARCH.format("drama"), LIST.format("2\n1")]
    graph = build_graph(policy, retriever, config=AgentConfig(k=6), recorder=SqlRecorder(store))
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:3]), "message": "a drama, no horror"})
    trace = store.run(uuid.UUID(output["run_id"]))
    [retrieval] = trace.retrievals
    assert retrieval.constraints == output["constraints"]
    assert trace.run.config["enforces_words"] is True
    found = [retriever.catalogue.item(item.id).attributes["class"] for item in retrieval.items]
    assert not any("Horror" in classes for classes in found)
