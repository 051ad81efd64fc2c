"""The sentences of the agent: templates, into which titles and facts go as the catalogue has them."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    Missing,
    Question,
    StatedCondition,
    describe_state,
)
from deeprec.agent.shopping.item_records import ItemRecords
from deeprec.agent.shopping.reply import Reply, ShownCard
from deeprec.trm_tool.text import plain

MAX_LINE_FACTS = 4
MAX_STATE_LINES = 20


def joined(parts: Sequence[str], last: str = "and") -> str:
    """Parts in one sentence: `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else ""


def missing_sentence(missing: Missing, records: ItemRecords, disliked: Sequence[StatedCondition] = ()) -> str:
    """What the catalogue lacks, with what counts against items in its place (`disliked`), or what is nearest to it."""
    words = plain(missing.words, 80)
    if words in ("price", "year"):
        return f"There is no {words} in this catalogue, so that a limit on it cannot be held."
    at = f" as {records.label(missing.attribute)}" if missing.attribute and missing.kind != "asked" else ""
    nearest = f" The nearest: {joined([plain(each, 80) for each in missing.nearest], 'or')}." if missing.nearest else ""
    weighs = [each for each in disliked if missing.kind == "refused" and each.words == missing.words]
    if weighs:
        values = joined([plain(value, 80) for each in weighs for value in each.values])
        nearest = f" Of what it has, {values} is the nearest, so that it counts against an item."
    return f"Nothing in this catalogue has {words!r}{at}.{nearest}"


def question_text(question: Question, records: ItemRecords) -> str:
    """A question about an attribute."""
    labels = [plain(each.label, 80) for each in question.options]
    return f"Any wish for the {records.label(question.attribute)}? For example {joined(labels, 'or')}."


def card_line(card: ShownCard, catalogue: ConversationCatalogue, shared: Sequence[str] = ()) -> str:
    """One item on one line: its position, its title, its price or year, and what it fulfils beside what all share."""
    numbers = [name for name in (catalogue.price, catalogue.year) if name in card.facts]
    facts = [f"{name.replace('_', ' ')} {card.facts[name]}" for name in numbers if name is not None]
    facts += [each for each in card.reasons if each not in shared and not any(each.startswith(fact) for fact in facts)]
    details = "; ".join(facts[:MAX_LINE_FACTS])
    return f"{card.position}. {card.title}" + (f" ({details})" if details else "")


def facts_lines(card: ShownCard, records: ItemRecords) -> list[str]:
    """An item with all its facts, on lines of their own."""
    return [f"{card.position}. {card.title}", *(f"   {records.label(n)}: {text}" for n, text in card.facts.items())]


def state_lines(conversation: ConversationState) -> list[str]:
    """What is known, a line each."""
    return [plain(line, 200) for line in describe_state(conversation)[:MAX_STATE_LINES]]


def askable(catalogue: ConversationCatalogue, records: ItemRecords) -> str:
    """What the catalogue can be asked for, in a few words."""
    names = [records.label(name) for name in catalogue.kinds]
    return joined(names[:8]) if names else "your own words"


def with_text(reply: Reply, lines: Sequence[str]) -> str:
    """The text of a reply: its lines, then the problems that are not among them, and its question."""
    parts = [line for line in lines if line]
    parts += [each for each in reply.problems if each not in parts] if reply.kind != "cannot" else []
    if reply.question is not None:
        parts.append(reply.question.text)
    return "\n".join(parts)
