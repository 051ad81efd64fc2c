"""What the record of an item says: its facts as text, and which of a person's conditions it fulfils."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, StatedCondition
from deeprec.agent.shopping.reply import ShownCard
from deeprec.trm_tool import Where
from deeprec.trm_tool.text import plain

MAX_TITLE_CHARS = 200
MAX_FACT_CHARS = 200


class ItemRecords:
    """The records of a catalogue as a person reads them."""

    def __init__(self, catalogue: ConversationCatalogue) -> None:
        self.catalogue = catalogue

    def title(self, item_id: str) -> str:
        """The title of an item on one line."""
        return plain(self.catalogue.catalogue.item(item_id).title, MAX_TITLE_CHARS) or item_id

    def facts(self, item_id: str) -> dict[str, str]:
        """Attribute -> its value as text, for each attribute that the item has."""
        values = self.catalogue.catalogue.item(item_id).attributes
        return {
            name: self.value_text(name, values[name])
            for name in self.catalogue.catalogue.attribute_kinds
            if name in values and values[name] != ()
        }

    def value_text(self, attribute: str, value: object) -> str:
        """A value of an attribute as text: `59.95`, `black`, `waterproof, foldable`."""
        if isinstance(value, int | float):
            return f"{value:.2f}" if attribute == self.catalogue.price else f"{value:.12g}"
        return plain(value if isinstance(value, str) else ", ".join(map(str, value)), MAX_FACT_CHARS)  # type: ignore[call-overload]

    def label(self, attribute: str) -> str:
        """The name of an attribute in a sentence."""
        return plain(attribute.replace("_", " "), 80)

    def condition_text(self, where: Where) -> str:
        """Conditions as a person reads them: `colour black or white`, `price at most 59.95`, `colour not red`."""
        parts = []
        for name, condition in where.items():
            for key, sign in (("in", ""), ("not_in", "not "), ("min", "at least "), ("max", "at most ")):
                if key in condition:
                    listed = condition[key] if key in ("in", "not_in") else [condition[key]]
                    values = " or ".join(self.value_text(name, value) for value in listed)
                    parts.append(f"{self.label(name)} {sign}{values}")
        return ", ".join(parts)

    def fulfils(self, item_id: str, condition: StatedCondition) -> bool:
        """Whether an item has one of the values of a condition, or a number within its bound."""
        if condition.values:
            return not set(condition.values).isdisjoint(self.catalogue.item_values(item_id, condition.attribute))
        number = self.catalogue.number(item_id, condition.attribute)
        if number is None:
            return False
        low, high = condition.minimum, condition.maximum
        return (low is None or number >= low) and (high is None or number <= high)

    def reasons(self, item_id: str, state: ConversationState) -> tuple[str, ...]:
        """What the person asked for and the record confirms, each once, what must be first."""
        refused = [each for each in state.refused if not self.fulfils(item_id, each)]
        return tuple(dict.fromkeys((*self.fulfilled(item_id, state), *map(self.refusal_text, refused))))

    def fulfilled(self, item_id: str, state: ConversationState) -> tuple[str, ...]:
        """What the person asked for and the record confirms, each once, what must be first."""
        found = [self._reason(item_id, e) for e in (*state.required, *state.preferred) if self.fulfils(item_id, e)]
        return tuple(dict.fromkeys(found))

    def spared(self, item_id: str, state: ConversationState) -> tuple[str, ...]:
        """What the person refused and the record lacks: `colour red`."""
        lacking = [each for each in state.refused if not self.fulfils(item_id, each)]
        return tuple(dict.fromkeys(self.condition_text({e.attribute: {"in": list(e.values)}}) for e in lacking))

    def refusal_text(self, refused: StatedCondition) -> str:
        """A refusal as a person reads it: `colour not red`."""
        return self.condition_text({refused.attribute: {"not_in": list(refused.values)}})

    def card(self, item_id: str, position: int, state: ConversationState) -> ShownCard:
        """An item as a person sees it."""
        return ShownCard(
            item_id=item_id,
            title=self.title(item_id),
            position=position,
            facts=self.facts(item_id),
            reasons=self.reasons(item_id, state),
        )

    def cards(self, item_ids: Sequence[str], state: ConversationState) -> tuple[ShownCard, ...]:
        """A new list as a person sees it."""
        return tuple(self.card(item_id, position, state) for position, item_id in enumerate(item_ids, start=1))

    def shown_cards(self, item_ids: Sequence[str], state: ConversationState) -> tuple[ShownCard, ...]:
        """Items of the list that was shown last, with their places in it; others follow it."""
        listed = list(state.last_list)
        places = {item_id: at for at, item_id in enumerate(listed, start=1)}
        return tuple(
            self.card(item_id, places.get(item_id, len(listed) + at), state)
            for at, item_id in enumerate(dict.fromkeys(item_ids), start=1)
        )

    def sentences_with(self, item_id: str, words: Sequence[str]) -> Iterator[str]:
        """The sentences of an item's own text that hold one of some words."""
        text = plain(self.catalogue.catalogue.item(item_id).text, 4_000)
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            if any(re.search(rf"\b{re.escape(word)}(?:s|es)?\b", sentence, re.IGNORECASE) for word in words):
                yield plain(sentence, MAX_FACT_CHARS)

    def _reason(self, item_id: str, condition: StatedCondition) -> str:
        name = self.label(condition.attribute)
        if condition.values:
            has = [v for v in self.catalogue.item_values(item_id, condition.attribute) if v in condition.values]
            return f"{name}: {', '.join(plain(value, 80) for value in has)}"
        number = self.value_text(condition.attribute, self.catalogue.number(item_id, condition.attribute))
        low = condition.minimum is not None
        end = self.value_text(condition.attribute, condition.minimum if low else condition.maximum)
        return f"{name} {number}, {'at least' if low else 'at most'} {end}"
