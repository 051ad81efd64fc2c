"""The interface of a recommender, which agent, evaluations, rewards and service ask for. It needs no torch.

`Retriever` implements it with the preference-aware model; a model of your own implements `Recommender` or
`AsyncRecommender`, and runs `deeprec.trm_tool.testing.check_recommender` in its tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import has_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import TypeIs

    from deeprec.trm_tool.catalogue.catalogue import AttributeKind, Item
    from deeprec.trm_tool.catalogue.filters import UnknownValue, Where


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item and its score. Scores are comparable within one retrieval only."""

    id: str
    score: float
    """A plain float, so that any checkpointer and any JSON can keep it."""


class Retrieved(list[ScoredItem]):
    """The items of one retrieval, best first, and the constraints that could not be enforced."""

    def __init__(
        self,
        items: Sequence[ScoredItem] = (),
        *,
        unenforced: tuple[str, ...] = (),
        unknown_values: tuple[UnknownValue, ...] = (),
        unknown_items: tuple[str, ...] = (),
    ) -> None:
        super().__init__(items)
        self.unenforced = unenforced
        """Attributes that `where` constrains and that the catalogue lacks."""
        self.unknown_values = unknown_values
        """Values that `where` lists and that no item has, at most ten; they were enforced all the same."""
        self.unknown_items = unknown_items
        """Ids of `history` and `exclude` that the catalogue lacks, and that were skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The arguments of one retrieval, as batched calls take them."""

    history: Sequence[str] = ()
    """Item ids, oldest first, of any person, known from training or not."""
    preference: str | None = None
    trust: float | None = None
    """How far the preference is trusted beside the history, 0 to 1; None leaves it to the recommender."""
    words: str | None = None
    """What the person wrote themselves, beside the preference that a model wrote or chose."""
    words_trust: float | None = None
    """How far the words are trusted beside the history, 0 to 1; None leaves it to the recommender."""
    exclude: Collection[str] = ()
    where: Where | None = None
    include_seen: bool = False
    """Whether items of the history may come back."""
    diversity: float = 0.0
    """How much a list avoids items that are similar to those above them, 0 to 1; 0 is the order of the scores alone.

    Values from 0.1 to 0.3 widen a list and keep it relevant; above 0.5 few items of it fit.
    """

    def __post_init__(self) -> None:
        for name in ("preference", "words"):
            text = getattr(self, name)
            if text is not None and not isinstance(text, str):
                raise ConfigError(f"{name} is {str(text)[:80]}. Give words, or None for none.")
        _check_weight("trust", 0.0 if self.trust is None else self.trust, "0 (ignore the preference) to 1 (believe it)")
        _check_weight("words_trust", 0.0 if self.words_trust is None else self.words_trust, "0 (ignore the words) to 1")
        _check_weight("diversity", self.diversity, "0 (off) to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommenderIdentity:
    """Which recommender answered: its part of a run's lineage."""

    fingerprint: str
    """Changes whenever the same query could get another answer."""
    dataset_fingerprint: str | None = None
    """`Dataset.fingerprint` of the interactions that it was trained on; None where that is unknown."""
    holdout: int | None = None
    """How many of each person's last items training did not see; None where that is unknown. RL needs 3."""
    trained_as: str | None = None
    """The fingerprint after training, before changes of the catalogue; None where that is unknown."""


class CatalogueView(Protocol):
    """The part of a recommender's catalogue that callers read. `deeprec.trm_tool.Catalogue` implements it."""

    @property
    def ids(self) -> Sequence[str]:
        """Ids of all items, including removed ones."""

    @property
    def removed(self) -> Collection[str]:
        """Ids of items that may be in histories and are no longer recommended."""

    @property
    def attribute_kinds(self) -> Mapping[str, AttributeKind]:
        """Attribute name -> `tags`, `category` or `number`. `where` constrains these attributes."""

    def __contains__(self, item_id: object, /) -> bool: ...

    def __len__(self) -> int: ...

    def item(self, item_id: str, /) -> Item:
        """The item with this id, or UnknownItemError."""

    def summary(self, item_id: str, max_chars: int = 80) -> str:
        """One line about an item: its title and main attributes, as raw text that callers neutralise for prompts."""

    def phrases(self, min_items: int = 5) -> Mapping[str, Collection[str]]:
        """Preference phrase -> ids of the items that it is true of. Guided runs choose among them; it may be empty."""

    def phrases_of(self, item_id: str, /) -> Sequence[str]:
        """The preference phrases that are true of one item."""


@runtime_checkable
class Recommender(Protocol):
    """A recommender that is called synchronously, from several threads at once.

    `retrieve` may also take `words` and `words_trust`: what the person wrote themselves, and how far it is trusted. A
    recommender whose `retrieve` names no `words` gets them in front of the preference (`call_arguments`).
    """

    @property
    def catalogue(self) -> CatalogueView:
        """The items that it recommends."""

    @property
    def identity(self) -> RecommenderIdentity:
        """Which recommender this is, for the lineage of runs."""

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
        """Find the `k` items that fit best.

        Args:
            history: Item ids, oldest first, of any person; empty is allowed. They do not come back.
            preference: The preference in words; None and "" are no preference.
            k: Items to return; fewer come back where fewer are allowed.
            trust: How far the preference is trusted beside the history, 0 to 1; None is the recommender's own choice.
            exclude: Item ids that do not come back.
            where: Constraints on attributes. One that the recommender cannot enforce is named in `unenforced`.

        Returns:
            Distinct items, best first, every score a finite float.

        Raises:
            RecommenderUnavailableError: the recommender is unavailable; the graph repeats the call.
            RecommenderRefusedError: this call cannot be answered; the graph does not repeat it.
            UnknownItemError: an id of `history` or `exclude` was never in the catalogue. A recommender may also skip
                such ids and name them in `unknown_items`; callers that want this of any recommender use `split_known`.
            ConfigError: a setting of the call makes no sense.
        """


@runtime_checkable
class AsyncRecommender(Protocol):
    """`Recommender` for an event loop: the same interface with a coroutine, for example of a remote service."""

    @property
    def catalogue(self) -> CatalogueView:
        """The items that it recommends."""

    @property
    def identity(self) -> RecommenderIdentity:
        """Which recommender this is, for the lineage of runs."""

    async def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        """`Recommender.retrieve`, as a coroutine."""


AnyRecommender: TypeAlias = Recommender | AsyncRecommender
"""A synchronous or an asynchronous recommender: `build_graph` takes either."""


def split_known(catalogue: CatalogueView, item_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split ids into those that a catalogue has, in their order, and those that it lacks, each once.

    A shop's catalogue runs ahead of what a recommender was made with, so that a history may name newer items.
    """
    known = [item_id for item_id in item_ids if item_id in catalogue]
    return known, list(dict.fromkeys(item_id for item_id in item_ids if item_id not in catalogue))


def is_async(recommender: AnyRecommender) -> TypeIs[AsyncRecommender]:
    """Whether `retrieve` is a coroutine function, so that its answer is awaited."""
    return inspect.iscoroutinefunction(recommender.retrieve)


def takes_words(recommender: AnyRecommender) -> bool:
    """Whether `retrieve` names a parameter `words`, so that a person's own words get there beside the preference.

    Keywords that are passed on unseen do not count: what they end in may take none.
    """
    return _names(recommender.retrieve, "words")


def takes_min_cosine(recommender: AnyRecommender) -> bool:
    """Whether `closest_phrases` is there, is no coroutine, and names a parameter `min_cosine`."""
    if not isinstance(recommender, PhraseSimilarity) or inspect.iscoroutinefunction(recommender.closest_phrases):
        return False
    return _names(recommender.closest_phrases, "min_cosine")


def _names(call: Callable[..., object], parameter: str) -> bool:
    try:
        return parameter in inspect.signature(call).parameters
    except (TypeError, ValueError):  # a compiled method may show no parameters
        return False


def call_arguments(recommender: AnyRecommender, query: Query) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Lay a query out as arguments of `retrieve`, but for `k`.

    Words without a letter or a digit are left out. A recommender that takes no words gets "words; preference" as the
    preference, under the trust of the words.

    Returns:
        Positional and named arguments; `exclude` and the words are named only where there are any.
    """
    named: dict[str, Any] = {"trust": query.trust, "where": query.where}
    if query.exclude:
        named["exclude"] = query.exclude
    preference = query.preference
    words = query.words if has_words(query.words or "") else None
    if words and takes_words(recommender):
        named |= {"words": words, "words_trust": query.words_trust}
    elif words:
        preference = "; ".join(filter(None, (words, preference)))
        named["trust"] = query.words_trust
    return (query.history, preference), named


@runtime_checkable
class BatchRecommender(Recommender, Protocol):
    """A recommender that also answers many queries at once and knows the rank of every item.

    The functions `retrieve_batch` and `ranks_of` of this module also take recommenders that do not.
    """

    def retrieve_batch(self, queries: Sequence[Query], *, k: int) -> list[Retrieved]:
        """Retrieve for many queries; the answers have the order of the queries."""

    def ranks_of(self, item_ids: Sequence[str], queries: Sequence[Query]) -> NDArray[np.int64]:
        """1-based rank of an item for each query, int64 (n,); an item that its query masks ranks after all others."""


@runtime_checkable
class ItemVectors(Protocol):
    """A recommender that knows how similar its items are; lists are made diverse by it, else by attributes."""

    def item_vectors(self, item_ids: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors of items of the catalogue, of unit length, float32 (n, width)."""


@runtime_checkable
class PhraseSimilarity(Protocol):
    """A recommender that knows which phrases of its catalogue mean much the same as a text; the agent offers them.

    `closest_phrases` may also take `min_cosine`, by name: what a phrase has to reach to count as close at all. The
    agent then weighs what the catalogue lacks ("not scary") as the closest phrase that it has.
    """

    def closest_phrases(self, text: str, n: int) -> Sequence[str]:
        """Rank the phrases of the catalogue by how close they are to a text: at most `n` of them, the closest first."""


@runtime_checkable
class ItemEvidence(Protocol):
    """A recommender that knows what people's choices say for an item; the agent may show it beside the item."""

    def evidence(self, history: Sequence[str], item_ids: Sequence[str]) -> Sequence[str]:
        """Write a short line about each item; "" where nothing is known. Callers neutralise it for prompts."""


How = Literal["together", "next", "lately"]
"""What people chose together with items, directly after them, or much of late."""


@runtime_checkable
class CoChoices(Protocol):
    """A recommender that knows what people also chose; the agent's tool `people_also_chose` asks it."""

    def also_chosen(self, item_ids: Sequence[str], how: How, *, k: int, exclude: Collection[str] = ()) -> Sequence[str]:
        """Find what people chose together with items, next after the latest of them, or lately.

        Returns:
            At most `k` ids of items that may be recommended, strongest first, none of `item_ids` and `exclude`; none
            where nothing is known.
        """


def retrieve_batch(recommender: Recommender, queries: Sequence[Query], *, k: int) -> list[Retrieved]:
    """Retrieve for many queries, in one call where the recommender can.

    Raises:
        ConfigError: a query asks for `diversity` or `include_seen`, which the recommender does not offer.
    """
    if isinstance(recommender, BatchRecommender):
        return recommender.retrieve_batch(queries, k=k)
    return [_retrieve(recommender, query, k) for query in queries]


def ranks_of(recommender: Recommender, item_ids: Sequence[str], queries: Sequence[Query]) -> NDArray[np.int64]:
    """1-based rank of one item for each query, int64 (n,).

    A recommender without `ranks_of` is asked for its whole catalogue; an item that does not come back ranks after the
    last one that does.
    """
    import numpy as np

    if len(item_ids) != len(queries):
        raise ConfigError(f"{len(item_ids)} items for {len(queries)} queries. Give one item a query.")
    if isinstance(recommender, BatchRecommender):
        return recommender.ranks_of(item_ids, queries)
    size = len(recommender.catalogue)
    ranks = np.empty(len(queries), dtype=np.int64)
    for position, (item_id, query) in enumerate(zip(item_ids, queries, strict=True)):
        found = [item.id for item in _retrieve(recommender, query, size)]
        ranks[position] = 1 + (found.index(item_id) if item_id in found else len(found))
    return ranks


def _retrieve(recommender: Recommender, query: Query, k: int) -> Retrieved:
    if query.diversity or query.include_seen:
        raise ConfigError(
            f"{type(recommender).__name__} offers neither `diversity` nor `include_seen`. Leave them out of the query."
        )
    positional, named = call_arguments(recommender, query)
    return recommender.retrieve(*positional, k=k, **named)


def _check_weight(name: str, value: object, ends: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:  # NaN is refused as well
        raise ConfigError(f"{name} is {str(value)[:80]}. Give a weight from {ends}.")
