"""The phrases that a model may choose its preferences from, and the catalogue card that shows them.

Prompts with a card (`Prompts.has_card`) offer the phrases that stand in the person's words, then those that are closest
to them, those of the history, and common ones. Other prompts show no phrase, and are as they were before there was a
card: a guided model chooses among the phrases of the message without those that it refuses, or of the history.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langgraph.errors import GraphBubbleUp

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.policy_calls import MIN_TIMEOUT_S
from deeprec.agent.graph.recommender_calls import RecommenderCalls
from deeprec.agent.graph.run_clock import run_clock
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS
from deeprec.trm_tool import (
    AnyRecommender,
    CatalogueCard,
    CatalogueView,
    ConfigError,
    describe_catalogue,
    neutralise,
)
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.catalogue_tool import answer_description
from deeprec.trm_tool.text import plain

_log = logging.getLogger(__name__)

MAX_OFFERED = 24
"""Phrases on offer in a run whose prompts have a card."""
MAX_OF_MESSAGE = 18
"""Those of them that come from the message; the others come from the history and from the catalogue."""
MAX_NUMBERS = 8
"""Numbers that the prompts say how to bound."""
MAX_PHRASE_CHARS = 40
MAX_GUIDED_VOCABULARY = 16
"""Phrases on offer in a guided run without a card: the commonest of the person's history first, then the commonest of
the catalogue."""
MAX_MESSAGE_VOCABULARY = 8
"""Phrases on offer in such a run with a message."""
MESSAGE_ITEMS = 30
"""Items that are retrieved for a message, to see which phrases are true of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a run may ask for, and how its opening prompt shows that."""

    phrases: Sequence[str] = ()
    """The likeliest first."""
    may_refuse: bool = False
    """Whether a preference may also say what must not be, and bound numbers."""
    bounds: Sequence[str] = ()
    """Names of numbers that a preference may bound."""
    numbers: Sequence[str] = ()
    """The same with their ranges, neutralised: `price 3 to 90`."""
    card: Sequence[str] = ()
    """Lines of the catalogue card, neutralised."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the offers of all runs over one state of a catalogue share."""

    catalogue: CatalogueView
    size: tuple[int, int]
    common: Mapping[str, float]
    spotter: PhraseSpotter
    card: CatalogueCard


def common_phrases(catalogue: CatalogueView) -> dict[str, float]:
    """Phrase -> share of the catalogue's items that it is true of, those of the most items first."""
    known = catalogue.phrases()
    ordered = sorted(known, key=lambda phrase: (-len(known[phrase]), phrase))
    return {phrase: len(known[phrase]) / len(catalogue.ids) for phrase in ordered}


