"""Wishes in sentences: attributes, what is not wanted, bounds on numbers, and a second wish."""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from deeprec.trm_tool.catalogue.number_names import split_unit
from deeprec.trm_tool.data.made_requests.words import Bound, Role, Words


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an attribute that a message can name."""

    attribute: str
    role: Role
    phrase: str
    """As the catalogue's phrases name it: in lower case, a decade for a year."""
    written: str
    """As the catalogue writes it."""


@dataclass(frozen=True, slots=True)
class NumberBound:
    """A bound on a number attribute; items at the bound pass."""

    attribute: str
    bound: Bound
    number: float
    role: Role
    """"price", "year" or "number"."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one wish of a message says."""

    wanted: tuple[Value, ...]
    """At least one."""
    unwanted: tuple[Value, ...] = ()
    bounds: tuple[NumberBound, ...] = ()


def write_message(words: Words, voice: str, wishes: Sequence[Wish], rng: Generator) -> str:
    """Say wishes in a message: the first one in a sentence of the voice, further ones in sentences after it.

    Args:
        words: Sentences and words to draw from.
        voice: Key of `words.voices`.
        wishes: At least one.
        rng: Draws sentences and words.
    """
    sentences: list[str] = []
    for number, wish in enumerate(wishes):
        opening = _draw(words.seconds if number else words.voices[voice], rng)
        listed = _listed([say_value(words, value, rng) for value in wish.wanted], words.joint)
        sentences.append(opening.format(wish=listed))
        sentences += [_draw(words.refusals, rng).format(wish=say_value(words, value, rng)) for value in wish.unwanted]
        sentences += [say_bound(words, bound, rng) for bound in wish.bounds]
    if len(sentences) == 1:
        return sentences[0]
    return " ".join(text if text[-1] in ".?!" else f"{text}." for text in sentences)


def say_value(words: Words, value: Value, rng: Generator) -> str:
    """Say one value in words that fit behind "something"."""
    if value.role == "year":
        short = value.phrase.removeprefix("19")
        nickname = words.nicknames.get(short, "")
        way = _draw([way for way in words.decades if nickname or "{nickname}" not in way], rng)
        year = int(value.phrase[:4]) + int(rng.integers(10))
        return way.format(decade=value.phrase, short=short, nickname=nickname, year=year)
    said = words.values.get(value.phrase)
    if said is None:
        said = tuple(way.replace("{value}", value.written) for way in words.frames[value.role])
    return _draw(said, rng)


def say_bound(words: Words, bound: NumberBound, rng: Generator) -> str:
    """Say a bound in a clause of its own."""
    way = _draw(words.bounds[bound.role, bound.bound], rng)
    name, unit = split_unit(bound.attribute)
    number = f"{bound.number:.12g} {unit}" if unit and "{name}" in way else f"{bound.number:.12g}"
    return way.replace("{name}", name).replace("{number}", number)


def _listed(parts: Sequence[str], joint: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {joint} {parts[-1]}"


def _draw(ways: Sequence[str], rng: Generator) -> str:
    return ways[int(rng.integers(len(ways)))]
