"""The words of simulated people: those of made requests, and what people say later in a conversation.

As with made requests there are two sets whose content words do not meet (a test proves it): an agent that was trained
with people of the one set is measured with people of the other one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from deeprec.evals.simulation.cart_requests import ORDINALS
from deeprec.evals.simulation.need_card import Need
from deeprec.trm_tool.catalogue.phrase_spotting import fold_words
from deeprec.trm_tool.data.made_requests.test_words import TEST_WORDS
from deeprec.trm_tool.data.made_requests.training_words import TRAINING_WORDS
from deeprec.trm_tool.data.made_requests.words import Role, Words

Direction = Literal["lower", "higher"]
_LONGEST_GRAMMAR = 4
"""Letters up to which the words around a value are mostly grammar ("that", "with")."""


@dataclass(frozen=True, kw_only=True)
class PersonWords:
    """Sentences of a simulated person; each is one way to say the same."""

    requests: Words
    """Openings, values, refusals and bounds."""
    wants: tuple[str, ...]
    """A value that was not met or not stated yet, with the slot `{wish}`."""
    relative: Mapping[tuple[Role, Direction], tuple[str, ...]]
    """All items shown lie on the wrong side of a decade or a bound; `{name}` is the attribute."""
    indifferent: tuple[str, ...]
    """The agent asked about an attribute that the person has no need on."""
    nothing_shown: tuple[str, ...]
    accepts: tuple[str, ...]
    """A sentence with the slot `{position}`."""
    gives_up: tuple[str, ...]
    puts: tuple[str, ...] = ()
    """An item shall come into the cart; `{position}` names it."""
    puts_unseen: tuple[str, ...] = ()
    """An item that nobody showed shall come into the cart."""
    takes_out: tuple[str, ...] = ()
    """The item at `{position}` shall leave the cart."""
    asks_cart: tuple[str, ...] = ()
    """A question about what is in the cart. A set without one of these four groups asks for nothing of a cart."""

    def templates(self) -> Iterator[str]:
        """All sentences, slots included."""
        for group in (self.requests.voices, self.requests.bounds, self.relative):
            for ways in group.values():
                yield from ways
        yield from (*self.requests.refusals, *self.wants, *self.indifferent, *self.nothing_shown)
        yield from (*self.accepts, *self.gives_up, *ORDINALS)
        yield from (*self.puts, *self.puts_unseen, *self.takes_out, *self.asks_cart)

    @cached_property
    def bare_templates(self) -> str:
        """All sentences without their slots, in one text."""
        return re.sub(r"\{\w+\}", " ", " / ".join(self.templates()))

    def ways(self, need: Need) -> tuple[str, ...]:
        """All ways to name what a need is about."""
        if isinstance(need.value, float):
            return (f"{need.value:.12g}", need.attribute.replace("_", " "))
        if need.role == "year":
            short = need.value.removeprefix("19")
            return (need.value, short, self.requests.nicknames.get(short, ""), *self.requests.decades)
        frames = self.requests.frames.get(need.role, ())
        said = self.requests.values.get(need.value)
        return said or tuple(frame.replace("{value}", need.written) for frame in frames)

    def content(self, needs: Iterable[Need]) -> frozenset[str]:
        """The words that may name some needs, folded; short words count where they are of the catalogue."""
        words: set[str] = set()
        for need in needs:
            own = f"{need.value:.12g}" if isinstance(need.value, float) else f"{need.value} {need.written}"
            said = fold_words(" ".join(re.sub(r"\{\w+\}", " ", way) for way in self.ways(need)))
            words |= {*fold_words(own), *(word for word in said if len(word) > _LONGEST_GRAMMAR)}
        return frozenset(words)


def _without_years(words: Words) -> Words:
    """Words that name decades alone: a year of a decade could be the target's own."""
    return replace(words, decades=(*(way for way in words.decades if "{year}" not in way), "of the {decade}"))


TEST_PERSON_WORDS = PersonWords(
    requests=_without_years(TEST_WORDS),
    wants=("What I'm missing is {wish}", "It has to be {wish}", "Closer to one that's {wish}, then"),
    relative={
        ("year", "lower"): ("Older than those", "Those are all so new"),
        ("year", "higher"): ("Newer than those", "Those are all so old"),
        ("price", "lower"): ("Cheaper than those", "Those are all so dear"),
        ("price", "higher"): ("Dearer than those", "Those are all so cheap"),
        ("number", "lower"): ("With a lower {name} than those",),
        ("number", "higher"): ("With a higher {name} than those",),
    },
    indifferent=("I don't mind", "You decide, it's all the same to us"),
    nothing_shown=("There was not one to judge", "No offers yet, then"),
    accepts=("I'll take the {position} one", "The {position} one it is"),
    gives_up=("Let's leave it there", "Forget it, we'll ask elsewhere"),
    puts=(
        "Put the {position} one in my basket",
        "Could you add the {position} one to my cart",
        "Stick the {position} one in the trolley",
        "Order the {position} one for me",
    ),
    puts_unseen=("Put the one in my basket that you advised in spring", "Add that one from my last visit to my cart"),
    takes_out=("Take the {position} one out of my basket again", "Remove the {position} one from my cart"),
    asks_cart=("Which ones are in my basket now?", "What's in my cart so far?"),
)
"""The words of people that agents are measured with."""

TRAINING_PERSON_WORDS = PersonWords(
    requests=_without_years(TRAINING_WORDS),
    wants=("I need something {wish}.", "Please find something {wish}.", "Wrong type, I want something {wish}."),
    relative={
        ("year", "lower"): ("Please show me something released before these.", "I want something from before these."),
        ("year", "higher"): ("Please show me something released after these.", "I want something from after these."),
        ("price", "lower"): ("Please show me something at lesser cost.", "These prices exceed my budget."),
        ("price", "higher"): ("Please show me something at greater cost.", "My budget permits more."),
        ("number", "lower"): ("The {name} must be lesser.",),
        ("number", "higher"): ("The {name} must be greater.",),
    },
    indifferent=("Anything is fine.", "I am open to anything."),
    nothing_shown=("Please show me something.", "I need suggestions."),
    accepts=("I pick the {position} of these.", "Excellent, the {position} of these, please."),
    gives_up=("Thanks, I quit searching.", "Nothing here fits, goodbye."),
    puts=("Please transfer the {position} of these to my bag.", "I buy the {position} of these."),
    puts_unseen=("Please transfer the article from yesterday to my bag.",),
    takes_out=("Please delete the {position} of these from my bag.",),
    asks_cart=("Please display my bag.",),
)
"""The words of people that agents are trained with."""
