"""A simulated person: they say what their card needs bit by bit, judge what is shown by the card, and lose patience."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from deeprec.evals.simulation.cart_requests import ORDINALS, CartRequest, draw_cart_requests
from deeprec.evals.simulation.model_voice import ModelVoice
from deeprec.evals.simulation.need_card import Need, NeedCard
from deeprec.evals.simulation.person_words import TEST_PERSON_WORDS, Direction, PersonWords
from deeprec.trm_tool.catalogue.catalogue import AttributeValue, decade_of
from deeprec.trm_tool.data.made_requests.sentences import NumberBound, Value, Wish, say_bound, say_value, write_message
from deeprec.trm_tool.errors import ConfigError

Move = Literal["answers", "criticises", "accepts", "gives_up"]


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item as a person sees it: its id, and its facts as the catalogue has them."""

    id: str
    attributes: Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an agent answered, as a person sees it."""

    text: str = ""
    items: tuple[ShownItem, ...] = ()
    """Best first."""
    asks: str | None = None
    """The attribute that the agent asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What a person says to a reply, and how they judged it."""

    text: str
    move: Move
    accepted: str | None = None
    """Id of the item that they take."""
    satisfaction: float = float("nan")
    """Share of the card's needs that the items which they looked at fulfil, on average; NaN where none was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonConfig:
    """How a simulated person behaves.

    Raises:
        ConfigError: a value is out of its range.
    """

    patience: int = 5
    """Replies that they read before they give up."""
    attention: int = 5
    """Items of a reply that they look at, from the top; ten at most."""

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ConfigError(f"PersonConfig.patience is {self.patience}; nobody would be heard. Give 1 or more.")
        if not 1 <= self.attention <= len(ORDINALS):
            raise ConfigError(f"PersonConfig.attention is {self.attention}. Give 1 to {len(ORDINALS)} items.")


