"""The phrases that a guided model may choose its preferences from: those that the catalogue knows of its items."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.policy_calls import MIN_TIMEOUT_S
from deeprec.agent.graph.recommender_calls import RecommenderCalls
from deeprec.agent.graph.run_clock import run_clock
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS
from deeprec.trm_tool import CatalogueView, ConfigError, RecommenderRefusedError, RecommenderUnavailableError
from deeprec.trm_tool.text import plain

_log = logging.getLogger(__name__)

MAX_GUIDED_VOCABULARY = 16
"""Phrases on offer in one run: the commonest of the person's history first, then the commonest of the catalogue."""


MAX_MESSAGE_VOCABULARY = 8
"""Phrases on offer in a run with a message."""
MESSAGE_ITEMS = 30
"""Items that are retrieved for a message, to see which phrases are true of them."""


def common_phrases(catalogue: CatalogueView) -> dict[str, float]:
    """Phrase -> share of the catalogue's items that it is true of, those of the most items first.

    Raises:
        ConfigError: the catalogue knows no phrase, so that a guided run could not state a preference.
    """
    known = catalogue.phrases()
    if not known:
        raise ConfigError(
            "A guided run chooses its preferences from phrases that the catalogue knows, and it knows none: "
            "its items have no category, tags or year. Add such a column to the item file, or run unguided."
        )
    ordered = sorted(known, key=lambda phrase: (-len(known[phrase]), phrase))
    return {phrase: len(known[phrase]) / len(catalogue.ids) for phrase in ordered}


class GuidedPhrases:
    """Chooses the phrases of guided runs.

    Raises:
        ConfigError: as `common_phrases`.
    """

    def __init__(self, catalogue: CatalogueView, calls: RecommenderCalls) -> None:
        self._catalogue, self._calls = catalogue, calls
        self._common = common_phrases(catalogue)

    async def choose(self, start: RunStart, config: AgentConfig, started: float) -> list[str]:
        """Choose the phrases of one run: those of its message where there are some, else those of its history.

        Args:
            start: The request.
            config: The settings of the run.
            started: `run_clock()` when the run began.
        """
        message = plain(start.message or "", MAX_MESSAGE_CHARS)
        if message and config.guided_by_message:
            wanted, refused = split_refused(message)
            phrases = message_phrases(
                wanted,
                refused,
                found=await self._found_for(wanted, start, config, started),
                found_refused=await self._found_for(refused, start, config, started),
                catalogue=self._catalogue,
                common=self._common,
            )
            if phrases:
                return phrases
        return phrases_for(start.history, self._catalogue, self._common)

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
        except (RecommenderUnavailableError, RecommenderRefusedError) as error:
            _log.warning("Run %s: the phrases on offer are not those of the message: %s", start.run_id, error)
            return ()
        return [item.id for item in found]


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
    known = set(common)
    counts = Counter(phrase for item_id in history for phrase in catalogue.phrases_of(item_id) if phrase in known)
    own = [phrase for phrase, _ in counts.most_common()]
    return list(dict.fromkeys([*own, *common]))[:MAX_GUIDED_VOCABULARY]


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
    fitting = sorted((phrase for phrase in typical if typical[phrase] > 0), key=lambda phrase: -typical[phrase])
    fitting = [phrase for phrase in fitting if refusing.get(phrase, 0) <= typical[phrase]]
    chosen = [phrase for phrase in dict.fromkeys([*named, *fitting]) if _place(phrase, refused) < 0]
    return chosen[:MAX_MESSAGE_VOCABULARY]


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


def _excess(items: Sequence[str], catalogue: CatalogueView, common: Mapping[str, float]) -> dict[str, float]:
    """Phrase -> its share among some items less its share in the catalogue."""
    counts = Counter(phrase for item_id in items for phrase in catalogue.phrases_of(item_id) if phrase in common)
    return {phrase: count / len(items) - common[phrase] for phrase, count in counts.items()}
