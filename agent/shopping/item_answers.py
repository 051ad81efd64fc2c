"""Answers about items from their records: facts, comparisons, and why they are shown. Nothing else is claimed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, StatedCondition
from deeprec.agent.conversation.state import alternatives
from deeprec.agent.shopping.counted_items import count_lines, list_count_line
from deeprec.agent.shopping.intents import asks_for_number, attributes_asked
from deeprec.agent.shopping.item_records import ItemRecords
from deeprec.agent.shopping.reply import Reply, ShownCard
from deeprec.agent.shopping.turn_plan import TurnPlan
from deeprec.agent.shopping.wording import facts_lines, joined
from deeprec.trm_tool.text import plain, word_set

MAX_COMPARED = 5
MAX_VALUES = 12
_YES_NO = re.compile(
    r"^\W*(?:and |so |but )?(?:is|are|was|were|does|do|did|has|have|can|could|will|would)\b", re.IGNORECASE
)
_FOR_A_FACT = re.compile(r"^\W*(?:and |so |but )?(?:how|who|whose|who's|when|where|which|what|what's)\b", re.IGNORECASE)
_QUESTION_WORDS = word_set(
    "a about an and any are at available be by can come comes could did do does for from get good got had has have how "
    "i in is it item its kind made make me my of on one or out product some tell than that the them there these they "
    "this those to too use used was were what which will with work would you your first second third fourth fifth last "
    "film movie option number more like know details who when where whose"
)


class ItemAnswers:
    """Answers questions about the items that a person was shown."""

    def __init__(self, catalogue: ConversationCatalogue) -> None:
        self._catalogue, self._records = catalogue, ItemRecords(catalogue)

    def facts(self, plan: TurnPlan, state: ConversationState) -> Reply:
        """Facts of items: those that are asked for; all of them where none is named."""
        cards = self._records.shown_cards(plan.item_ids, state)
        asked = attributes_asked(plan.message, self._catalogue)
        number = asks_for_number(plan.message)
        lacks = number if number is not None and getattr(self._catalogue, number) is None else None
        lines: list[str] = []
        for card in cards:
            lines += self._about(card, plan.message, asked, lacks)
        problems = (f"There is no {lacks} in this catalogue.",) if lacks else ()
        return Reply(kind="facts", text="\n".join(lines), items=cards, problems=problems)

    def catalogue(self, plan: TurnPlan, state: ConversationState) -> Reply:
        """What the catalogue has of the attributes that are asked about; all attributes where none is named."""
        names = attributes_asked(plan.message, self._catalogue) or tuple(self._catalogue.kinds)
        lines = []
        for name in names:
            if self._catalogue.kinds[name] == "number":
                low, high = (self._records.value_text(name, end) for end in self._catalogue.range_of(name))
                lines.append(f"{self._records.label(name)}: {low} to {high}")
                continue
            values = self._catalogue.values_of(name)
            more = f" and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
            listed = ", ".join(plain(value, 80) for value in values[:MAX_VALUES])
            lines.append(f"{self._records.label(name)}: {listed}{more}")
        return Reply(kind="facts", text="\n".join(lines))

    def count(self, plan: TurnPlan, state: ConversationState) -> Reply:
        """How many items of the catalogue, or of the list that was shown, meet what the question names."""
        if plan.item_ids:
            return Reply(kind="facts", text=list_count_line(plan.message, plan.item_ids, self._catalogue))
        return Reply(kind="facts", text="\n".join(count_lines(plan.message, plan.before, self._catalogue)))

    def comparison(self, plan: TurnPlan, state: ConversationState) -> Reply:
        """The records of items side by side: what they share, and where they differ."""
        cards = self._records.shown_cards(plan.item_ids[:MAX_COMPARED], state)
        names = list(dict.fromkeys(name for card in cards for name in card.facts))
        lines = [f"{card.position}. {card.title}" for card in cards]
        shared = [n for n in names if len({card.facts.get(n) for card in cards}) == 1]
        for name in (n for n in names if n not in shared):
            values = [f"{card.position}: {card.facts.get(name, 'not known')}" for card in cards]
            lines.append(f"{self._records.label(name)}: {'; '.join(values)}")
            lines += self._extreme(name, cards)
        if shared:
            lines.append(f"The same: {joined([f'{self._records.label(n)} {cards[0].facts[n]}' for n in shared])}")
        return Reply(kind="comparison", text="\n".join(lines), items=cards)

    def explanation(self, plan: TurnPlan, state: ConversationState) -> Reply:
        """Why items are shown: what of the person's own words their records confirm, and what they do not."""
        cards = self._records.shown_cards(plan.item_ids, state)
        lines = []
        for card in cards:
            lines.append(f"{card.position}. {card.title}")
            fulfilled = [each.replace(": ", " ", 1) for each in self._records.fulfilled(card.item_id, state)]
            spared = self._records.spared(card.item_id, state)
            lines += [f"   It has what you asked for: {joined(fulfilled)}."] if fulfilled else []
            lines += [f"   It has nothing of what you refused: {joined(spared, 'or')}."] if spared else []
            unmet = [each for each in alternatives(state.preferred) if not self._has_one(card, each)]
            wanted = [each for either in unmet for each in either]
            without = [f"{self._records.label(e.attribute)} {', '.join(e.values)}" for e in wanted if e.values]
            lines += [f"   It does not have: {joined(without)}, which only weighed."] if without else []
            similar = [self._records.title(item_id) for item_id in state.similar_to if item_id != card.item_id]
            lines += [f"   You asked for something like {joined(similar)}."] if similar else []
            liked = [self._records.title(i) for i in state.items_with("liked") if i != card.item_id]
            lines += [f"   You like {joined(liked[-3:])}; the recommender went by that too."] if liked else []
            if not (card.reasons or similar or liked):
                lines.append("   The recommender ranks it high by your history and words; no wish of yours names it.")
        return Reply(kind="explanation", text="\n".join(lines), items=cards)

    def _about(self, card: ShownCard, message: str, asked: tuple[str, ...], lacks: str | None) -> list[str]:
        values = [] if not _YES_NO.search(message) else self._confirmed(card, message)
        if values:
            return [f"{card.position}. {card.title}", *(f"   {line}" for line in values)]
        known = [name for name in asked if name in card.facts]
        lines = [f"{self._records.label(name)}: {card.facts[name]}" for name in known]
        lines += [f"{self._records.label(name)}: not in its record" for name in asked if name not in card.facts]
        if lines or lacks:
            return [f"{card.position}. {card.title}", *(f"   {line}" for line in lines)]
        words = [word for word in re.findall(r"[^\W\d_]{3,}", message.lower()) if word not in _QUESTION_WORDS]
        quoted = list(self._records.sentences_with(card.item_id, words))[:2] if words else []
        if quoted:
            return [f"{card.position}. {card.title}", *(f"   Its record says: {sentence}" for sentence in quoted)]
        missing = []
        if words and _YES_NO.search(message):
            missing = ["   Its record does not say so. It says:"]
        elif words and _FOR_A_FACT.search(message):
            missing = ["   The catalogue does not say that. It says:"]
        head, *facts = facts_lines(card, self._records)
        return [head, *missing, *facts]

    def _has_one(self, card: ShownCard, either: Sequence[StatedCondition]) -> bool:
        return any(self._records.fulfils(card.item_id, each) for each in either)

    def _confirmed(self, card: ShownCard, message: str) -> list[str]:
        """A line for each value that a question names: whether the record has it, and what it has in its place."""
        lines = []
        for named in self._catalogue.values_in(message):
            for name, values in named.attributes.items():
                has = self._catalogue.item_values(card.item_id, name)
                own = [value for value in values if value in has]
                text = ", ".join(plain(value, 80) for value in own or values)
                label = self._records.label(name)
                lines.append(
                    f"Yes, {label}: {text}" if own else f"No, not {text}; {label}: {card.facts.get(name, 'not known')}"
                )
        return list(dict.fromkeys(lines))

    def _extreme(self, name: str, cards: tuple[ShownCard, ...]) -> list[str]:
        """Which items of a comparison have the least and the most of a number, all that share it."""
        numbers = {card.position: self._catalogue.number(card.item_id, name) for card in cards}
        known = {at: number for at, number in numbers.items() if number is not None}
        if self._catalogue.kinds.get(name) != "number" or len(known) < 2:
            return []
        ends = (("least", min(known.values())), ("most", max(known.values())))
        named = [f"{word}: {joined([str(at) for at, n in known.items() if n == end])}" for word, end in ends]
        return [f"   {'; '.join(named)}"]
