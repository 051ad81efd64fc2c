"""The rules of a recommender: each is a function whose docstring is the rule, and that raises AssertionError."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deeprec.trm_tool.catalogue.filters import Condition
from deeprec.trm_tool.errors import ConfigError, UnknownItemError
from deeprec.trm_tool.recommender import (
    BatchRecommender,
    PhraseSimilarity,
    Query,
    RecommenderIdentity,
    Retrieved,
    ScoredItem,
    takes_min_cosine,
    takes_words,
)
from deeprec.trm_tool.testing.checked_recommender import CheckedRecommender, few

ABSENT_ID = "an id that no catalogue has \N{SNOWMAN}"
ABSENT_ATTRIBUTE = "an attribute that no catalogue has \N{SNOWMAN}"
MAX_SAMPLE = 25
"""Items that are looked at one by one, and items of a long history."""


def has_the_interface(subject: CheckedRecommender) -> None:
    """It has a whole `catalogue`, `identity` and `retrieve(history, preference, *, k, trust, exclude, where)`."""
    for name in ("catalogue", "identity", "retrieve"):
        assert hasattr(subject.recommender, name), f"it has no {name}"
    for name in (
        "ids",
        "removed",
        "attribute_kinds",
        "item",
        "summary",
        "phrases",
        "phrases_of",
        "__contains__",
        "__len__",
    ):
        assert hasattr(subject.recommender.catalogue, name), f"its catalogue has no {name}"
    try:
        call = {"k": 1, "trust": None, "exclude": (), "where": None}
        inspect.signature(subject.recommender.retrieve).bind([], None, **call)
        inspect.signature(subject.recommender.retrieve).bind([], k=1)
    except TypeError as error:
        raise AssertionError(f"retrieve cannot be called so: {error}") from error


def describes_its_catalogue(subject: CheckedRecommender) -> None:
    """Its catalogue has distinct ids, knows each of them, describes items in one line and refuses unknown ids."""
    catalogue = subject.recommender.catalogue
    ids = list(catalogue.ids)
    assert all(isinstance(item_id, str) for item_id in ids), "an id is not text"
    assert len(set(ids)) == len(ids) == len(catalogue), (
        f"{len(ids)} ids, {len(set(ids))} distinct, len {len(catalogue)}"
    )
    assert set(catalogue.removed) <= set(ids), "an id of `removed` is not in `ids`"
    for item_id in ids[:MAX_SAMPLE]:
        assert item_id in catalogue, f"{item_id!r} is in `ids`, and `in` denies it"
        assert catalogue.item(item_id).id == item_id, f"item({item_id!r}) has the id {catalogue.item(item_id).id!r}"
        line = catalogue.summary(item_id, 40)
        assert 0 < len(line) <= 40, f"summary({item_id!r}, 40) has {len(line)} characters"
        assert len(line.splitlines()) == 1, f"summary({item_id!r}, 40) is {line!r}"
        phrases = list(catalogue.phrases_of(item_id))
        assert all(isinstance(phrase, str) for phrase in phrases), f"phrases_of({item_id!r}) is {phrases!r}"
    for phrase, true_of in list(catalogue.phrases(1).items())[:MAX_SAMPLE]:
        assert set(true_of) <= set(ids), f"phrases(1)[{phrase!r}] has an id that `ids` lacks"
    assert ABSENT_ID not in catalogue, f"{ABSENT_ID!r} is in the catalogue, by `in`"
    _raises(UnknownItemError, f"item({ABSENT_ID!r})", catalogue.item, ABSENT_ID)


def has_an_identity(subject: CheckedRecommender) -> None:
    """Its identity is filled, and the same before and after retrievals."""
    before = subject.recommender.identity
    assert isinstance(before, RecommenderIdentity), f"identity is a {type(before).__name__}, not a RecommenderIdentity"
    assert isinstance(before.fingerprint, str), f"fingerprint is {before.fingerprint!r}"
    assert before.fingerprint.strip(), "fingerprint is empty"
    assert before.dataset_fingerprint is None or before.dataset_fingerprint.strip(), "dataset_fingerprint is empty"
    assert before.holdout is None or before.holdout >= 0, f"holdout is {before.holdout}"
    subject.retrieve()
    assert subject.recommender.identity == before, f"identity was {before}, and is {subject.recommender.identity}"


def answers_with_retrieved_items(subject: CheckedRecommender) -> None:
    """Every answer is a `Retrieved` of `ScoredItem`, and a usual one is not empty."""
    for found in subject.answers():
        assert isinstance(found, Retrieved), f"{subject.call} gave a {type(found).__name__}"
        assert all(isinstance(item, ScoredItem) for item in found), f"{subject.call} holds {_types(found)}"
        assert found, f"{subject.call} gave no item"


def items_of_the_catalogue_once(subject: CheckedRecommender) -> None:
    """Every id that comes back is in the catalogue, was not removed, and stands once in its list."""
    catalogue = subject.recommender.catalogue
    for found in subject.answers():
        ids = [item.id for item in found]
        strange = [item_id for item_id in ids if item_id not in catalogue]
        assert not strange, f"{subject.call} gave {few(strange)}, which the catalogue lacks"
        assert len(set(ids)) == len(ids), f"{subject.call} repeats an item: {few(ids)}"
        removed = [item_id for item_id in ids if item_id in catalogue.removed]
        assert not removed, f"{subject.call} gave removed items: {few(removed)}"


def best_first(subject: CheckedRecommender) -> None:
    """Scores never rise from one position to the next."""
    for found in subject.answers():
        for position in range(1, len(found)):
            above, below = found[position - 1].score, found[position].score
            assert above >= below, f"{subject.call} gave {above} at position {position} and {below} after it"


def finite_plain_scores(subject: CheckedRecommender) -> None:
    """Every score is a plain, finite float, which any checkpointer and JSON can keep."""
    for found in subject.answers():
        for item in found:
            assert type(item.score) is float, f"{subject.call} gave a score of type {type(item.score).__name__}"
            assert math.isfinite(item.score), f"{subject.call} gave the score {item.score} to {item.id!r}"


def at_most_k(subject: CheckedRecommender) -> None:
    """No more than `k` items come back, also when `k` is 1 or above the size of the catalogue."""
    size = len(subject.recommender.catalogue)
    for k in (1, subject.k, size + 10):
        found = subject.retrieve(k=k)
        assert len(found) <= k, f"{subject.call} gave {len(found)} items"


def history_does_not_come_back(subject: CheckedRecommender) -> None:
    """Items of the history are masked, those that fit best among them."""
    top = subject.ids()
    found = subject.ids(top)
    assert not set(found) & set(top), f"{subject.call} gave {few([i for i in found if i in top])} of the history"


def excluded_items_do_not_come_back(subject: CheckedRecommender) -> None:
    """Items of `exclude` are masked; what does not come first otherwise takes their positions."""
    some = subject.available()[:2]
    top = subject.ids(some, subject.words())
    for exclude in (top, set(top)):
        found = subject.ids(some, subject.words(), exclude=exclude)
        assert not set(found) & set(top), f"{subject.call} gave {few([i for i in found if i in top])} of exclude"


def any_history_is_read(subject: CheckedRecommender) -> None:
    """A history may be empty, long, a list or a tuple, repeat items and hold removed ones; it is left as it was."""
    catalogue, available = subject.recommender.catalogue, subject.available()
    histories = [[], available[:1] * 3, available[: min(MAX_SAMPLE, len(available) - subject.k)] * 8]
    histories += [list(catalogue.removed)[:3]] if catalogue.removed else []
    for history in histories:
        given = list(history)
        assert subject.retrieve(given), f"{subject.call} gave no item"
        assert given == history, f"{subject.call} changed the list of the history"
        assert subject.ids(tuple(history)) == subject.ids(history), f"{subject.call}: a list gives another answer"


def no_preference_is_none_or_empty(subject: CheckedRecommender) -> None:
    """None and an empty text are the same preference: none."""
    some = subject.available()[:3]
    none, empty = subject.ids(some, None), subject.ids(some, "")
    assert none == empty, f"preference None gave {few(none)}, and an empty text {few(empty)}"


def words_are_optional(subject: CheckedRecommender) -> None:
    """`words` may be left out of `retrieve`; where it is there, None, an empty text and emoji are no words, and it has
    a `words_trust` from 0 to 1."""
    if not takes_words(subject.recommender):
        return
    some = subject.available()[:3]
    none = subject.ids(some, words_trust=None)
    for words in (None, "", "\N{POPCORN}\N{GHOST}"):
        found = subject.ids(some, words=words)
        assert found == none, f"{subject.call} gave {few(found)}, without words {few(none)}"
    both = subject.retrieve(some, subject.words(), words=subject.words(), words_trust=1.0)
    assert both, f"{subject.call} gave no item"
    for trust in (-0.1, 1.5, math.nan):
        _raises(ConfigError, f"words_trust={trust}", subject.retrieve, words=subject.words(), words_trust=trust)


def unknown_items_are_refused(subject: CheckedRecommender) -> None:
    """An id of `history` or `exclude` that was never in the catalogue raises UnknownItemError, or is skipped and named
    in `unknown_items`."""
    for name in ("history", "exclude"):
        absent = [ABSENT_ID]
        try:
            found = subject.retrieve(absent) if name == "history" else subject.retrieve(exclude=absent)
        except UnknownItemError:
            continue
        except Exception as error:
            raise AssertionError(
                f"an unknown id in {name} raised {type(error).__name__} ({error}), not UnknownItemError"
            ) from error
        named = found.unknown_items
        assert ABSENT_ID in named, f"an unknown id in {name} raised nothing, and unknown_items is {named!r}"


def settings_are_checked(subject: CheckedRecommender) -> None:
    """`k` below 1 and a `trust` that is not from 0 to 1 raise ConfigError; 0 and 1 are allowed."""
    for k in (0, -1):
        _raises(ConfigError, f"k={k}", subject.retrieve, k=k)
    for trust in (-0.1, 1.5, math.nan):
        _raises(ConfigError, f"trust={trust}", subject.retrieve, trust=trust)
    for trust in (0, 1.0):
        subject.retrieve(subject.available()[:2], subject.words(), trust=trust)


def unknown_attributes_are_reported(subject: CheckedRecommender) -> None:
    """A constraint on an attribute that the catalogue lacks is named in `unenforced`, and does not raise."""
    found = subject.retrieve(where={ABSENT_ATTRIBUTE: {"in": ["x"]}})
    assert ABSENT_ATTRIBUTE in found.unenforced, f"{subject.call} has unenforced={found.unenforced!r}"


def known_attributes_are_obeyed(subject: CheckedRecommender) -> None:
    """A constraint on an attribute of the catalogue holds for every item, or is named in `unenforced`."""
    catalogue = subject.recommender.catalogue
    for name, condition in _conditions(subject):
        found = subject.retrieve(where={name: condition}, k=MAX_SAMPLE)
        if name in found.unenforced:
            continue
        for item in found:
            value = catalogue.item(item.id).attributes.get(name)
            assert _obeys(value, condition), f"{subject.call} gave {item.id!r}, whose {name} is {value!r}"


def same_answer_twice(subject: CheckedRecommender) -> None:
    """The same query gives the same ids and scores as long as the identity is the same."""
    some = subject.available()[:3]
    first, second = list(subject.retrieve(some, subject.words())), list(subject.retrieve(some, subject.words()))
    assert first == second, f"{subject.call} gave {few(first)}, then {few(second)}"


def calls_at_the_same_time(subject: CheckedRecommender) -> None:
    """Calls from several threads (of several tasks, where it is async) give what they give one after another."""
    queries = [([item_id], subject.words()) for item_id in subject.available()[:4]] * 4
    alone = [subject.ids(history, words) for history, words in queries[:4]] * 4
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda query: subject.ids(*query), queries))
    wrong = [position for position in range(len(queries)) if alone[position] != together[position]]
    assert not wrong, f"the query {queries[wrong[0]]!r} gave {few(together[wrong[0]])}, alone {few(alone[wrong[0]])}"


def batches_agree(subject: CheckedRecommender) -> None:
    """`retrieve_batch` and `ranks_of`, if it has them, agree with `retrieve`."""
    recommender = subject.recommender
    if not isinstance(recommender, BatchRecommender):
        return
    queries = [Query(history=[item_id], preference=subject.words()) for item_id in subject.available()[:3]]
    for query, found in zip(queries, recommender.retrieve_batch(queries, k=subject.k), strict=True):
        single = subject.ids(query.history, query.preference)
        assert [item.id for item in found] == single, f"{subject.call} gave {few(single)}, in a batch {few(found)}"
        ranks = [int(rank) for rank in recommender.ranks_of(single, [query] * len(single))]
        assert ranks == list(range(1, len(single) + 1)), f"{subject.call}: ranks_of gave {ranks}"


def closest_phrases_are_known(subject: CheckedRecommender) -> None:
    """`closest_phrases`, if it has it, gives at most `n` distinct phrases of the catalogue, the same ones for the same
    text, and none for a text without words. A `min_cosine` that it takes only leaves phrases out."""
    if not isinstance(subject.recommender, PhraseSimilarity):
        return
    known = subject.recommender.catalogue.phrases(1)
    for text in (subject.words(), f"nothing like {subject.words()}, please", "something good " * 500):
        for n in (1, subject.k, len(known) + 10):
            found = subject.closest_phrases(text, n)
            assert isinstance(found, Sequence), f"{subject.call} gave a {type(found).__name__}"
            assert not isinstance(found, str), f"{subject.call} gave the text {found[:60]!r}"
            assert len(found) <= n, f"{subject.call} gave {len(found)} phrases"
            assert len(set(found)) == len(found), f"{subject.call} repeats a phrase: {few(found)}"
            strange = [phrase for phrase in found if phrase not in known]
            assert not strange, f"{subject.call} gave {few(strange)}, which the catalogue lacks"
            again = subject.closest_phrases(text, n)
            assert list(again) == list(found), f"{subject.call} gave {few(found)}, then {few(again)}"
    if takes_min_cosine(subject.recommender):
        every = list(subject.closest_phrases(subject.words(), len(known)))
        for cosine in (-1.0, 0.3, 0.9):
            found = subject.closest_phrases(subject.words(), len(known), min_cosine=cosine)
            close = set(found)
            assert list(found) == [phrase for phrase in every if phrase in close], (
                f"{subject.call} gave {few(found)}, without min_cosine {few(every)}"
            )
    for text in ("", " \n", "?!", "\N{POPCORN}\N{GHOST}"):
        found = subject.closest_phrases(text, subject.k)
        assert list(found) == [], f"{subject.call} gave {few(found)}"


def _raises(wanted: type[Exception], what: str, call: Callable[..., object], *arguments: Any, **options: Any) -> None:
    try:
        call(*arguments, **options)
    except wanted:
        return
    except Exception as error:
        raise AssertionError(f"{what} raised {type(error).__name__} ({error}), not {wanted.__name__}") from error
    raise AssertionError(f"{what} raised nothing, where {wanted.__name__} belongs")


def _conditions(subject: CheckedRecommender) -> Iterator[tuple[str, Condition]]:
    """Constraints that the best item without any fails, and that some other item passes."""
    catalogue = subject.recommender.catalogue
    items = [catalogue.item(item_id) for item_id in subject.available()]
    [top] = subject.retrieve(k=1)
    first = catalogue.item(top.id).attributes
    for name in catalogue.attribute_kinds:
        values = [item.attributes[name] for item in items if name in item.attributes]
        own = first.get(name)
        if isinstance(own, float):
            numbers = [value for value in values if isinstance(value, float)]
            yield from [(name, {"min": max(numbers)})] if max(numbers) > own else []
            yield from [(name, {"max": min(numbers)})] if min(numbers) < own else []
        others = [value for value in values if value != own]
        if not others:
            continue
        other = others[0][0] if isinstance(others[0], tuple) and others[0] else others[0]
        if other != () and not isinstance(other, float):
            yield name, {"in": [other]}
        if own and not isinstance(own, float):
            yield name, {"not_in": list(own) if isinstance(own, tuple) else [own]}


def _obeys(value: object, condition: Condition) -> bool:
    if "min" in condition or "max" in condition:
        low, high = condition.get("min", -math.inf), condition.get("max", math.inf)
        return isinstance(value, float) and bool(low <= value <= high)
    values = {
        str(part).casefold() for part in (value if isinstance(value, tuple) else () if value is None else (value,))
    }
    listed = {str(part).casefold() for part in condition.get("in", condition.get("not_in"))}
    return bool(values & listed) == ("in" in condition)


def _types(found: Sequence[object]) -> str:
    return ", ".join(sorted({type(item).__name__ for item in found}))


CHECKS: tuple[Callable[[CheckedRecommender], None], ...] = (
    has_the_interface,
    describes_its_catalogue,
    has_an_identity,
    answers_with_retrieved_items,
    items_of_the_catalogue_once,
    best_first,
    finite_plain_scores,
    at_most_k,
    history_does_not_come_back,
    excluded_items_do_not_come_back,
    any_history_is_read,
    no_preference_is_none_or_empty,
    words_are_optional,
    unknown_items_are_refused,
    settings_are_checked,
    unknown_attributes_are_reported,
    known_attributes_are_obeyed,
    same_answer_twice,
    calls_at_the_same_time,
    batches_agree,
    closest_phrases_are_known,
)
RULES: Mapping[str, str] = {check.__name__: str(check.__doc__) for check in CHECKS}
"""Name of a rule -> what it demands, in the order in which they are checked."""
