"""The prompt that asks a policy for preference knowledge about one person."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.training.feedback.knowledge import MAX_NAMED, Factor
from deeprec.trm_tool.recommender import CatalogueView
from deeprec.trm_tool.text import neutralise, readable_words

KNOWLEDGE_VERSION = "knowledge-1"
"""Version of the texts, as runs keep it. It rises with every change of them."""
MAX_HISTORY = 10
"""Latest items of a history that the prompt shows."""
MAX_ITEM_CHARS = 60
MAX_MESSAGE_CHARS = 500

_TASK = (
    "You know what people like. For each factor, name one to {most} of its values that fit what the person will choose "
    "next. Values of the factors:\n{factors}\nAnswer in one line of this form: {form}"
)
_HISTORY = "The person chose, the latest last:\n{items}"
_NO_HISTORY = "Nothing is known of what the person chose before."
_MESSAGE = 'The person says: "{message}"'
_QUESTION = "What will they like?"


def knowledge_messages(
    factors: Sequence[Factor], catalogue: CatalogueView, history: Sequence[str], message: str | None
) -> list[dict[str, str]]:
    """Write the prompt for one person as chat messages. Catalogue and user text cannot open a control token in it.

    The text on the factors comes first, so that a server computes it once for many people.

    Args:
        factors: Those on offer (`offered_factors`).
        catalogue: With the items of the history; ids that it lacks are skipped.
        history: Item ids, oldest first; the last `MAX_HISTORY` are shown.
        message: What the person said; None for nothing.
    """
    task = _TASK.format(
        most=MAX_NAMED,
        factors="\n".join(f"{factor.name}: {', '.join(factor.values)}" for factor in factors),
        form="; ".join(f"{factor.name}: VALUE, VALUE" for factor in factors),
    )
    items = [
        f"- {neutralise(catalogue.summary(item_id), MAX_ITEM_CHARS)}"
        for item_id in history[-MAX_HISTORY:]
        if item_id in catalogue
    ]
    words = neutralise(readable_words(message, MAX_MESSAGE_CHARS), MAX_MESSAGE_CHARS)
    asked = [
        _HISTORY.format(items="\n".join(items)) if items else _NO_HISTORY,
        *([_MESSAGE.format(message=words)] if words else []),
        _QUESTION,
    ]
    return [{"role": "system", "content": task}, {"role": "user", "content": "\n".join(asked)}]
