"""The lines that a model is shown about items, each made safe for a prompt: title, summary, evidence."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence

from langgraph.errors import GraphBubbleUp

from deeprec.trm_tool import AnyRecommender, CatalogueView, ConfigError, ItemEvidence, neutralise

_log = logging.getLogger(__name__)

MAX_SUMMARY_CHARS = 80
"""Characters that a prompt shows of one item."""
MAX_EVIDENCE_CHARS = 120
"""Characters that it shows of the evidence for one item."""


def title_line(catalogue: CatalogueView, item_id: str) -> str:
    """The title of an item."""
    return neutralise(catalogue.item(item_id).title, MAX_SUMMARY_CHARS)


def summary_line(catalogue: CatalogueView, item_id: str) -> str:
    """The title and the main attributes of an item."""
    return neutralise(catalogue.summary(item_id, MAX_SUMMARY_CHARS), MAX_SUMMARY_CHARS)


def found_lines(
    recommender: AnyRecommender, history: Sequence[str], item_ids: Sequence[str], *, explained: bool
) -> list[str]:
    """The summaries of items; `explained`, each with what people's choices say for it, if the recommender knows that.

    Evidence is left out where the recommender cannot give it now; an error of its own is logged as a warning.
    """
    lines = [summary_line(recommender.catalogue, item_id) for item_id in item_ids]
    if not explained or not isinstance(recommender, ItemEvidence) or inspect.iscoroutinefunction(recommender.evidence):
        return lines
    try:
        known = [neutralise(each, MAX_EVIDENCE_CHARS) for each in recommender.evidence(history, item_ids)]
        return [f"{line} [{each}]" if each else line for line, each in zip(lines, known, strict=True)]
    except (ConfigError, GraphBubbleUp):
        raise
    except Exception as error:
        _log.warning("The recommender gives no evidence for what it found: %r", error)
        return lines