class SimulatedPerson:
    """Someone who needs what a card says, and knows of no item.

    The same card, voice, seed and replies make the same words. The opening states the first need, and each turn one
    more: as the answer to a question about it, or as what is wrong with the items shown. Where all items lie on one
    side of a decade or a bound, the person compares first ("older than those"). A shown item is accepted if
    it fits the whole card.

    Args:
        card: What they need.
        voice: A model that says the sentences in its own words; None says them as they are.
        seed: Draws the sentences.
        words: The sentences.
        config: Patience and attention.
    """

    def __init__(
        self,
        card: NeedCard,
        voice: ModelVoice | None = None,
        seed: int = 0,
        *,
        words: PersonWords = TEST_PERSON_WORDS,
        config: PersonConfig | None = None,
    ) -> None:
        self.card = card
        self.voice_errors = 0
        """Sentences for which the voice had no usable words, so that they stayed as they are."""
        self._voice, self._words, self._config = voice, words, config or PersonConfig()
        self._key = f"{card!r}\0{seed}"
        self._stated: list[Need] = []
        self._hinted: set[Need] = set()
        self._replies = 0

    @property
    def stated(self) -> tuple[Need, ...]:
        """The needs that they have stated so far, exactly and not by comparison."""
        return tuple(self._stated)

    def opening(self) -> str:
        """The first message, which states the first need."""
        rng, need = self._generator(), self.card.needs[0]
        requests = self._words.requests
        if need.asks == "is":
            style = str(rng.choice(sorted(requests.voices)))
            sentence = write_message(requests, style, [Wish(wanted=(_value(need),))], rng)
        else:
            sentence = self._say(need, rng)
        self._note(need)
        return self._spoken(sentence, (need,))

    def answer(self, reply: Reply) -> Utterance:
        """Judge a reply and answer it."""
        self._replies += 1
        rng = self._generator()
        looked_at = reply.items[: self._config.attention]
        satisfaction = float("nan")
        if looked_at:
            satisfaction = sum(self.card.share_met(item.attributes) for item in looked_at) / len(looked_at)
        for position, item in enumerate(looked_at):
            if self.card.fits(item.attributes):
                sentence = _draw(self._words.accepts, rng).format(position=ORDINALS[position])
                return Utterance(
                    text=self._spoken(sentence, ()), move="accepts", accepted=item.id, satisfaction=satisfaction
                )
        if self._replies >= self._config.patience:
            text = self._spoken(_draw(self._words.gives_up, rng), ())
            return Utterance(text=text, move="gives_up", satisfaction=satisfaction)
        asked = [need for need in self.card.needs if reply.asks == need.attribute]
        if asked:
            need = next((need for need in asked if need not in self._stated), asked[0])
            self._note(need)
            return self._utterance([self._say(need, rng)], [need], "answers", satisfaction)
        sentences = [_draw(self._words.indifferent, rng)] if reply.asks else []
        if looked_at:
            need, sentence = self._criticism(looked_at, rng)
            return self._utterance([*sentences, sentence], [need], "criticises", satisfaction)
        if sentences:
            return self._utterance(sentences, [], "answers", satisfaction)
        need = next((need for need in self.card.needs if need not in self._stated), self.card.needs[0])
        self._note(need)
        parts = [self._say(need, rng)]
        if not reply.text.strip():
            parts.insert(0, _draw(self._words.nothing_shown, rng))
        return self._utterance(parts, [need], "answers", satisfaction)

    def cart_requests(self, shown: int, accepted: int) -> list[CartRequest]:
        """What they ask of a cart once they accepted an item, in their sentences and in no model's (`voice`).

        Args:
            shown: Items in the list that they see.
            accepted: Position of the accepted item in it, from 1.
        """
        return draw_cart_requests(self._words, shown, accepted, self._generator())

    def _criticism(self, items: Sequence[ShownItem], rng: Generator) -> tuple[Need, str]:
        """What is wrong with the items: the unstated need that the most of them miss, else a stated one."""
        misses = {need: sum(not need.is_met_by(item.attributes) for item in items) for need in self.card.needs}
        missed = [need for need in self.card.needs if misses[need]]
        need = max(missed, key=lambda need: (need not in self._stated, misses[need]))  # the first of equals
        direction = _direction(need, items)
        relative = self._words.relative.get((need.role, direction)) if direction else None
        if relative and need not in self._stated and need not in self._hinted:
            self._hinted.add(need)
            return need, _draw(relative, rng).replace("{name}", need.attribute.replace("_", " "))
        self._note(need)
        return need, self._say(need, rng)

    def _say(self, need: Need, rng: Generator) -> str:
        requests = self._words.requests
        if isinstance(need.value, float):
            bound: Literal["max", "min"] = "max" if need.asks == "at_most" else "min"
            return say_bound(requests, NumberBound(need.attribute, bound, need.value, need.role), rng)
        sentences = self._words.wants if need.asks == "is" else requests.refusals
        return _draw(sentences, rng).format(wish=say_value(requests, _value(need), rng))

    def _utterance(self, parts: Sequence[str], needs: Sequence[Need], move: Move, satisfaction: float) -> Utterance:
        whole = [part if part[-1] in ".?!" else f"{part}." for part in parts] if len(parts) > 1 else parts
        return Utterance(text=self._spoken(" ".join(whole), needs), move=move, satisfaction=satisfaction)

    def _spoken(self, sentence: str, needs: Sequence[Need]) -> str:
        if self._voice is None:
            return sentence
        said = self._voice.say(sentence, needs, self._words.content(needs))
        self.voice_errors += said is None
        return sentence if said is None else said

    def _note(self, need: Need) -> None:
        if need not in self._stated:
            self._stated.append(need)

    def _generator(self) -> Generator:
        digest = hashlib.sha256(f"{self._key}\0{self._replies}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _value(need: Need) -> Value:
    return Value(need.attribute, need.role, str(need.value), need.written)


def _direction(need: Need, items: Sequence[ShownItem]) -> Direction | None:
    """Where a number or a decade has to go if every item lies on the same side of it; None where they do not."""
    numbers = [number for item in items if isinstance(number := item.attributes.get(need.attribute), float)]
    if len(numbers) < len(items) or need.asks == "is_not":
        return None
    if isinstance(need.value, float):
        sides: set[Direction] = {
            "lower" if number > need.value else "higher" for number in numbers if number != need.value
        }
        wanted: Direction = "lower" if need.asks == "at_most" else "higher"
        return wanted if sides == {wanted} else None
    sides = {"lower" if decade_of(number) > need.value else "higher" for number in numbers}
    return sides.pop() if len(sides) == 1 else None


def _draw(ways: Sequence[str], rng: Generator) -> str:
    return ways[int(rng.integers(len(ways)))]
