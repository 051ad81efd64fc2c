"""Every recommender keeps the contract of `deeprec.trm_tool.testing`, and each of its rules fails when it is broken."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from time import sleep
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from deeprec.trm_tool import (
    AsyncRecommender,
    Catalogue,
    ConfigError,
    Dataset,
    Recommender,
    RecommenderIdentity,
    RecommenderUnavailableError,
    Retrieved,
    Retriever,
    ScoredItem,
    UnknownItemError,
)
from deeprec.trm_tool.testing import RULES, check_async_recommender, check_recommender
from tests.small_recommender import CoOccurrence, RemoteCoOccurrence


def co_occurrence(dataset: Dataset, kind: type[CoOccurrence] = CoOccurrence) -> CoOccurrence:
    catalogue = Catalogue(
        list(dataset.catalogue), dataset.catalogue.attribute_kinds, removed=dataset.catalogue.ids[-2:]
    )
    return kind(catalogue, [dataset.history(user, 2) for user in dataset.users])


@pytest.mark.parametrize("rule", RULES)
def test_the_trm_keeps_the_contract(retriever: Retriever, rule: str) -> None:
    recommender: Recommender = retriever
    check_recommender(recommender, rules=[rule])


def test_the_trm_keeps_the_contract_after_changes(artifact_folder: Any) -> None:
    changed = Retriever.load(artifact_folder)
    changed.remove_items(changed.catalogue.ids[:3])
    check_recommender(changed, k=8)


@pytest.mark.parametrize("rule", RULES)
def test_a_recommender_of_ones_own_keeps_the_contract(dataset: Dataset, rule: str) -> None:
    recommender: Recommender = co_occurrence(dataset)
    check_recommender(recommender, rules=[rule])


@pytest.mark.parametrize("rule", RULES)
def test_an_asynchronous_recommender_keeps_the_contract(dataset: Dataset, rule: str) -> None:
    recommender: AsyncRecommender = RemoteCoOccurrence(co_occurrence(dataset))
    check_recommender(recommender, rules=[rule])


async def test_an_asynchronous_recommender_is_checked_in_the_loop_that_it_is_bound_to(dataset: Dataset) -> None:
    class Bound(RemoteCoOccurrence):
        lock = asyncio.Lock()
        loop = asyncio.get_running_loop()

        async def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
            async with self.lock:
                assert asyncio.get_running_loop() is self.loop
                return await super().retrieve(*arguments, **options)

    await check_async_recommender(Bound(co_occurrence(dataset)))
    with pytest.raises(AssertionError, match=r"breaks 1\d of 21 rules"):
        check_recommender(Bound(co_occurrence(dataset)))  # a loop of its own


class Broken(CoOccurrence):
    """A recommender whose answers are changed before they leave it; what they are changed by breaks a rule."""

    calls = count()

    def retrieve(self, history: Sequence[str], preference: str | None = None, **options: Any) -> Retrieved:
        return self.change(super().retrieve(history, preference, **options), history, preference, options)

    def change(
        self, found: Retrieved, history: Sequence[str], preference: str | None, options: Mapping[str, Any]
    ) -> Retrieved:
        raise NotImplementedError


def changed(found: Retrieved, items: Sequence[ScoredItem]) -> Retrieved:
    return Retrieved(items, unenforced=found.unenforced, unknown_values=found.unknown_values)


class NoKeywords(CoOccurrence):
    def retrieve(self, history: Sequence[str], preference: str | None = None, k: int = 5) -> Retrieved:  # type: ignore[override]
        return super().retrieve(history, preference, k=k)


class NoPhrases(CoOccurrence):
    def __init__(self, catalogue: Catalogue, *rest: Any) -> None:
        super().__init__(catalogue, *rest)
        names = ("ids", "removed", "attribute_kinds", "item", "summary")
        self.catalogue = cast("Catalogue", SimpleNamespace(**{name: getattr(catalogue, name) for name in names}))


class LongSummaries(CoOccurrence):
    def __init__(self, catalogue: Catalogue, *rest: Any) -> None:
        class Wordy(Catalogue):
            def summary(self, item_id: str, max_chars: int = 80) -> str:
                return super().summary(item_id, 500).ljust(100, ".")

        super().__init__(Wordy(list(catalogue), catalogue.attribute_kinds), *rest)


class Renamed(CoOccurrence):
    def retrieve(self, *arguments: Any, **options: Any) -> Retrieved:
        found = super().retrieve(*arguments, **options)
        self.identity = RecommenderIdentity(fingerprint=self.identity.fingerprint + "x")
        return found


class Unnamed(CoOccurrence):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, fingerprint=" ")


class PlainLists(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return cast("Retrieved", list(found))


class NeverAnything(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return changed(found, ())


class Repeats(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return changed(found, [found[0], *found[:-1]] if len(found) > 1 else found)


class RemovedToo(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return changed(found, [*found[:-1], ScoredItem(min(self.catalogue.removed), -9.0)])


class Invents(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return changed(found, [*found[:-1], ScoredItem("The Matrix (1999)", -9.0)])


class WorstFirst(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return changed(found, found[::-1])


class NumPyScores(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return changed(found, [ScoredItem(item.id, np.float64(item.score)) for item in found])


class EndlessScores(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return changed(found, [ScoredItem(found[0].id, float("inf")), *found[1:]])


class OneMore(Broken):
    def change(self, found: Retrieved, history: Any, preference: Any, options: Mapping[str, Any]) -> Retrieved:
        return CoOccurrence.retrieve(self, history, preference, **{**options, "k": options["k"] + 1})


class SeenToo(CoOccurrence):
    def retrieve(self, history: Sequence[str], *rest: Any, **options: Any) -> Retrieved:
        self.catalogue.rows(history)
        return super().retrieve([], *rest, **options)


class ExcludedToo(CoOccurrence):
    def retrieve(self, *arguments: Any, exclude: Sequence[str] = (), **options: Any) -> Retrieved:
        self.catalogue.rows(list(exclude))
        return super().retrieve(*arguments, **options)


class NeedsHistory(CoOccurrence):
    def retrieve(self, history: Sequence[str], *rest: Any, **options: Any) -> Retrieved:
        return super().retrieve([history[0], *history], *rest, **options)


class Appends(CoOccurrence):
    def retrieve(self, history: Sequence[str], *rest: Any, **options: Any) -> Retrieved:
        found = super().retrieve(history, *rest, **options)
        if isinstance(history, list):
            history.append(found[0].id)
        return found


class ReadsEmptyText(Broken):
    def change(self, found: Retrieved, history: Any, preference: str | None, options: Any) -> Retrieved:
        return changed(found, found[:1] if preference == "" else found)


class ReadsEmoji(CoOccurrence):
    def retrieve(self, *arguments: Any, words: str | None = None, words_trust: Any = None, **options: Any) -> Retrieved:
        found = super().retrieve(*arguments, **options)
        return changed(found, found[:1] if words == "\N{POPCORN}\N{GHOST}" else found)


class KeyErrors(CoOccurrence):
    def retrieve(self, history: Sequence[str], *rest: Any, **options: Any) -> Retrieved:
        try:
            return super().retrieve(history, *rest, **options)
        except UnknownItemError as error:
            raise KeyError("snowman") from error


class LenientExclude(CoOccurrence):
    def retrieve(self, *arguments: Any, exclude: Sequence[str] = (), **options: Any) -> Retrieved:
        return super().retrieve(*arguments, exclude=[item for item in exclude if item in self.catalogue], **options)


class NegativeK(CoOccurrence):
    def retrieve(self, *arguments: Any, k: int, **options: Any) -> Retrieved:
        return super().retrieve(*arguments, k=k, **options) if k > 0 else Retrieved()


class AnyTrust(CoOccurrence):
    def retrieve(self, *arguments: Any, trust: float | None = None, **options: Any) -> Retrieved:
        return super().retrieve(*arguments, **options)


class DropsConstraints(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        return Retrieved(found)


class IgnoresConstraints(CoOccurrence):
    def retrieve(self, *arguments: Any, where: Any = None, **options: Any) -> Retrieved:
        held = super().retrieve(*arguments, where=where, **options)
        return Retrieved(super().retrieve(*arguments, **options), unenforced=held.unenforced)


class Random(Broken):
    def change(self, found: Retrieved, *_: Any) -> Retrieved:
        shift = next(self.calls)
        return changed(found, [ScoredItem(item.id, item.score + shift) for item in found])


class SharedState(CoOccurrence):
    """It keeps the query in itself between two steps, as if nobody else asked meanwhile."""

    def retrieve(self, history: Sequence[str], *rest: Any, **options: Any) -> Retrieved:
        self.history = history
        sleep(0.02)
        return super().retrieve(self.history, *rest, **options)


class WrongBatches(CoOccurrence):
    def retrieve_batch(self, queries: Sequence[Any], *, k: int) -> list[Retrieved]:
        return [self.retrieve(query.history, k=k) for query in reversed(queries)]

    def ranks_of(self, item_ids: Sequence[str], queries: Sequence[Any]) -> Any:
        return np.arange(len(item_ids)) + 1


class WrongRanks(WrongBatches):
    def retrieve_batch(self, queries: Sequence[Any], *, k: int) -> list[Retrieved]:
        return [self.retrieve(query.history, k=k) for query in queries]

    def ranks_of(self, item_ids: Sequence[str], queries: Sequence[Any]) -> Any:
        return np.arange(len(item_ids))  # from 0


class KnowsPhrases(CoOccurrence):
    """It finds the phrases whose letters a text has, the commonest first."""

    def closest_phrases(self, text: str, n: int) -> Sequence[str]:
        known = self.catalogue.phrases(1)
        ranked = sorted(known, key=lambda phrase: (-len(set(phrase) & set(text)), phrase))
        return self.answer(ranked, text, n) if any(map(str.isalnum, text)) else ()

    def answer(self, ranked: list[str], text: str, n: int) -> Sequence[str]:
        return ranked[:n]


class InventsPhrases(KnowsPhrases):
    def answer(self, ranked: list[str], text: str, n: int) -> Sequence[str]:
        return [*ranked[: n - 1], "cosy"]


class RepeatsPhrases(KnowsPhrases):
    def answer(self, ranked: list[str], text: str, n: int) -> Sequence[str]:
        return (ranked[:1] + ranked)[:n]


class AllPhrases(KnowsPhrases):
    def answer(self, ranked: list[str], text: str, n: int) -> Sequence[str]:
        return ranked


class ShufflesPhrases(KnowsPhrases):
    calls = count()

    def answer(self, ranked: list[str], text: str, n: int) -> Sequence[str]:
        return ranked[::-1][:n] if next(self.calls) % 2 else ranked[:n]


class JoinsPhrases(KnowsPhrases):
    def answer(self, ranked: list[str], text: str, n: int) -> Sequence[str]:
        return "; ".join(ranked[:n])


class HearsEmoji(KnowsPhrases):
    def closest_phrases(self, text: str, n: int) -> Sequence[str]:
        return super().closest_phrases(text or "anything", n) if text.strip().isascii() else ["drama"]


class OtherPhrases(KnowsPhrases):
    def closest_phrases(self, text: str, n: int, *, min_cosine: float = -1.0) -> Sequence[str]:
        found = super().closest_phrases(text, n)
        return found[::-1] if min_cosine > 0 else found


BROKEN: dict[type[CoOccurrence], tuple[str, str]] = {
    NoKeywords: ("has_the_interface", "unexpected keyword argument 'trust'"),
    NoPhrases: ("has_the_interface", "its catalogue has no phrases"),
    LongSummaries: ("describes_its_catalogue", r"summary\('.*', 40\) has 100 characters"),
    Renamed: ("has_an_identity", "identity was .*counts-1"),
    Unnamed: ("has_an_identity", "fingerprint is empty"),
    PlainLists: ("answers_with_retrieved_items", "gave a list"),
    NeverAnything: ("answers_with_retrieved_items", "gave no item"),
    Repeats: ("items_of_the_catalogue_once", "repeats an item"),
    RemovedToo: ("items_of_the_catalogue_once", "gave removed items"),
    Invents: ("items_of_the_catalogue_once", r"gave \['The Matrix \(1999\)'\], which the catalogue lacks"),
    WorstFirst: ("best_first", r"at position \d and"),
    NumPyScores: ("finite_plain_scores", "gave a score of type float64"),
    EndlessScores: ("finite_plain_scores", "gave the score inf"),
    OneMore: ("at_most_k", "k=1.* gave 2 items"),
    SeenToo: ("history_does_not_come_back", "of the history"),
    ExcludedToo: ("excluded_items_do_not_come_back", "of exclude"),
    NeedsHistory: ("any_history_is_read", "raised IndexError"),
    Appends: ("any_history_is_read", "changed the list"),
    ReadsEmptyText: ("no_preference_is_none_or_empty", "and an empty text"),
    ReadsEmoji: ("words_are_optional", "words='\N{POPCORN}\N{GHOST}'.*without words"),
    KeyErrors: ("unknown_items_are_refused", "history raised KeyError .*, not UnknownItemError"),
    LenientExclude: ("unknown_items_are_refused", "exclude raised nothing"),
    NegativeK: ("settings_are_checked", "k=0 raised nothing"),
    AnyTrust: ("settings_are_checked", "trust=-0.1 raised nothing"),
    DropsConstraints: ("unknown_attributes_are_reported", r"unenforced=\(\)"),
    IgnoresConstraints: ("known_attributes_are_obeyed", "whose .* is"),
    Random: ("same_answer_twice", "gave .*, then"),
    SharedState: ("calls_at_the_same_time", "the query .* gave .*, alone"),
    WrongBatches: ("batches_agree", "in a batch"),
    WrongRanks: ("batches_agree", r"ranks_of gave \[0, 1"),
    InventsPhrases: ("closest_phrases_are_known", r"gave \['cosy'\], which the catalogue lacks"),
    RepeatsPhrases: ("closest_phrases_are_known", "repeats a phrase"),
    AllPhrases: ("closest_phrases_are_known", r"1\) gave \d+ phrases"),
    ShufflesPhrases: ("closest_phrases_are_known", "gave .*, then"),
    JoinsPhrases: ("closest_phrases_are_known", "gave the text"),
    OtherPhrases: ("closest_phrases_are_known", "min_cosine=0.3.* gave .*, without min_cosine"),
    HearsEmoji: ("closest_phrases_are_known", "closest_phrases.*gave \\['"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_recommender_is_named_with_its_rule_and_what_was_seen(
    dataset: Dataset, kind: type[CoOccurrence]
) -> None:
    rule, seen = BROKEN[kind]
    recommender = co_occurrence(dataset, kind)
    with pytest.raises(AssertionError, match=rf"(?s)^{kind.__name__} breaks 1 of .*\n  {rule}: .*Seen: .*{seen}"):
        check_recommender(recommender, rules=[rule])
    with pytest.raises(AssertionError, match=rf"\n  {rule}: "):
        check_recommender(recommender)


def test_phrases_that_keep_the_contract_do_so_in_a_coroutine_as_well(dataset: Dataset) -> None:
    class Remote(RemoteCoOccurrence):
        async def closest_phrases(self, text: str, n: int) -> Sequence[str]:
            return cast("KnowsPhrases", self.local).closest_phrases(text, n)

    own = co_occurrence(dataset, KnowsPhrases)
    check_recommender(own)
    check_recommender(Remote(own), rules=["closest_phrases_are_known"])
    with pytest.raises(AssertionError, match="which the catalogue lacks"):
        check_recommender(Remote(co_occurrence(dataset, InventsPhrases)), rules=["closest_phrases_are_known"])


def test_every_rule_has_a_recommender_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN.values()} == set(RULES)


def test_a_broken_asynchronous_recommender_is_named_as_well(dataset: Dataset) -> None:
    class Unavailable(RemoteCoOccurrence):
        async def retrieve(self, *_: Any, **options: Any) -> Retrieved:
            raise RecommenderUnavailableError("No answer in 3 s.")

    with pytest.raises(AssertionError, match=r"best_first.*raised RecommenderUnavailableError: No answer in 3 s"):
        check_recommender(Unavailable(co_occurrence(dataset)), rules=["best_first"])


def test_what_cannot_be_checked_is_a_mistake_of_the_caller(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"There is no rule 'best_frist'\. The rules are has_the_interface, "):
        check_recommender(co_occurrence(dataset), rules=["best_frist"])
    with pytest.raises(ConfigError, match="48 available items, too few to check lists of 20"):
        check_recommender(co_occurrence(dataset), k=20)


@pytest.mark.parametrize(
    "statement",
    [
        "from deeprec.trm_tool.testing import check_recommender",
        "from deeprec.trm_tool import Catalogue, Query, Recommender, Retrieved, ScoreRanking, make_retrieve_items_tool",
    ],
)
def test_a_recommender_of_ones_own_needs_neither_torch_nor_pytest(statement: str) -> None:
    script = f"{statement}\nimport sys; print(*{{'torch', 'pytest', '_pytest'}} & set(sys.modules))"
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (outcome.returncode, outcome.stdout.split()) == (0, []), outcome.stderr