class OfferedPhrases:
    """Chooses what the runs of a graph may ask for. It follows changes of the items.

    Args:
        recommender: Its catalogue has the phrases. One that has `PhraseSimilarity` ranks them by the message.
        calls: The recommender as the nodes call it.
        is_guided: Whether the model is held to what is on offer.
        has_card: Whether the prompts show it.

    Raises:
        ConfigError: the model is guided and the catalogue knows no phrase, so that it could not state a preference.
    """

    def __init__(
        self, recommender: AnyRecommender, calls: RecommenderCalls, *, is_guided: bool, has_card: bool
    ) -> None:
        self._recommender, self._calls = recommender, calls
        self._is_guided, self._has_card = is_guided, has_card
        self._known: _Known | None = None
        if is_guided and not recommender.catalogue.phrases():
            raise ConfigError(
                "A guided run chooses its preferences from phrases that the catalogue knows, and it knows none: "
                "its items have no category, tags or year. Add such a column to the item file, or run unguided."
            )

    async def choose(self, start: RunStart, config: AgentConfig, started: float) -> Offer:
        """Choose what one run may ask for; nothing where neither the prompts nor the server need it.

        Args:
            start: The request.
            config: The settings of the run.
            started: `run_clock()` when the run began.
        """
        if not (self._is_guided or self._has_card):
            return Offer()
        known = await asyncio.to_thread(self._knows)
        message = plain(start.message or "", MAX_MESSAGE_CHARS)
        if not self._has_card:
            return Offer(phrases=await self._without_card(start, message, known, config, started))
        closest = await self._closest(start, message, known, config, started) if message else ()
        of_message = phrases_of_message(message, known.spotter, closest)
        numbers = known.card.numbers()[:MAX_NUMBERS]
        return Offer(
            phrases=offered_phrases(of_message, start.history, known.catalogue, known.common),
            may_refuse=bool(message),
            bounds=[number.name for number in numbers] if message else [],
            numbers=[f"{number.name} {number.range}" for number in numbers],
            card=known.card.lines(),
        )

    async def describe(self, arguments: object) -> str:
        """Answer a call of `describe_catalogue` (`answer_description`) for the catalogue as it is now."""
        known = await asyncio.to_thread(self._knows)
        return answer_description(known.card, arguments)

    def _knows(self) -> _Known:
        catalogue = self._recommender.catalogue
        size = len(catalogue), len(catalogue.removed)
        known = self._known
        if known is None or known.catalogue is not catalogue or known.size != size:
            common = {phrase: share for phrase, share in common_phrases(catalogue).items() if _can_be_offered(phrase)}
            known = _Known(catalogue, size, common, PhraseSpotter(common), describe_catalogue(catalogue))
            self._known = known
        return known

    async def _closest(
        self, start: RunStart, message: str, known: _Known, config: AgentConfig, started: float
    ) -> Sequence[str]:
        """The phrases closest to the message, else those that are more frequent among what is found for it."""
        timeout_s = max(MIN_TIMEOUT_S, config.max_seconds - (run_clock() - started))
        closest = await self._calls.closest_phrases(message, MAX_OFFERED, timeout_s=timeout_s)
        if closest is not None:
            return closest
        found = await self._found_for(message, start, config, started)
        return _fitting(_excess(found, known.catalogue, known.common))

    async def _without_card(
        self, start: RunStart, message: str, known: _Known, config: AgentConfig, started: float
    ) -> list[str]:
        """The phrases of the message where there is one and the settings say so, else those of the history."""
        if message and config.guided_by_message:
            wanted, refused = split_refused(message)
            phrases = message_phrases(
                wanted,
                refused,
                found=await self._found_for(wanted, start, config, started),
                found_refused=await self._found_for(refused, start, config, started),
                catalogue=known.catalogue,
                common=known.common,
            )
            if phrases:
                return phrases
        return phrases_for(start.history, known.catalogue, known.common)

    async def _found_for(self, text: str, start: RunStart, config: AgentConfig, started: float) -> Sequence[str]:
        """What the recommender finds for words alone; nothing where it is unavailable or there are no words."""
        if not text:
            return ()
        try:
            found = await self._calls.retrieve(
                [],
                text,
                k=MESSAGE_ITEMS,
                trust=None,  # the person's own words, whatever a model's guesses deserve
                where=start.where,
                exclude=start.exclude,
                timeout_s=max(MIN_TIMEOUT_S, config.max_seconds - (run_clock() - started)),
            )
        except (ConfigError, GraphBubbleUp):
            raise
        except Exception as error:  # the run needs no phrases of the message
            _log.warning("Run %s: the phrases on offer are not those of the message: %s", start.run_id, error)
            return ()
        return [item.id for item in found]


def offered_phrases(
    of_message: Sequence[str], history: Sequence[str], catalogue: CatalogueView, common: Mapping[str, float]
) -> list[str]:
    """Choose the phrases of a run whose prompts have a card.

    Args:
        of_message: Phrases that the message names, then those closest to it; empty without a message.
        history: Item ids.
        catalogue: Knows which phrases are true of which items.
        common: What `common_phrases` returned for the catalogue; other phrases are not offered.

    Returns:
        At most `MAX_OFFERED` phrases: those of the message, `MAX_OF_MESSAGE` at most, those of the history by how many
        of its items they are true of, and where these are fewer, more of the message, then the common ones.
    """
    ranked = [phrase for phrase in dict.fromkeys(of_message) if phrase in common]
    own = _of_history(history, catalogue, common)
    return list(dict.fromkeys([*ranked[:MAX_OF_MESSAGE], *own, *ranked, *common]))[:MAX_OFFERED]


def named_phrases(text: str, spotter: PhraseSpotter) -> tuple[str, ...]:
    """The phrases that stand in a text, in its order; a year of two digits ("like 96") means its decade."""
    return spotter.spot(_SHORT_YEAR.sub(r" \g<decade>0s ", text))


def phrases_of_message(text: str, spotter: PhraseSpotter, closest: Sequence[str]) -> list[str]:
    """The phrases of a message, the likeliest first: those that stand in it, then those that are closest to it."""
    return list(dict.fromkeys([*named_phrases(text, spotter), *closest]))


def phrases_for(history: Sequence[str], catalogue: CatalogueView, common: Mapping[str, float]) -> list[str]:
    """Choose the phrases of a run without a message.

    Args:
        history: Item ids.
        catalogue: Knows which phrases are true of which items.
        common: What `common_phrases` returned for the catalogue; empty where the catalogue knows none.

    Returns:
        At most `MAX_GUIDED_VOCABULARY` phrases: those of the history by how many of its items they are true of, then
        the common ones.
    """
    if not common:
        return []
    return list(dict.fromkeys([*_of_history(history, catalogue, common), *common]))[:MAX_GUIDED_VOCABULARY]


