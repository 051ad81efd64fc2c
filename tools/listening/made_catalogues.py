"""Made catalogues for training: `python -m tools.listening.made_catalogues FILE.json FOLDER`.

The file holds values, words for them and written requests (`catalogue_file`). From it come items that have these
values, people whose tastes are consistent, and requests of these people. Nothing in it exists; it is for learning what
words mean, and figures measured on it say nothing about people.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.random import Generator

from deeprec.trm_tool import Catalogue, DataError, Dataset, DeepRecError, Item, read_atomic_files
from deeprec.trm_tool.catalogue.catalogue import decade_of
from deeprec.trm_tool.data import TRAINING_WORDS, MadeRequestConfig, Request, RequestMaker, Said, write_requests
from deeprec.trm_tool.data.columns import ColumnType
from deeprec.trm_tool.data.folder import data_folder
from deeprec.trm_tool.data.importers.items import ItemSpool
from tools.listening.catalogue_file import (
    WrittenAttribute,
    WrittenCatalogue,
    WrittenNumber,
    WrittenRequest,
    read_catalogue_file,
)

ITEMS, PEOPLE = 300, 400
"""Items of a catalogue whose titles and requests ask for no other number, and people."""
REQUESTS = "requests.jsonl"
"""Name of the file of requests in the folder of a made catalogue."""
_FITTING = 2
"""Items that are drawn for each request, at least; others fit by chance."""
_PICKS, _SHORTEST = (6, 24), 3
"""Items that a person picks, at least and at most, and the fewest items of a history."""
_FAVOURITES, _TASTE = 4, 1.5
"""Values that a person prefers, and what each of them adds to an item's attraction, on a log scale."""
_START, _DAY = 1_704_067_200, 86_400
"""2024-01-01 in seconds since 1970, and the seconds of a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCatalogue:
    """A made catalogue with its people, and the requests that were written for it."""

    dataset: Dataset
    requests: tuple[Request, ...]
    """One for each written message, in the order of the file. The target is not in the data set's sequences: the person
    is made to pick it next, so that a recommender trained on the data set has not read it."""
    wordings: Mapping[str, tuple[str, ...]]
    """Value -> other words for it that fit behind "something"."""


def read_made_catalogue(path: Path, *, seed: int = 0) -> MadeCatalogue:
    """Make the items, people and requests of a file; the same for equal seeds.

    Args:
        path: A file such as `tools/listening/catalogues/podcasts.json`.
        seed: Seeds all draws.

    Raises:
        DataError: the file cannot be used; the message names the field.
    """
    written = read_catalogue_file(Path(path))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / written.slug
        _write_data(data, written, np.random.default_rng(seed))
        dataset = read_atomic_files(data)
    return MadeCatalogue(
        dataset=dataset,
        requests=tuple(_requests(written, dataset, np.random.default_rng((seed, 1)))),
        wordings={value: tuple(words) for each in written.attributes for value, words in each.values.items()},
    )


def template_requests(made: MadeCatalogue, config: MadeRequestConfig | None = None) -> Iterator[Request]:
    """Requests in the sentences of `TRAINING_WORDS`, with the file's words for the values, for the people's own picks.

    Raises:
        DataError: no value can be said.
    """
    words = TRAINING_WORDS.with_values(made.wordings)
    config = config or MadeRequestConfig(split="train")
    return RequestMaker(made.dataset, config, words=words).make()


def write_made_catalogue(path: Path, out: Path, *, seed: int = 0) -> MadeCatalogue:
    """Write what `read_made_catalogue` makes: a folder of atomic files, with the written requests in `REQUESTS`.

    Raises:
        ConfigError: the folder holds something else, or cannot be written.
        DataError: the file cannot be used.
    """
    made = read_made_catalogue(path, seed=seed)
    _write_data(Path(out), read_catalogue_file(Path(path)), np.random.default_rng(seed), made)
    return made


def _write_data(out: Path, written: WrittenCatalogue, rng: Generator, made: MadeCatalogue | None = None) -> None:
    """Write items and interactions, and the requests where they are given."""
    columns: dict[str, ColumnType] = {"title": "token_seq"}
    columns |= {each.name: "token" if each.kind == "category" else "token_seq" for each in written.attributes}
    columns |= {each.name: "float" for each in written.numbers}
    kinds = {each.name: each.kind for each in written.attributes} | {each.name: "number" for each in written.numbers}
    with data_folder(out, {"synthetic": True, "kinds": kinds}) as folder:
        items = list(_items(rng, written))
        spool = ItemSpool(folder / "items.spool", tuple(columns.items()))
        for line, item in enumerate(items, start=1):
            spool.add((line, item.id, [item.title, *(item.attributes[name] for name in columns if name != "title")]))
        spool.write(folder / f"{written.slug}.item", keep=None)
        spool.remove()
        with (folder / f"{written.slug}.inter").open("w", encoding="utf-8", newline="\n") as file:
            file.write("user_id:token\titem_id:token\ttimestamp:float\n")
            for person, picks in enumerate(_people(rng, written, items), start=1):
                for number, row in enumerate(picks):
                    file.write(f"U{person:03d}\t{items[row].id}\t{_START + (person + number) * _DAY}\n")
        if made is not None:
            write_requests(folder / REQUESTS, made.requests, catalogue=made.dataset.catalogue)


def _items(rng: Generator, written: WrittenCatalogue) -> Iterator[Item]:
    """Items that answer the written requests in turn; what a request leaves open is drawn."""
    count = max(min(ITEMS, written.most_titles), _FITTING * len(written.requests))
    if written.most_titles < count:
        raise DataError(f"{written.name}: titles make {written.most_titles} titles for {count} items. Add parts.")
    titles = [" ".join(parts) for parts in product(*written.titles)]
    for number, at in enumerate(rng.permutation(len(titles))[:count]):
        request = written.requests[number % len(written.requests)]
        attributes = {each.name: _draw_value(rng, each, request) for each in written.attributes}
        numbers = {each.name: _draw_number(rng, each, written, request) for each in written.numbers}
        yield Item(id=f"{written.slug}-{number + 1:03d}", title=titles[at], attributes={**attributes, **numbers})


def _draw_value(rng: Generator, attribute: WrittenAttribute, request: WrittenRequest) -> str | tuple[str, ...]:
    wanted = [value for value in request.wanted if value in attribute.values]
    others = [value for value in attribute.values if value not in (*wanted, *request.unwanted)]
    least, most = attribute.per_item
    count = max(int(rng.integers(least, most + 1)) - len(wanted), 0)
    drawn = [others[at] for at in rng.permutation(len(others))[:count]]
    return (wanted + drawn)[0] if attribute.kind == "category" else tuple(wanted + drawn)


def _draw_number(rng: Generator, number: WrittenNumber, written: WrittenCatalogue, request: WrittenRequest) -> float:
    low, high = written.interval(request, number)
    while True:
        value = (
            float(rng.integers(int(low), int(high) + 1)) if number.whole else round(float(rng.uniform(low, high)), 1)
        )
        if low <= value <= high and not (number.is_year and decade_of(value) in request.unwanted):
            return value


def _people(rng: Generator, written: WrittenCatalogue, items: list[Item]) -> Iterator[list[int]]:
    """Rows of the items that each person picks, in order of time: mostly those with the person's favourite values."""
    values = [value for each in written.attributes for value in each.values]
    has = np.array([[value in _values(item) for value in values] for item in items], np.float64)
    popularity = rng.normal(0, 0.7, len(items))
    for _ in range(PEOPLE):
        favourites = rng.permutation(len(values))[:_FAVOURITES]
        score = popularity + _TASTE * has[:, favourites].sum(axis=1)
        drawn = np.argsort(-(score + rng.gumbel(size=len(items))))  # draws in proportion to exp(score)
        picks = drawn[: int(rng.integers(_PICKS[0], _PICKS[1] + 1))]
        yield rng.permutation(picks).tolist()


