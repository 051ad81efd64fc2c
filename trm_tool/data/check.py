"""A report on a folder of atomic files: its content, its weaknesses, and whether it can be trained on."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.atomic_files import DETECT, find_files, read_atomic_files
from deeprec.trm_tool.data.column_kinds import ItemColumn, describe_columns
from deeprec.trm_tool.data.columns import ColumnNames
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.folder import is_synthetic
from deeprec.trm_tool.data.importers.time_units import in_one_unit
from deeprec.trm_tool.data.problems import Findings, Problem, find_problems
from deeprec.trm_tool.data.time_figures import TimeFigures, time_figures
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS
from deeprec.trm_tool.errors import DataError

HOLDOUT = 2
"""Items at the end of each person's history that training never sees: the default of `trm train`."""
MIN_ITEMS = 20
"""Items that `trm train` requires."""
FEW_USERS = 100
_ID_WORDS = ("id", "ids", "uuid", "guid", "key", "sku", "ean", "isbn", "user", "customer", "reviewer", "session")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute of the catalogue, as the reader types it."""

    name: str
    kind: str
    filled: int
    """Items that have it."""
    distinct: int
    """Distinct values, or distinct tags."""
    low: float | None = None
    high: float | None = None
    people: int = 0
    """Distinct values that are ids of people, where these are more than numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Figures of the data as the reader takes it."""

    users: int
    items: int
    interactions: int
    density: float
    """Interactions over people times items."""
    history_lengths: dict[str, float]
    """`min`, `median`, `mean`, `90%`, `max` of the interactions of a person."""
    times: TimeFigures | None
    """None where the time stamps lie outside every calendar."""
    mixed_units: dict[str, int]
    """Unit -> time stamps, where the column has several units; then the order of time is wrong."""
    tied_pairs: int
    """Neighbours in a history that have the same time stamp."""
    tied_targets: int
    """People whose last two time stamps tie: file order chooses their test target."""
    repeated_pairs: int
    """Interactions of a person with an item of their history."""
    seen_targets: int
    """People whose test target is in their history already."""
    missing_titles: int
    shared_titles: int
    """Titles that more than one item has."""
    items_sharing_a_title: int
    idle_items: int
    """Items without any interaction."""
    cold_items: int
    """Items that occur as validation or test targets only."""
    cold_test_targets: int
    """People whose test target does not occur in training."""
    attributes: tuple[Attribute, ...]
    columns: tuple[ItemColumn, ...]
    """Every column of the items beside the id and the title, and what it is read as."""
    item_popularity: tuple[int, ...]
    """Interactions of the items, the most popular first, summed over each of ten equal parts of the catalogue."""
    text_parts: tuple[str, ...]
    """What an item's text is made of, in its order: the title, the attributes, the columns of prose."""
    median_text: int
    """Characters of an item's text, the median."""
    longest_text: int
    """Characters of the longest text."""
    cut_texts: int
    """Items whose text is longer than the encoder reads."""
    example_text: str
    """The text of the item that has the median length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The content of a folder of atomic files, its problems, and whether it can be trained on."""

    folder: str
    synthetic: bool
    """The folder holds a generated shop."""
    files: dict[str, int]
    """File -> bytes."""
    rows: tuple[tuple[str, int], ...]
    """Step of the reader -> interactions left after it."""
    problems: tuple[Problem, ...]
    """Kinds of rows that the strict reader refuses."""
    statistics: Statistics | None
    """None where the data cannot be read."""
    warnings: tuple[str, ...]
    """Weaknesses of figures on this data, one sentence each."""
    trainable: bool
    """Whether `trm train` takes the folder with the options given."""
    advice: str
    """The next step, in one line."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def check_data(
    folder: Path, *, columns: ColumnNames = DETECT, drop_bad_rows: bool = False, dropped_rows: Path | None = None
) -> CheckReport:
    """Check a folder of atomic files. Rows that cannot be used are reported, and none of them ends the check.

    Args:
        folder: As `read_atomic_files` takes it.
        columns: As `read_atomic_files` takes them.
        drop_bad_rows: Whether the training is meant to run with `--drop-bad-rows`.
        dropped_rows: File for the rows that are left out then, as `read_atomic_files` takes it.

    Raises:
        DataError: the folder has no pair of atomic files.
    """
    folder = Path(folder)
    interactions, items = find_files(folder)
    found = find_problems(interactions, items, columns)
    dataset, refused = _read(folder, columns, drop=drop_bad_rows, dropped_rows=dropped_rows)
    trainable = dataset is not None
    if dataset is not None:
        refused = _too_small(dataset)
        trainable = not refused
    elif not drop_bad_rows:
        dataset, also_refused = _read(folder, columns, drop=True)
        also_refused = also_refused or _too_small(dataset)
        refused = also_refused or f"{refused} All such rows can be left out with --drop-bad-rows."
    described = () if dataset is None or items is None else describe_columns(items, columns)
    statistics = None if dataset is None else _statistics(dataset, found, described)
    return CheckReport(
        folder=str(folder),
        synthetic=is_synthetic(folder),
        files={path.name: path.stat().st_size for path in (interactions, items) if path is not None},
        rows=tuple(found.rows),
        problems=tuple(found.problems.values()),
        statistics=statistics,
        warnings=() if statistics is None else tuple(_warnings(statistics, is_synthetic(folder))),
        trainable=trainable,
        advice=refused
        if not trainable
        else f"Train on it: deeprec trm train --data {quote(str(folder))} --out ARTIFACT",
    )


def _read(
    folder: Path, columns: ColumnNames, *, drop: bool, dropped_rows: Path | None = None
) -> tuple[Dataset | None, str]:
    try:
        return read_atomic_files(folder, columns=columns, drop_bad_rows=drop, dropped_rows=dropped_rows), ""
    except DataError as error:
        return None, str(error)


def _too_small(dataset: Dataset | None) -> str:
    """Why `trm train` would refuse data that can be read, or ""."""
    if dataset is None:
        return ""
    if len(dataset.catalogue) < MIN_ITEMS:
        return f"{dataset.name} has {len(dataset.catalogue)} items where {MIN_ITEMS} are needed. Give more items."
    longest = max(map(len, dataset.sequences.values()))
    if longest < HOLDOUT + 2:
        return f"{dataset.name} has no person with {HOLDOUT + 2} interactions (the most is {longest}). Give more data."
    return ""


def _statistics(dataset: Dataset, found: Findings, columns: tuple[ItemColumn, ...]) -> Statistics:
    sequences, catalogue = list(dataset.sequences.values()), dataset.catalogue
    lengths = np.array([len(sequence) for sequence in sequences])
    trained = {item for sequence in sequences for item in sequence[:-HOLDOUT]}
    held_out = {item for sequence in sequences for item in sequence[-HOLDOUT:]}
    texts = sorted((item.text for item in catalogue), key=len)
    titles = Counter(item.title for item in catalogue if item.title != item.id)
    shared = [count for count in titles.values() if count > 1]
    return Statistics(
        users=len(sequences),
        items=len(catalogue),
        interactions=int(lengths.sum()),
        density=float(lengths.sum() / (len(sequences) * len(catalogue))),
        history_lengths={
            "min": float(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "90%": float(np.quantile(lengths, 0.9)),
            "max": float(lengths.max()),
        },
        times=time_figures(found.times),
        mixed_units=in_one_unit(np.asarray(found.times))[1],
        tied_pairs=found.tied_pairs,
        tied_targets=dataset.tied_targets,
        repeated_pairs=sum(len(sequence) - len(set(sequence)) for sequence in sequences),
        seen_targets=sum(sequence[-1] in sequence[:-1] for sequence in sequences),
        missing_titles=found.missing_titles if found.has_titles else len(catalogue),
        shared_titles=len(shared),
        items_sharing_a_title=sum(shared),
        idle_items=len(catalogue) - len(trained | held_out),
        cold_items=len(held_out - trained),
        cold_test_targets=sum(sequence[-1] not in trained for sequence in sequences),
        attributes=tuple(
            _attribute(catalogue, name, kind, dataset.sequences) for name, kind in catalogue.attribute_kinds.items()
        ),
        columns=columns,
        item_popularity=_popularity(sequences, len(catalogue)),
        text_parts=("the title", *catalogue.attribute_kinds, *catalogue.text_columns),
        median_text=len(texts[len(texts) // 2]),
        longest_text=len(texts[-1]),
        cut_texts=sum(len(text) > MAX_TEXT_CHARS for text in texts),
        example_text=texts[len(texts) // 2],
    )


def _popularity(sequences: list[tuple[str, ...]], items: int) -> tuple[int, ...]:
    counts = sorted(Counter(item for sequence in sequences for item in sequence).values(), reverse=True)
    parts = np.array_split(np.array([*counts, *[0] * (items - len(counts))]), 10)
    return tuple(int(part.sum()) for part in parts)


def _attribute(catalogue: Catalogue, name: str, kind: str, users: Collection[str]) -> Attribute:
    values = [item.attributes[name] for item in catalogue if name in item.attributes]
    numbers = [value for value in values if isinstance(value, float)]
    distinct = {part for value in values for part in (value if isinstance(value, tuple) else (value,))}
    return Attribute(
        name=name,
        kind=kind,
        filled=len(values),
        distinct=len(distinct),
        low=min(numbers, default=None),
        high=max(numbers, default=None),
        people=sum(isinstance(value, str) and not value.isdecimal() and value in users for value in distinct),
    )


def _warnings(data: Statistics, synthetic: bool) -> Iterator[str]:
    if synthetic:
        yield "The data is synthetic: figures on it are no measure of a recommender's quality."
    if data.users < FEW_USERS:
        yield f"{data.users} people are too few to compare recommenders."
    if data.mixed_units:
        units = ", ".join(f"{count} in {unit}" for unit, count in data.mixed_units.items())
        yield f"The time stamps mix units ({units}), so that they sort wrongly. Convert the column to one unit."
    elif data.times is None:
        yield "The time stamps lie outside every calendar. Name the column of times with --time-column."
    elif data.times.doubt:
        yield f"{data.times.doubt}."
    if data.tied_targets:
        yield f"{_share(data.tied_targets, data.users)} people: the last two time stamps tie, so file order chooses."
    if data.seen_targets:
        yield f"{_share(data.seen_targets, data.users)} people had their last item before: masked, it cannot be found."
    if data.cold_test_targets:
        yield f"{_share(data.cold_test_targets, data.users)} people: training never sees their last item."
    if data.missing_titles:
        yield f"{_share(data.missing_titles, data.items)} items have no title: prompts and people get their ids."
    if not data.attributes:
        yield "The items have no attributes: no preference can be trained, and no constraint enforced."
    yield from _ids_as_attributes(data)
    if data.cut_texts:
        yield f"{_share(data.cut_texts, data.items)} items have texts of which {MAX_TEXT_CHARS:,} characters are read."
    for attribute in data.attributes:
        if attribute.filled < data.items / 2:
            yield f"{_share(data.items - attribute.filled, data.items)} items have no {attribute.name}."


def _ids_as_attributes(data: Statistics) -> Iterator[str]:
    """Attributes that are ids: they would stand in prompts, and a person's would outlive their redaction."""
    for attribute in data.attributes:
        if attribute.kind == "number":
            continue
        option = f"--attribute {quote(f'{attribute.name}=ignore')}"
        words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", attribute.name).lower())
        if attribute.people and 2 * attribute.people >= attribute.distinct:
            yield f"{attribute.name} holds ids of people, who would stand in prompts. Leave it out with {option}."
        elif words[-1] in _ID_WORDS:
            yield f"{attribute.name} looks like an id, and no preference names one. Leave it out with {option}."


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}"