def split_refused(message: str) -> tuple[str, str]:
    """Split a message into what a person wants and what they refuse in so many words ("nothing scary", "no musicals").

    A refusal is a word such as *no*, *not*, *nothing* or *without* with at most four words after it, to the end of the
    clause. English alone is read; in another language everything counts as wanted.
    """
    refused = [found["what"] for found in _REFUSAL.finditer(message)]
    return _REFUSAL.sub(" ", message).strip(" ,.;"), "; ".join(refused)


def message_phrases(
    wanted: str,
    refused: str,
    *,
    found: Sequence[str],
    found_refused: Sequence[str],
    catalogue: CatalogueView,
    common: Mapping[str, float],
) -> list[str]:
    """Choose the phrases of a run with a message.

    Args:
        wanted: What the person wants, from `split_refused`.
        refused: What they do not want; may be empty.
        found: Ids of the items that the recommender retrieves for `wanted`, and no history.
        found_refused: Ids of those for `refused`.
        catalogue: Knows which phrases are true of which items.
        common: What `common_phrases` returned for the catalogue.

    Returns:
        At most `MAX_MESSAGE_VOCABULARY` phrases: those that stand in the message, in its order; then those that are
        more frequent among the items found for it than in the catalogue, by how much more. A phrase is left out where
        it stands in what is refused, or is more typical of that than of what is wanted.
    """
    places = {phrase: _place(phrase, wanted) for phrase in common}
    named = sorted((phrase for phrase in common if places[phrase] >= 0), key=lambda phrase: places[phrase])
    typical, refusing = _excess(found, catalogue, common), _excess(found_refused, catalogue, common)
    fitting = [phrase for phrase in _fitting(typical) if refusing.get(phrase, 0) <= typical[phrase]]
    chosen = [phrase for phrase in dict.fromkeys([*named, *fitting]) if _place(phrase, refused) < 0]
    return chosen[:MAX_MESSAGE_VOCABULARY]


_SHORT_YEAR = re.compile(
    r"(?:['’]|\b(?:like|from|in|of|around|about|circa|since|early|mid|late|before|after|until)\s+['’]?)"
    r"(?P<decade>[2-9])\d\b(?!\s*(?:[%$€£:-]|to\b|%|min|hour|day|week|month|year|page|dollar|buck|euro|pound|percent))",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:no|not|nothing|without|never|except|don't want|do not want|anything but)\s+"
    r"(?P<what>[^\s,.;:!?]+(?:\s+[^\s,.;:!?]+){0,3})\s*(?=$|[,.;:!?\n])",
    re.IGNORECASE,
)


def _place(phrase: str, text: str) -> int:
    """Where a phrase stands in a text, in the singular or the plural; -1 where it does not."""
    stem = re.escape(phrase[:-1] if phrase.endswith("y") else phrase)
    found = re.search(rf"\b{stem}{'(?:y|ies)' if phrase.endswith('y') else 's?'}(?!\w)", text, re.IGNORECASE)
    return found.start() if found else -1


def _of_history(history: Sequence[str], catalogue: CatalogueView, common: Mapping[str, float]) -> list[str]:
    """The phrases of a history by how many of its items they are true of."""
    return [phrase for phrase, _ in _counted(history, catalogue, common).most_common()]


def _counted(items: Sequence[str], catalogue: CatalogueView, common: Mapping[str, float]) -> Counter[str]:
    """Phrase -> how many of some items it is true of."""
    return Counter(phrase for item_id in items for phrase in catalogue.phrases_of(item_id) if phrase in common)


def _excess(items: Sequence[str], catalogue: CatalogueView, common: Mapping[str, float]) -> dict[str, float]:
    """Phrase -> its share among some items less its share in the catalogue."""
    counts = _counted(items, catalogue, common)
    return {phrase: count / len(items) - common[phrase] for phrase, count in counts.items()}


def _fitting(excess: Mapping[str, float]) -> list[str]:
    """The phrases that are more frequent among some items than in the catalogue, by how much more."""
    return sorted((phrase for phrase in excess if excess[phrase] > 0), key=lambda phrase: -excess[phrase])


def _can_be_offered(phrase: str) -> bool:
    """Whether a phrase is safe for a prompt and can stand among others in a preference."""
    return bool(phrase.strip()) and ";" not in phrase and neutralise(phrase, MAX_PHRASE_CHARS) == phrase
