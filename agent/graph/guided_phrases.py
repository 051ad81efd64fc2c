"""The phrases that a guided model may choose its preferences from: those that the catalogue knows of its items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from deeprec.trm_tool import CatalogueView, ConfigError

MAX_GUIDED_VOCABULARY = 16
"""Phrases on offer in one run: the commonest of the person's history first, then the commonest of the catalogue."""


def common_phrases(catalogue: CatalogueView) -> list[str]:
    """List the phrases of a catalogue, those of the most items first.

    Raises:
        ConfigError: the catalogue knows no phrase, so that a guided run could not state a preference.
    """
    known = catalogue.phrases()
    if not known:
        raise ConfigError(
            "A guided run chooses its preferences from phrases that the catalogue knows, and it knows none: "
            "its items have no category, tags or year. Add such a column to the item file, or run unguided."
        )
    return sorted(known, key=lambda phrase: (-len(known[phrase]), phrase))


def phrases_for(history: Sequence[str], catalogue: CatalogueView, common: Sequence[str]) -> list[str]:
    """Choose the phrases of one run.

    Args:
        history: Item ids.
        catalogue: Knows which phrases are true of which items.
        common: What `common_phrases` returned for the catalogue; empty in a run that is not guided.

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
