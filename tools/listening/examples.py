"""Examples for the shipped policy: messages over one list of phrases on offer, and the preference that each means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deeprec.agent import Prompts
from deeprec.agent.protocols.prompts import (
    BEGIN_ITEMS,
    BEGIN_LIST,
    BEGIN_PREFERENCE,
    END_ITEMS,
    END_LIST,
    END_PREFERENCE,
)
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.data import TRAINING_WORDS
from deeprec.trm_tool.data.made_requests.sentences import NumberBound, Value, Wish, write_message
from deeprec.trm_tool.encoders.text_encoder import Encoder
from tools.listening.catalogue_file import WrittenBound, WrittenCatalogue, WrittenRequest

K = 10
"""Items that the prompt asks for, and that a list names."""
_NAMED = 0.5
"""What a phrase that stands in a message gains over those that only resemble it, as a cosine."""
_LONGEST = 40
"""Characters of other words that stand for a phrase on offer, at most."""
_MESSAGE = "\N{REPLACEMENT CHARACTER}"
"""Stands for the message where a prompt is split."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt in two parts, and what the policy writes after it, as token ids."""

    rest: list[int]
    """What follows the shared part, up to what the policy writes."""
    written: list[int]


@dataclass(frozen=True, slots=True)
class Pool:
    """The messages of one catalogue."""

    catalogue: WrittenCatalogue
    requests: list[WrittenRequest]
    phrases: list[str]
    closeness: NDArray[np.float64]
    """How close each phrase is to each message, (messages, phrases)."""


