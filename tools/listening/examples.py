"""Examples for the shipped policy: messages over phrases on offer, and the preference that each means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from deeprec.agent import Prompts
from deeprec.agent.graph.offered_phrases import phrases_of_message
from deeprec.agent.protocols.tags import BEGIN_ITEMS, BEGIN_LIST, BEGIN_PREFERENCE, END_ITEMS, END_LIST, END_PREFERENCE
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.data import TRAINING_WORDS
from deeprec.trm_tool.data.made_requests.sentences import NumberBound, Value, Wish, write_message
from deeprec.trm_tool.encoders.text_encoder import Encoder, TextRole
from deeprec.trm_tool.trm.closest_phrases import ClosestPhrases, text_parts
from tools.listening.catalogue_file import WrittenBound, WrittenCatalogue, WrittenRequest, read_catalogue_file
from tools.listening.made_catalogues import MadeCatalogue, read_made_catalogue

K = 10
"""Items that the prompt asks for, and that a list names."""
_FEWEST, _MOST = 6, 18
"""Phrases on offer, at least and at most: fewer than an agent offers make more examples a second."""
_SILENT, _HISTORIES, _NUMBERS = 0.03, 0.5, 0.4
"""Shares of the examples without words, of those with a history, and of those with the numbers that nobody bounds.
Without words, what is on offer first is written, which is what a history has most of."""
_LONGEST = 40
"""Characters of other words that stand for a phrase on offer, at most."""
_PERSON = "\N{REPLACEMENT CHARACTER}"
"""Stands for the text about the person where a prompt is split."""


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
    ranked: list[list[str]]
    """The phrases of the catalogue for each message, in the order in which an agent offers them."""


def phrases_of(catalogue: WrittenCatalogue) -> list[str]:
    """The phrases that a catalogue knows: its values, and the decades of its years."""
    phrases = [value for each in catalogue.attributes for value in each.values]
    years = next((number for number in catalogue.numbers if number.is_year), None)
    decades = range(int(years.min) // 10 * 10, int(years.max) + 1, 10) if years else ()
    return [*phrases, *(f"{decade}s" for decade in decades)]


class _Remembering:
    """An encoder that has encoded some preferences at once, which is ten times as fast as one after another."""

    def __init__(self, encoder: Encoder, texts: Sequence[str]) -> None:
        self.id, self.fingerprint, self.width = encoder.id, encoder.fingerprint, encoder.width
        self._encode = encoder.encode
        self._known = dict(zip(texts, encoder.encode(texts, role="preference"), strict=True))

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        if role == "preference" and all(text in self._known for text in texts):
            return np.stack([self._known[text] for text in texts])
        return self._encode(texts, role=role)


def ranked_phrases(made: MadeCatalogue, messages: Sequence[str], encoder: Encoder) -> list[list[str]]:
    """The phrases of a catalogue for each message as an agent ranks them: those that it names, then the closest."""
    catalogue = made.dataset.catalogue
    texts = torch.from_numpy(encoder.encode([item.text for item in catalogue]))
    parts = list(dict.fromkeys(part for each in messages for part in text_parts(each)))
    closest, phrases = ClosestPhrases(_Remembering(encoder, parts)), list(catalogue.phrases())
    spotter = PhraseSpotter(phrases)
    return [phrases_of_message(each, spotter, closest.find(catalogue, texts, each, len(phrases))) for each in messages]


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
        catalogues: Files of catalogues, where the messages come from.
        tokenizer: The embedded model's.
        encoder: Ranks the phrases on offer, as a recommender does for the agent.
        rng: Draws everything.
        templates: Share of messages in the sentences of `TRAINING_WORDS`; the others are the written ones.
        renames: Share of the examples whose list of phrases differs from the catalogue's: four in ten phrases bear
            other words for them, a quarter of what is said is left out, and phrases of other catalogues stand among
            them. Without it a policy learns the vocabulary of each catalogue by heart, and writes elsewhere what is not
            on offer.
    """

    def __init__(
        self,
        catalogues: Sequence[Path],
        tokenizer: Any,
        encoder: Encoder,
        rng: Generator,
        *,
        templates: float = 0.25,
        renames: float = 0.4,
    ) -> None:
        self._tokenizer, self._prompts, self._renames, self.rng = tokenizer, Prompts.words(), renames, rng
        self.pools = [self._pool(path, encoder, templates) for path in catalogues]
        self._wordings = {
            value: words
            for pool in self.pools
            for attribute in pool.catalogue.attributes
            for value, words in attribute.values.items()
        }
        self.deck: list[tuple[int, int]] = []
        """What is left of this pass: pool and message."""
        messages = [
            {"role": "system", "content": self._prompts.tagged_system(K, 1)},
            {"role": "user", "content": _PERSON},
        ]
        chat = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        head, tail = chat.split(_PERSON)
        self._shared, self._tail = self._ids(head), [*self._ids(tail), *self._ids(BEGIN_PREFERENCE)]

    def group(self, size: int) -> tuple[list[int], list[Example]]:
        """The shared part of a prompt, and what follows it for `size` messages of any catalogues."""
        examples: list[Example] = []
        while len(examples) < size:
            if not self.deck:
                self.deck = [(at, each) for at, pool in enumerate(self.pools) for each in range(len(pool.requests))]
                self.rng.shuffle(self.deck)
            at, message = self.deck.pop()
            if example := self._example(self.pools[at], message):
                examples.append(example)
        return self._shared, examples

    def whole_run(self) -> tuple[list[int], list[Example]]:
        """A run with the items that were found and the list, in the recommender's order."""
        rng = self.rng
        shared, [first] = self.group(1)
        catalogue = self.pools[int(rng.integers(len(self.pools)))].catalogue
        values = [value for each in catalogue.attributes for value in each.values]
        lines = []
        for number in range(1, K + 1):
            drawn = [values[at] for at in rng.permutation(len(values))[: int(rng.integers(1, 5))]]
            lines.append(f"{number}. {_title(catalogue, rng)} ({', '.join(drawn)})")
        found = self._ids("\n".join(["", BEGIN_ITEMS, *lines, END_ITEMS, ""]))
        listed = self._ids("\n".join([*map(str, range(1, K + 1)), END_LIST]))
        return shared, [Example([*first.rest, *first.written, *found, *self._ids(f"{BEGIN_LIST}\n")], listed)]

    def _example(self, pool: Pool, message: int) -> Example | None:
        """One message with the phrases on offer for it; None where nothing of what it says can be written."""
        rng, request, ranked = self.rng, pool.requests[message], pool.ranked[message]
        renamed = rng.random() < self._renames
        offered = self._renamed(pool, request, ranked) if renamed else _offered(ranked, rng)
        silent = rng.random() < _SILENT
        meant = "; ".join([*offered.values()][:2]) if silent else preference(request, offered)
        if not meant:
            return None
        titles = [_title(pool.catalogue, rng)] if rng.random() < _HISTORIES else []
        text = self._prompts.person(
            titles,
            None if silent else _as_typed(request.message, rng),
            k=K,
            titles=titles,
            phrases=list(offered.values()),
            numbers=number_ranges(pool.catalogue) if request.where or rng.random() < _NUMBERS else [],
        )
        return Example([*self._ids(text), *self._tail], self._ids(meant + END_PREFERENCE))

    def _renamed(self, pool: Pool, request: WrittenRequest, ranked: Sequence[str]) -> dict[str, str]:
        """Phrases on offer -> as what they are shown; see `renames`."""
        rng = self.rng
        said = {*request.wanted, *request.unwanted}
        left = [phrase for phrase in ranked if phrase not in said or rng.random() < 0.75]
        offered = left[: int(rng.integers(_FEWEST, _MOST - 1))]
        for _ in range(int(rng.integers(0, 5))):
            others = self.pools[int(rng.integers(len(self.pools)))].ranked[0]
            other = others[int(rng.integers(len(others)))]
            if other not in ranked and other not in offered:
                offered.insert(int(rng.integers(len(offered) + 1)), other)
        shown = dict.fromkeys(offered, "")
        for phrase in offered:
            words = [each for each in self._wordings.get(phrase, ()) if len(each) <= _LONGEST and ";" not in each]
            drawn = str(rng.choice(words)).lower() if words and rng.random() < 0.4 else phrase
            shown[phrase] = phrase if drawn in shown.values() else drawn
        return shown

    def _pool(self, path: Path, encoder: Encoder, templates: float) -> Pool:
        catalogue = read_catalogue_file(path)
        drawn = int(len(catalogue.requests) * templates / (1 - templates))
        requests = [*catalogue.requests, *(template_request(catalogue, self.rng) for _ in range(drawn))]
        ranked = ranked_phrases(read_made_catalogue(path), [each.message for each in requests], encoder)
        return Pool(catalogue, requests, ranked)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def number_ranges(catalogue: WrittenCatalogue) -> list[str]:
    """The numbers of a catalogue as a prompt shows them."""
    return [f"{number.name} {number.min:g} to {number.max:g}" for number in catalogue.numbers]


def _offered(ranked: Sequence[str], rng: Generator) -> dict[str, str]:
    """So many phrases as a prompt may show, now and then without some of them."""
    skipped = rng.random(len(ranked)) < rng.choice([0.0, 0.15])
    kept = [phrase for phrase, is_skipped in zip(ranked, skipped, strict=True) if not is_skipped]
    offered = kept[: int(rng.integers(_FEWEST, _MOST + 1))]
    return dict(zip(offered, offered, strict=True))


def _as_typed(message: str, rng: Generator) -> str:
    message = message.lower() if rng.random() < 0.15 else message
    return message.rstrip(".!?") if rng.random() < 0.1 else message


def _title(catalogue: WrittenCatalogue, rng: Generator) -> str:
    return " ".join(str(rng.choice(parts)) for parts in catalogue.titles)
