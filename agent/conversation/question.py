"""The one question that is worth asking: the attribute whose answer parts the present candidates most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeprec.agent.conversation.state import ConversationState
from deeprec.agent.conversation.vocabulary import ConversationCatalogue

MAX_OPTIONS = 5
"""Values that a question offers, the commonest among the candidates."""
RANGES = 4
"""Ranges that a number is divided into, by its quantiles among the candidates."""
MIN_BITS = 0.8
"""Information of an answer below which a question is not worth a turn; one between two halves has 1 bit."""
MIN_CHANGE = 0.3
"""Share of the list that an answer replaces on average, below which the question would change too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionOption:
    """One answer to a question."""

    label: str
    """The value as the catalogue writes it, or a range such as `20 to 45`."""
    items: int
    """Candidates that remain with this answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An attribute to ask about. The words of the question are the caller's."""

    attribute: str
    options: tuple[QuestionOption, ...]
    """The commonest answers: values by their number of candidates, ranges from low to high."""
    bits: float
    """Expected information of the answer about the candidates, in bits."""
    change: float
    """Share of the list that an answer replaces on average, 0 to 1."""


def question_for(
    candidates: Sequence[str], state: ConversationState, catalogue: ConversationCatalogue, *, k: int = 5
) -> Question | None:
    """Choose the attribute whose answer parts the present candidates most.

    Only attributes are asked about of which nothing was said yet, and that were not asked about before. An answer keeps
    the candidates that have its value; its information is the logarithm of the candidates over those that remain, by
    the share of people who would give it, taken as the share of the value. For an attribute with one value an item this
    is the entropy of its values. Values beyond the offered ones count as one answer.

    Args:
        candidates: Ids of the items that fit so far, best first.
        state: What is known.
        catalogue: The catalogue, laid out.
        k: Items of the list that a person is shown.

    Returns:
        The question; None where no answer would change the list enough. With at most `k` candidates none can.
    """
    items = list(dict.fromkeys(candidates))
    if len(items) <= k:
        return None
    known = {each.attribute for each in (*state.required, *state.preferred)}
    known |= {*state.indifferent, *(each.attribute for each in state.asked)}
    questions = [
        question
        for name in catalogue.kinds
        if name not in known and (question := _question(name, items, catalogue, k)) is not None
    ]
    worth = [each for each in questions if each.bits >= MIN_BITS and each.change >= MIN_CHANGE]
    return max(worth, key=lambda each: each.bits, default=None)


def _question(name: str, items: Sequence[str], catalogue: ConversationCatalogue, k: int) -> Question | None:
    is_number = catalogue.kinds[name] == "number"
    answers = _ranges(name, items, catalogue) if is_number else _values(name, items, catalogue)
    counts = Counter(answer for given in answers.values() for answer in given)
    if len(counts) < 2:
        return None
    offered = list(dict.fromkeys(answer for given in answers.values() for answer in given)) if is_number else []
    offered = offered or [answer for answer, _ in counts.most_common(MAX_OPTIONS)]
    groups = [{item for item in items if answer in answers[item]} for answer in offered]
    groups.append({item for item in items if not answers[item] & set(offered)})  # something else, or nothing known
    sizes = [len(group) for group in groups]
    total = sum(sizes)
    bits = sum(size / total * math.log2(len(items) / size) for size in sizes if size)
    top = set(items[:k])
    change = sum(size / total * (1 - len(top & group) / k) for group, size in zip(groups, sizes, strict=True))
    if is_number:
        labelled = sorted(zip(offered, sizes, strict=False), key=lambda each: _low(each[0]))
    else:
        labelled = list(zip(offered, sizes, strict=False))
    options = tuple(QuestionOption(label=label, items=size) for label, size in labelled)
    return Question(attribute=name, options=options, bits=bits, change=change)


def _values(name: str, items: Sequence[str], catalogue: ConversationCatalogue) -> dict[str, set[str]]:
    known = set(catalogue.values_of(name))  # placeholders such as "unknown" are no answers
    return {item: known & set(catalogue.item_values(item, name)) for item in items}


def _ranges(name: str, items: Sequence[str], catalogue: ConversationCatalogue) -> dict[str, set[str]]:
    """Item -> the range that its number lies in, written `LOW to HIGH` by the numbers that are there."""
    numbers = {item: n for item in items if (n := catalogue.number(item, name)) is not None}
    if not numbers:
        return {item: set() for item in items}
    edges = np.unique(np.quantile(list(numbers.values()), np.linspace(0, 1, RANGES + 1)[1:-1]))
    parts = {item: int(np.searchsorted(edges, number)) for item, number in numbers.items()}
    ends: dict[int, list[float]] = {}
    for item, part in parts.items():
        ends.setdefault(part, []).append(numbers[item])
    is_one = name != catalogue.price  # a price alone would be read as the most that somebody pays
    labels = {part: _label(min(held), max(held), is_one) for part, held in ends.items()}
    return {item: {labels[parts[item]]} if item in parts else set() for item in items}


def _label(low: float, high: float, is_one: bool) -> str:
    """A range as an answer: `20 to 45`, and `1996` where both ends are the same and a number alone means it."""
    return f"{low:.12g}" if is_one and low == high else f"{low:.12g} to {high:.12g}"


def _low(label: str) -> float:
    return float(label.split(" to ")[0])