def phrases_of(catalogue: WrittenCatalogue) -> list[str]:
    """The phrases that a catalogue knows: its values, and the decades of its years."""
    phrases = [value for each in catalogue.attributes for value in each.values]
    years = next((number for number in catalogue.numbers if number.is_year), None)
    decades = range(int(years.min) // 10 * 10, int(years.max) + 1, 10) if years else ()
    return [*phrases, *(f"{decade}s" for decade in decades)]


def closeness(messages: Sequence[str], phrases: Sequence[str], encoder: Encoder) -> NDArray[np.float64]:
    """The cosine of each phrase and the nearest clause of each message, more where it is named: (messages, phrases)."""
    clauses = [[message, *(c.strip() for c in _CLAUSE.split(message) if len(c.strip()) > 2)] for message in messages]
    texts = list(dict.fromkeys([*phrases, *(clause for each in clauses for clause in each)]))
    vectors = np.asarray(encoder.encode(texts), np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    row = {text: at for at, text in enumerate(texts)}
    of_phrases = vectors[[row[phrase] for phrase in phrases]]
    close = np.stack([(of_phrases @ vectors[[row[c] for c in each]].T).max(axis=1) for each in clauses])
    spotter = PhraseSpotter(phrases)
    for at, message in enumerate(messages):
        named = set(spotter.spot(message))
        close[at] += [_NAMED * (phrase in named) for phrase in phrases]
    return close


def preference(request: WrittenRequest, offered: Mapping[str, str]) -> str:
    """What a request means: wanted and unwanted phrases in the order on offer, then bounds.

    Args:
        request: The message with what it says.
        offered: Phrase on offer -> as what the prompt shows it.
    """
    segments = [shown for phrase, shown in offered.items() if phrase in request.wanted]
    segments += [f"not {shown}" for phrase, shown in offered.items() if phrase in request.unwanted]
    bounds = {name: bound.model_dump(exclude_none=True) for name, bound in request.where.items()}
    return "; ".join([*segments, *preference_segments(bounds)])


def template_request(catalogue: WrittenCatalogue, rng: Generator) -> WrittenRequest:
    """A request in the sentences of `TRAINING_WORDS`, with the file's words for the values."""
    words = TRAINING_WORDS.with_values(
        {value: tuple(ways) for each in catalogue.attributes for value, ways in each.values.items()}
    )
    values = [
        Value(each.name, "category" if each.kind == "category" else "tag", value, value)
        for each in catalogue.attributes
        for value in each.values
    ]
    count = int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    order = rng.permutation(len(values))
    wanted, left = [values[at] for at in order[:count]], [values[at] for at in order[count:]]
    decades = [phrase for phrase in phrases_of(catalogue) if re.fullmatch(r"19\d0s", phrase)]
    if decades and rng.random() < 0.2:
        decade = decades[int(rng.integers(len(decades)))]
        wanted[-1] = Value("year", "year", decade, decade)
    unwanted = [left[0]] if rng.random() < 0.3 else []
    bounds: list[NumberBound] = []
    if catalogue.numbers and rng.random() < 0.3:
        number = catalogue.numbers[int(rng.integers(len(catalogue.numbers)))]
        at = number.min + (number.max - number.min) * rng.uniform(0.1, 0.9)
        at = float(round(at)) if number.whole or at > 20 else round(at * 2) / 2
        role: Any = "year" if number.is_year else "price" if "price" in number.name else "number"
        bounds = [NumberBound(number.name, "max" if rng.random() < 0.5 else "min", at, role)]
    voice = str(rng.choice(sorted(words.voices)))
    wish = Wish(wanted=tuple(wanted), unwanted=tuple(unwanted), bounds=tuple(bounds))
    return WrittenRequest(
        message=write_message(words, voice, [wish], rng),
        wanted=[value.phrase for value in wanted],
        unwanted=[value.phrase for value in unwanted],
        where={bound.attribute: WrittenBound(**{bound.bound: bound.number}) for bound in bounds},
    )


class ExampleMaker:
    """Makes groups of examples that share the first part of their prompt, so that a trainer computes it once.

    Args:
        catalogues: Where the messages come from.
        tokenizer: The embedded model's.
        encoder: Ranks the phrases on offer, as a recommender does for the agent.
        rng: Draws everything.
        templates: Share of messages in the sentences of `TRAINING_WORDS`; the others are the written ones.
        renames: Whether lists of phrases differ from the catalogue's: four in ten phrases bear other words for them, a
            quarter of what is said is left out, and phrases of other catalogues stand among them. Without it a policy
            learns the vocabulary of each catalogue by heart, and writes what is not on offer elsewhere.
    """

    def __init__(
        self,
        catalogues: Sequence[WrittenCatalogue],
        tokenizer: Any,
        encoder: Encoder,
        rng: Generator,
        *,
        templates: float = 0.3,
        renames: bool = False,
    ) -> None:
        self.renames = renames
        self._tokenizer, self._prompts, self.rng = tokenizer, Prompts.words(), rng
        self.pools = [self._pool(catalogue, encoder, templates) for catalogue in catalogues]
        self._wordings = {
            value: words
            for each in catalogues
            for attribute in each.attributes
            for value, words in attribute.values.items()
        }
        self.deck: list[tuple[int, int]] = []
        """What is left of this pass: pool and message."""
        messages = [
            {"role": "system", "content": self._prompts.tagged_system(K, 1)},
            {"role": "user", "content": _MESSAGE},
        ]
        chat = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        self._head, tail = chat.split(_MESSAGE)
        self._tail = [*self._ids(tail), *self._ids(BEGIN_PREFERENCE)]

    def group(self, size: int) -> tuple[list[int], list[Example]]:
        """The shared part of a prompt, and messages that are close to much the same phrases."""
        rng = self.rng
        if not self.deck:
            self.deck = [(at, each) for at, pool in enumerate(self.pools) for each in range(len(pool.requests))]
            rng.shuffle(self.deck)
        at, first = self.deck.pop()
        pool = self.pools[at]
        centred = pool.closeness - pool.closeness.mean(axis=0)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        near = centred @ centred[first] + 0.25 * rng.standard_normal(len(centred))
        near[first] = np.inf
        rows = np.argsort(-near)[:size]
        requests = [pool.requests[row] for row in rows]
        mean = pool.closeness[rows].mean(axis=0) + 0.03 * rng.standard_normal(len(pool.phrases))
        ranked = [pool.phrases[column] for column in np.argsort(-mean)]
        offered = self._renamed(ranked, pool, requests) if self.renames else _offered(ranked, requests, rng)
        titles = [_title(pool.catalogue, rng) for _ in range(int(rng.integers(0, 6)))]
        bounded = any(request.where for request in requests) or rng.random() < 0.8
        shared = self._prompts.person(
            titles,
            _MESSAGE,
            k=K,
            titles=titles,
            phrases=list(offered.values()),
            numbers=number_ranges(pool.catalogue) if bounded else [],
        ).split(f": {_MESSAGE}")[0]
        examples = []
        for request in requests:
            if meant := preference(request, offered):
                rest = [*self._ids(f": {_as_typed(request.message, rng)}"), *self._tail]
                examples.append(Example(rest, self._closed(meant)))
        if rng.random() < 0.12:  # without words: what is on offer first, which is what the history has most of
            nothing = self._ids(self._prompts.no_message.removeprefix("The person says"))
            examples.append(Example([*nothing, *self._tail], self._closed("; ".join([*offered.values()][:2]))))
        if not examples:
            return self.group(size)
        return self._ids(self._head + shared), examples

    def whole_run(self) -> tuple[list[int], list[Example]]:
        """A run with the items that were found and the list, in the recommender's order."""
        rng = self.rng
        shared, [first, *_] = self.group(1)
        catalogue = self.pools[int(rng.integers(len(self.pools)))].catalogue
        values = [value for each in catalogue.attributes for value in each.values]
        lines = []
        for number in range(1, K + 1):
            drawn = [values[at] for at in rng.permutation(len(values))[: int(rng.integers(1, 5))]]
            lines.append(f"{number}. {_title(catalogue, rng)} ({', '.join(drawn)})")
        found = self._ids("\n".join(["", BEGIN_ITEMS, *lines, END_ITEMS, ""]))
        listed = self._ids("\n".join([*map(str, range(1, K + 1)), END_LIST]))
        return shared, [Example([*first.rest, *first.written, *found, *self._ids(f"{BEGIN_LIST}\n")], listed)]

    def _renamed(self, ranked: Sequence[str], pool: Pool, requests: Sequence[WrittenRequest]) -> dict[str, str]:
        """Phrases on offer -> as what they are shown; see `renames`."""
        rng = self.rng
        said = {phrase for request in requests for phrase in (*request.wanted, *request.unwanted)}
        kept = {phrase for phrase in sorted(said) if rng.random() < 0.75}
        left = [phrase for phrase in ranked if phrase in kept or phrase not in said]
        count = int(rng.integers(8, 21))
        offered = [*left[:count], *(phrase for phrase in left[count:] if phrase in kept)]
        for _ in range(int(rng.integers(0, 5))):
            others = self.pools[int(rng.integers(len(self.pools)))].phrases
            other = others[int(rng.integers(len(others)))]
            if other not in pool.phrases and other not in offered:
                offered.insert(int(rng.integers(len(offered) + 1)), other)
        shown = dict.fromkeys(offered, "")
        for phrase in offered:
            words = [each for each in self._wordings.get(phrase, ()) if len(each) <= _LONGEST and ";" not in each]
            drawn = str(rng.choice(words)).lower() if words and rng.random() < 0.4 else phrase
            shown[phrase] = phrase if drawn in shown.values() else drawn
        return shown

    def _pool(self, catalogue: WrittenCatalogue, encoder: Encoder, templates: float) -> Pool:
        drawn = int(len(catalogue.requests) * templates / (1 - templates))
        requests = [*catalogue.requests, *(template_request(catalogue, self.rng) for _ in range(drawn))]
        phrases = phrases_of(catalogue)
        return Pool(catalogue, requests, phrases, closeness([each.message for each in requests], phrases, encoder))

    def _closed(self, text: str) -> list[int]:
        return self._ids(text + END_PREFERENCE)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def number_ranges(catalogue: WrittenCatalogue) -> list[str]:
    """The numbers of a catalogue as a prompt shows them."""
    return [f"{number.name} {number.min:g} to {number.max:g}" for number in catalogue.numbers]


def _offered(ranked: Sequence[str], requests: Sequence[WrittenRequest], rng: Generator) -> dict[str, str]:
    count = int(rng.integers(12, 25))
    said = {phrase for request in requests for phrase in (*request.wanted, *request.unwanted)}
    offered = [*ranked[:count], *(phrase for phrase in ranked[count:] if phrase in said)]
    return dict(zip(offered, offered, strict=True))


def _as_typed(message: str, rng: Generator) -> str:
    message = message.lower() if rng.random() < 0.15 else message
    return message.rstrip(".!?") if rng.random() < 0.1 else message


def _title(catalogue: WrittenCatalogue, rng: Generator) -> str:
    return " ".join(str(rng.choice(parts)) for parts in catalogue.titles)


_CLAUSE = re.compile(r"[.,;:!?\n]| but | and ")
