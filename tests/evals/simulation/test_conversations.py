"""Conversations with simulated people: what reaches the agent gives nothing away, and outcomes are counted by id."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent import SqlRecorder, TraceStore
from deeprec.agent.shopping import build_shopping_agent
from deeprec.evals import (
    TRAINING_PERSON_WORDS,
    AgentReply,
    ConversationOutcome,
    DrawnNeed,
    Need,
    NeedCard,
    PersonConfig,
    compare_conversations,
    find_target_leaks,
    make_all_messages_agent,
    make_graph_agent,
    make_last_message_agent,
    make_model_agent,
    measure_conversations,
    run_conversations,
)
from deeprec.trm_tool import (
    Catalogue,
    ConfigError,
    Dataset,
    Item,
    RecommenderIdentity,
    Retrieved,
    ScoreRanking,
    Where,
)

FILMS = Catalogue(
    [
        Item(id="a", title="Alpha", attributes={"genre": ("Comedy",), "price": 5.0}),
        Item(id="b", title="Beta", attributes={"genre": ("Comedy",), "price": 50.0}),
        Item(id="c", title="Gamma", attributes={"genre": ("Horror",), "price": 5.0}),
        Item(id="gone", title="Delta", attributes={"genre": ("Comedy",), "price": 5.0}),
    ],
    {"genre": "tags", "price": "number"},
    removed=["gone"],
)
CHEAP = Need("price", "at_most", 20.0, "price")
COMEDY = Need("genre", "is", "comedy", "tag", "Comedy")
CHEAP_COMEDY = DrawnNeed(card=NeedCard((CHEAP, COMEDY)), person="u1", history=("c",), target="a")


class Scripted:
    """Gives its replies in turn, the last one again and again, and keeps what it was given."""

    def __init__(self, *replies: AgentReply) -> None:
        self.replies, self.seen = replies, list[tuple[str, Sequence[str], list[str]]]()

    async def __call__(self, messages: Sequence[dict[str, str]], *, thread: str, history: Sequence[str]) -> AgentReply:
        said = [message["content"] for message in messages if message["role"] == "user"]
        self.seen.append((thread, history, said))
        return self.replies[min(len(said), len(self.replies)) - 1]


class RandomLists:
    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue, self.rng = catalogue, np.random.default_rng(0)

    async def __call__(self, messages: Sequence[dict[str, str]], **_: Any) -> AgentReply:
        rows = self.rng.choice(len(self.catalogue), size=5, replace=False)
        return AgentReply(text="These?", items=[self.catalogue.ids[row] for row in rows])


class WordSearch:
    """A search engine in small: items by the rarity of the words that their texts share with the query."""

    identity = RecommenderIdentity(fingerprint="word-search")

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue, self.ranking = catalogue, ScoreRanking(catalogue)
        self.texts = [set(words_of(item.text)) for item in catalogue]
        counts = Counter(word for text in self.texts for word in text)
        self.weights = {word: math.log(len(catalogue) / count) for word, count in counts.items()}

    def score(self, text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        query = set(words_of(text))
        return np.array([sum(self.weights[word] for word in query & own) for own in self.texts])

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        return self.ranking.best(self.score(preference or ""), history, k=k, trust=trust, exclude=exclude, where=where)


def words_of(text: str) -> list[str]:
    return [word.strip(".,:;'") for word in text.lower().split()]


class CardSearch:
    """Shows items that fit as much of the card as any: what an agent could do that understood everything."""

    def __init__(self, catalogue: Catalogue, needs: Sequence[DrawnNeed]) -> None:
        self.catalogue, self.needs = catalogue, needs

    async def __call__(self, messages: Sequence[dict[str, str]], *, thread: str, **_: Any) -> AgentReply:
        card = self.needs[int(thread.rpartition("-")[2])].card
        best = sorted(self.catalogue, key=lambda item: -card.share_met(item.attributes))[:5]
        return AgentReply(text="These?", items=[item.id for item in best])


async def test_what_reaches_the_agent_gives_no_target_away(shop: Dataset, needs: list[DrawnNeed]) -> None:
    for words in ({}, {"words": TRAINING_PERSON_WORDS}):
        agent = RandomLists(shop.catalogue)
        heard: dict[str, list[str]] = {}

        async def listen(
            messages: Sequence[dict[str, str]], *, thread: str, history: Sequence[str], agent: RandomLists = agent
        ) -> AgentReply:
            heard[thread] = [message["content"] for message in messages if message["role"] == "user"]  # noqa: B023
            return await agent(messages)

        outcomes = await run_conversations(listen, needs, shop.catalogue, **words)  # type: ignore[arg-type]
        assert sum(map(len, heard.values())) > 2 * len(needs)
        for number, drawn in enumerate(needs):
            target = shop.catalogue.item(drawn.target)
            for text in heard[f"simulated-0-{number}"]:
                assert target.title.lower() not in text.lower()
                assert find_target_leaks(text, target, drawn.card) == ()
        assert [outcome.leaks for outcome in outcomes] == [()] * len(needs)


async def test_another_target_with_the_same_card_makes_the_same_words(shop: Dataset, needs: list[DrawnNeed]) -> None:
    drawn = next(drawn for drawn in needs if len(drawn.card.needs) >= 3)
    other = next(i.id for i in shop.catalogue if drawn.card.fits(i.attributes) and i.id != drawn.target)
    misses = [item.id for item in shop.catalogue if drawn.card.share_met(item.attributes) < 1][:5]
    heard = []
    for twin in (drawn, replace(drawn, target=other, person="another", history=())):
        agent = Scripted(AgentReply(text="And?"), AgentReply(text="These?", items=misses))
        [outcome] = await run_conversations(agent, [twin], shop.catalogue)
        heard.append("\n".join(message["content"] for message in outcome.messages).encode())
    assert heard[0] == heard[1]
    assert heard[0].count(b"\n") == 10


async def test_a_search_for_a_persons_words_finds_the_target_no_better_than_one_for_the_card(
    shop: Dataset, needs: list[DrawnNeed]
) -> None:
    agent = Scripted(AgentReply(text="Tell me more"))
    outcomes = await run_conversations(agent, needs, shop.catalogue)
    engine = WordSearch(shop.catalogue)

    def reciprocal(text: str, target: str) -> float:
        scores = engine.score(text)
        own = scores[shop.catalogue.row(target)]
        return 1 / (1 + (scores > own).sum() + ((scores == own).sum() - 1) / 2)  # ties share their ranks

    by_words = [
        reciprocal(" ".join(m["content"] for m in outcome.messages if m["role"] == "user"), drawn.target)
        for outcome, drawn in zip(outcomes, needs, strict=True)
    ]
    by_card = [reciprocal(drawn.card.preference, drawn.target) for drawn in needs]
    by_title = [reciprocal(shop.catalogue.item(drawn.target).title, drawn.target) for drawn in needs]
    assert np.mean(by_words) <= np.mean(by_card)
    assert np.mean(by_title) > 2 * np.mean(by_card)  # the measure sees a leak


async def test_random_lists_please_less_than_lists_for_the_card(shop: Dataset, needs: list[DrawnNeed]) -> None:
    catalogue = shop.catalogue
    at_random = await run_conversations(RandomLists(catalogue), needs, catalogue)
    by_card = await run_conversations(CardSearch(catalogue, needs), needs, catalogue)
    lower = compare_conversations(by_card, at_random)
    assert lower["satisfaction"].low > 0.2
    assert lower["success"].low > 0.2
    assert measure_conversations(by_card)["success"].mean == 1
    assert measure_conversations(by_card)["turns_to_success"].mean == 1


async def test_an_outcome_counts_by_id_what_was_shown() -> None:
    agent = Scripted(
        AgentReply(text="May it be old?", asks="age"),
        AgentReply(items=["b", "c", "gone", "Made Up"]),  # b breaks the price, c the genre, which is no constraint
        AgentReply(),
        AgentReply(text="Here", items=["a", "b"]),
    )
    [outcome] = await run_conversations(agent, [CHEAP_COMEDY], FILMS)
    assert (outcome.accepted, outcome.replies, outcome.found_target) == ("a", 4, True)
    assert (outcome.questions, outcome.non_empty, outcome.shown) == (1, 3, 6)
    assert (outcome.violations, outcome.ungrounded) == (2, 2)
    assert outcome.satisfaction == ((0.5 + 0.5) / 2 + (1 + 0.5) / 2) / 2
    assert outcome.error is None
    threads, histories, _ = zip(*agent.seen, strict=True)
    assert set(threads) == {"simulated-0-0"}
    assert set(histories) == {("c",)}
    assert outcome.measures()["turns_to_success"] == 4


async def test_a_constraint_counts_from_the_moment_it_was_said() -> None:
    unsaid = replace(CHEAP_COMEDY, card=NeedCard((COMEDY, CHEAP)))
    agent = Scripted(AgentReply(text="This?", items=["b"]))
    [outcome] = await run_conversations(agent, [unsaid], FILMS)
    assert outcome.accepted is None
    assert outcome.violations == 3  # the first list cannot know the price, the second one knows "cheaper" alone
    assert math.isnan(outcome.measures()["turns_to_success"])


async def test_an_agent_that_fails_loses_one_conversation() -> None:
    async def fails_once(messages: Sequence[dict[str, str]], *, thread: str, **_: Any) -> AgentReply:
        if thread.endswith("0"):
            raise RuntimeError("no connection")
        return AgentReply(items=["a"])

    outcomes = await run_conversations(fails_once, [CHEAP_COMEDY, CHEAP_COMEDY], FILMS)
    assert [outcome.error for outcome in outcomes] == ["RuntimeError: no connection", None]
    assert [outcome.measures()["success"] for outcome in outcomes] == [0, 1]
    assert measure_conversations(outcomes)["agent_errors"].mean == 0.5


@pytest.mark.parametrize(
    ("held", "broken"),
    [
        ({"genre": {"in": ["Comedy"]}}, 1),
        ({"genre": {"not_in": ["horror"]}}, 1),
        ({"price": {"max": 10.0}}, 1),
        ({"price": {"min": 5.0, "max": 50.0}}, 0),
        ({"weight": {"max": 1.0}}, 3),
        ({"weight": {"not_in": ["heavy"]}}, 0),
    ],
)
async def test_items_that_break_what_the_agent_had_understood_are_counted(held: Where, broken: int) -> None:
    agent = Scripted(AgentReply(items=["a", "b", "c"], held=[held]))
    [outcome] = await run_conversations(agent, [CHEAP_COMEDY], FILMS, config=PersonConfig(patience=1))
    assert outcome.broken == broken


async def test_a_leak_is_counted_as_the_simulators_own_error() -> None:
    named = Need("genre", "is", "alpha", "tag", "Alpha")  # a card that no drawing makes: it names its target
    agent = Scripted(AgentReply(text="Hm"))
    [outcome] = await run_conversations(agent, [replace(CHEAP_COMEDY, card=NeedCard((named,)))], FILMS)
    assert outcome.leaks == ("alpha",)
    assert measure_conversations([outcome])["leaks"].mean == 1
    assert outcome.error is None


async def test_comparisons_pair_the_same_people() -> None:
    short = PersonConfig(patience=2)
    needs = [replace(CHEAP_COMEDY, person=f"u{number}") for number in range(4)]
    good = await run_conversations(Scripted(AgentReply(items=["a"])), needs, FILMS, config=short)
    bad = await run_conversations(Scripted(AgentReply(items=["c"])), needs, FILMS, config=short)
    found = compare_conversations(good, bad)
    assert (found["success"].mean, found["success"].n) == (1, 4)
    assert found["turns_to_success"].n == 0
    with pytest.raises(ValueError, match="cannot be paired"):
        compare_conversations(good, bad[:3])


async def test_at_least_one_conversation_is_held_at_a_time() -> None:
    with pytest.raises(ConfigError, match="at_once is 0"):
        await run_conversations(Scripted(AgentReply()), [CHEAP_COMEDY], FILMS, at_once=0)


def said(*texts: str) -> list[dict[str, str]]:
    messages = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "war"}]
    return messages[:-1]


async def test_plain_retrieval_reads_the_last_message_or_all_of_them() -> None:
    items = [Item(id=word, title=word, text=word) for word in ("drama", "comedy", "war", "horror")]
    recommender = WordSearch(Catalogue(items, {}))
    messages = said("drama please", "comedy please")
    last = await make_last_message_agent(recommender, k=1)(messages, thread="t", history=())
    every = await make_all_messages_agent(recommender, k=2)(messages, thread="t", history=("horror", "unknown"))
    assert list(last.items) == ["comedy"]
    assert set(every.items) == {"drama", "comedy"}
    assert last.text == "comedy"


async def test_plain_retrieval_may_show_each_item_once_a_conversation() -> None:
    items = [Item(id=word, title=word, text=word) for word in ("drama", "comedy", "war", "horror")]
    agent = make_all_messages_agent(WordSearch(Catalogue(items, {})), k=2, repeats=False)
    texts = [said("drama"), said("drama", "comedy")]
    lists = [list((await agent(messages, thread="t", history=())).items) for messages in texts]
    assert set(lists[0] + lists[1]) == {"drama", "comedy", "war", "horror"}
    again = await agent(said("drama"), thread="t", history=())  # a conversation that begins anew
    assert list(again.items) == lists[0]


async def test_a_shopping_agent_talks_with_simulated_people() -> None:
    agent = make_graph_agent(build_shopping_agent(None, WordSearch(FILMS), checkpointer=InMemorySaver()))
    first, second = await run_conversations(agent, [CHEAP_COMEDY, replace(CHEAP_COMEDY, person="u2")], FILMS)
    assert first.accepted is not None
    assert first.error is None
    assert first.ungrounded == 0
    assert (first.accepted, first.messages) == (second.accepted, second.messages)


async def test_simulated_conversations_are_logged_as_an_experiment(tmp_path: Path) -> None:
    with TraceStore(tmp_path / "traces.db") as store:
        saver = InMemorySaver()
        graph = build_shopping_agent(None, WordSearch(FILMS), recorder=SqlRecorder(store), checkpointer=saver)
        await run_conversations(make_graph_agent(graph), [CHEAP_COMEDY], FILMS)
        await run_conversations(make_graph_agent(graph, suite="mine"), [CHEAP_COMEDY], FILMS, seed=1)
        logged = {store.conversation(f"simulated-{seed}-0").turns[0].suite for seed in (0, 1)}
    assert logged == {"simulation", "mine"}


async def test_a_model_without_a_recommender_names_titles() -> None:
    model = FakeListChatModel(responses=["Sure:\n1. **Beta** (1999)\n2) Delta\n- Never Made\nEnjoy!", "No idea."])
    agent = make_model_agent(model, FILMS)
    reply = await agent(said("a comedy"), thread="t", history=("c", "unknown"))
    assert list(reply.items) == ["b", "Delta", "Never Made"]  # the removed item is not offered
    assert list((await agent(said("a comedy"), thread="t", history=())).items) == []


def test_no_conversations_have_no_measures() -> None:
    nothing: list[ConversationOutcome] = []
    assert measure_conversations(nothing) == {}
    assert compare_conversations(nothing, nothing) == {}