def _values(item: Item) -> set[str]:
    """The values of an item's categories and tags."""
    return {
        value
        for each in item.attributes.values()
        if not isinstance(each, float)
        for value in ((each,) if isinstance(each, str) else each)
    }


def _requests(written: WrittenCatalogue, dataset: Dataset, rng: Generator) -> Iterator[Request]:
    """A request for each message; its target is the fitting item that has most in common with the person's history."""
    phrases_of = {item_id: frozenset(dataset.catalogue.phrases_of(item_id)) for item_id in dataset.catalogue.ids}
    for number, request in enumerate(written.requests, start=1):
        fitting = fitting_items(dataset.catalogue, request)
        person, left = "", list[str]()
        while not left:  # a random person soon comes who has not picked all of them
            person = dataset.users[int(rng.integers(len(dataset.users)))]
            left = [item_id for item_id in fitting if item_id not in dataset.sequences[person]]
        picked = dataset.sequences[person]
        history = picked[: int(rng.integers(_SHORTEST, len(picked) + 1))]
        liked = Counter(phrase for item_id in history for phrase in phrases_of[item_id])
        target = max(left, key=lambda item_id: sum(liked[phrase] for phrase in phrases_of[item_id]))
        yield Request(
            conversation=f"{written.slug}-{number}",
            person=person,
            history=history,
            message=request.message,
            targets=(target,),
            said=(_said(request),),
            source="made catalogue",
            made=True,
        )


def fitting_items(catalogue: Catalogue, request: WrittenRequest) -> list[str]:
    """Ids of the items that have all that a request wants, nothing that it refuses, and numbers within its bounds."""
    phrases = catalogue.phrases(1)
    fitting = set(catalogue.ids).intersection(*(phrases.get(phrase, ()) for phrase in request.wanted))
    fitting -= set().union(*(phrases.get(phrase, ()) for phrase in request.unwanted))
    for name, bound in request.where.items():
        low, high = (-math.inf if bound.min is None else bound.min), (math.inf if bound.max is None else bound.max)
        numbers = {item_id: catalogue.item(item_id).attributes.get(name) for item_id in fitting}
        fitting = {
            item_id for item_id, number in numbers.items() if isinstance(number, float) and low <= number <= high
        }
    return [item_id for item_id in catalogue.ids if item_id in fitting]


def _said(request: WrittenRequest) -> Said:
    where = {name: bound.model_dump(exclude_none=True) for name, bound in request.where.items()}
    return Said(wanted=tuple(request.wanted), unwanted=tuple(request.unwanted), where=where or None)


def main(path: Path, out: Path, seed: Annotated[int, typer.Option()] = 0) -> None:
    """Write the folder of a made catalogue."""
    try:
        made = write_made_catalogue(path, out, seed=seed)
    except DeepRecError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    items, people = len(made.dataset.catalogue), len(made.dataset.users)
    typer.echo(f"{out}: {items} items, {people} people, {len(made.requests)} requests")


if __name__ == "__main__":
    typer.run(main)
