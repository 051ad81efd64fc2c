"""The catalogue: items with typed attributes, the phrases that are true of them, and their Parquet file."""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.bounded_parquet import check_expanded
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.errors import ArtifactError, DataError, UnknownItemError, reason_of
from deeprec.trm_tool.text import neutralise

AttributeKind = Literal["tags", "category", "number"]
"""Several values, one value, or a number."""
AttributeValue = str | float | tuple[str, ...]

MAX_PHRASE_CHARS = 40
"""Longer values are descriptions, not phrases."""
_PLACEHOLDERS = frozenset({"", "unknown", "n/a", "nan", "null"})
_FORMATS = (1, 2)
"""Formats of the file: 2 has a column of removed items, and is written only where some were removed."""
_ATTRIBUTE = "attribute:"
MAX_UNPACKED_BYTES = 4 * 2**30
"""The most bytes of all columns, unpacked: a million items with 4,000 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item. An attribute that the item lacks is absent from `attributes`."""

    id: str
    title: str
    text: str = ""
    """Everything that the text encoder reads: title, attributes and text fields."""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


class Catalogue:
    """Items in a fixed order, found by id. Two items may share a title, so no item is looked up by its title.

    An item that was removed keeps its position, since histories outlive products: it is still read and described, and
    no longer recommended.
    """

    def __init__(
        self,
        items: Iterable[Item],
        attribute_kinds: Mapping[str, AttributeKind],
        removed: Collection[str] = (),
        text_columns: Sequence[str] = (),
    ) -> None:
        """DataError is raised when an id repeats, or an attribute's value does not fit its kind."""
        self._items = tuple(items)
        self.removed = frozenset(removed)
        """Ids of the items that can no longer be recommended."""
        self.text_columns = tuple(text_columns)
        """Columns of the source that hold prose, as far as they are known, in the order of the items' texts."""
        self.attribute_kinds: dict[str, AttributeKind] = dict(attribute_kinds)
        self.ids: tuple[str, ...] = tuple(item.id for item in self._items)
        self._rows = {item_id: row for row, item_id in enumerate(self.ids)}
        if len(self._rows) < len(self.ids):
            repeated = next(item_id for row, item_id in enumerate(self.ids) if self._rows[item_id] != row)
            raise DataError(f"Item id {repeated!r} stands twice in the catalogue. Keep one of the two.")
        for item in self._items:
            for name, value in item.attributes.items():
                if not fits_kind(value, self.attribute_kinds.get(name)):
                    raise DataError(_misfit(item.id, name, value, self.attribute_kinds.get(name)))
        self.year_attributes: tuple[str, ...] = tuple(
            name
            for name, kind in self.attribute_kinds.items()
            if kind == "number" and "year" in name.lower() and self._holds_years(name)
        )
        """Number attributes that are years, from which the phrases of decades are made."""

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._rows

    def __getitem__(self, row: int) -> Item:
        return self._items[row]

    def item(self, item_id: str) -> Item:
        """The item with this id, or UnknownItemError."""
        return self._items[self.row(item_id)]

    def row(self, item_id: str) -> int:
        """Position of an item in the catalogue's order, or UnknownItemError."""
        row = self._rows.get(item_id)
        return int(self.rows([item_id])[0]) if row is None else row

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Positions of items, in the order given.

        Raises:
            UnknownItemError: names the ids that the catalogue lacks, ten at most.
        """
        unknown = list(dict.fromkeys(item_id for item_id in item_ids if item_id not in self._rows))
        if unknown:
            named = ", ".join(repr(item_id)[:80] for item_id in unknown[:10])
            more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
            example = f" such as {self.ids[0]!r}" if self.ids else ""
            raise UnknownItemError(
                f"Not in the catalogue: {named}{more}. It has {len(self)} items; give their ids{example}, not titles."
            )
        return np.array([self._rows[item_id] for item_id in item_ids], dtype=np.int64)

    def phrases_of(self, item_id: str) -> tuple[str, ...]:
        """Phrases of preference that are true of an item: tags, categories and the decade. Never its title.

        They are in lower case, safe for a prompt and distinct; placeholders such as "unknown" are left out.
        """
        item = self.item(item_id)
        phrases: dict[str, None] = {}
        for name, kind in self.attribute_kinds.items():
            value = item.attributes.get(name)
            if value is None:
                continue
            if isinstance(value, tuple):
                phrases.update(dict.fromkeys(map(phrase_of, value)))
            elif kind == "category":
                phrases[phrase_of(str(value))] = None
            elif name in self.year_attributes:
                phrases[decade_of(float(value))] = None
        unfit = _PLACEHOLDERS | {phrase_of(item.title)}
        return tuple(phrase for phrase in phrases if phrase not in unfit)

    def phrases(self, min_items: int = 5) -> dict[str, frozenset[str]]:
        """Phrase -> ids of the items it is true of, for phrases true of at least `min_items`; alphabetical.

        Removed items do not count.
        """
        return {phrase: ids for phrase, ids in self._phrase_index.items() if len(ids) >= min_items}

    def spot(self, text: str) -> tuple[str, ...]:
        """Phrases that a free text names, in its order, each once (`PhraseSpotter`)."""
        return self._spotter.spot(text)

    def summary(self, item_id: str, max_chars: int = 80) -> str:
        """One line for people: `Toy Story (1995; animation, children's, comedy)`.

        It is raw catalogue text, cut with "…" at `max_chars`: pass it through `neutralise` before it enters a prompt.
        """
        item = self.item(item_id)
        years: list[str] = []
        words: list[str] = []
        numbers: list[str] = []
        for name in self.attribute_kinds:
            value = item.attributes.get(name)
            if isinstance(value, float):
                shown = f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
                (years if name in self.year_attributes else numbers).append(
                    shown if name in self.year_attributes else f"{name.replace('_', ' ')} {shown}"
                )
            elif value is not None:
                words.extend([value.lower()] if isinstance(value, str) else [part.lower() for part in value])
        details = "; ".join(part for part in ("; ".join(years), ", ".join(words), ", ".join(numbers)) if part)
        line = " ".join((f"{item.title} ({details})" if details else item.title).split())
        return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"

    @cached_property
    def available(self) -> NDArray[np.bool_]:
        """Which items can be recommended, bool (n_items,): all but the removed ones."""
        return np.array([item_id not in self.removed for item_id in self.ids], dtype=np.bool_)

    def to_parquet(self, path: Path) -> None:
        """Write `id`, `title`, `text`, a typed column for each attribute (`attribute:NAME`), `removed` if any is."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"tags": pa.list_(pa.string()), "category": pa.string(), "number": pa.float64()}
        columns = {name: pa.array([getattr(item, name) for item in self], pa.string()) for name in _FIXED}
        for name, kind in self.attribute_kinds.items():
            columns[_ATTRIBUTE + name] = pa.array([item.attributes.get(name) for item in self], types[kind])
        if self.removed:
            columns[_REMOVED] = pa.array(~self.available)
        meta: dict[str, object] = {"format": 2 if self.removed else 1, "attribute_kinds": self.attribute_kinds}
        if self.text_columns:  # without any, the file is that of earlier versions, and so is the artifact's fingerprint
            meta["text_columns"] = self.text_columns
        pq.write_table(pa.table(columns).replace_schema_metadata({"deeprec": json.dumps(meta)}), path)

    @classmethod
    def from_parquet(cls, path: Path, *, items: int | None = None) -> "Catalogue":
        """Read what `to_parquet` wrote.

        Args:
            path: The file.
            items: How many items it is meant to have; None takes any number.

        Raises:
            ArtifactError: the file does not fit; it and the field are named.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        remedy = "Copy the artifact again, or train it again."
        try:
            file = pq.ParquetFile(path)
            _check_size(path, file.metadata, items, remedy)
            check_expanded(path)
            table = file.read()
        except FileNotFoundError:
            raise ArtifactError(f"{path} is missing. {remedy}") from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ArtifactError(f"{path} is not a readable parquet file ({reason_of(error)}). {remedy}") from None
        try:
            meta = parse_json((table.schema.metadata or {})[b"deeprec"])
            version, kinds, text_columns = meta["format"], dict(meta["attribute_kinds"]), meta.get("text_columns", ())
            if not all(isinstance(name, str) for name in text_columns):
                raise TypeError(text_columns)
        except (KeyError, TypeError, ValueError):
            raise ArtifactError(f"{path} lacks the metadata field 'deeprec'. {remedy}") from None
        if version not in _FORMATS:
            raise ArtifactError(f"{path} has format {version!r}; this version reads 1 and 2. Train the artifact again.")
        columns = {}
        for name in (*_FIXED, *([_REMOVED] if version == 2 else ()), *(_ATTRIBUTE + kind for kind in kinds)):
            if name not in table.column_names:
                raise ArtifactError(f"{path} lacks the column {name!r}. {remedy}")
            columns[name] = table.column(name).to_pylist()
            if name in _FIXED and not all(isinstance(value, str) for value in columns[name]):
                raise ArtifactError(f"{path} has a value in column {name!r} that is not text. {remedy}")
            if name == _REMOVED and not all(isinstance(value, bool) for value in columns[name]):
                raise ArtifactError(f"{path} has a value in column {name!r} that is neither true nor false. {remedy}")
        try:
            return cls(
                (
                    Item(
                        id=columns["id"][row],
                        title=columns["title"][row],
                        text=columns["text"][row],
                        attributes={
                            name: tuple(value) if isinstance(value, list) else value
                            for name in kinds
                            if (value := columns[_ATTRIBUTE + name][row]) is not None
                        },
                    )
                    for row in range(table.num_rows)
                ),
                kinds,
                removed=[
                    item_id
                    for item_id, removed in zip(columns["id"], columns.get(_REMOVED, ()), strict=False)
                    if removed
                ],
                text_columns=text_columns,
            )
        except DataError as error:
            raise ArtifactError(f"{path}: {error} {remedy}") from None

    @cached_property
    def _spotter(self) -> PhraseSpotter:
        return PhraseSpotter(self._phrase_index)

    @cached_property
    def _phrase_index(self) -> dict[str, frozenset[str]]:
        index: dict[str, set[str]] = defaultdict(set)
        for item_id in self.ids:
            if item_id in self.removed:
                continue
            for phrase in self.phrases_of(item_id):
                index[phrase].add(item_id)
        return {phrase: frozenset(index[phrase]) for phrase in sorted(index)}

    def _holds_years(self, name: str) -> bool:
        values = [item.attributes[name] for item in self._items if name in item.attributes]
        years = sum(is_year(value) for value in values)
        return years > 0 and years >= 0.95 * len(values)


_FIXED = ("id", "title", "text")
_REMOVED = "removed"


def decade_of(year: float) -> str:
    """`1995.0` -> `"1990s"`."""
    return f"{int(year) // 10 * 10}s"


@lru_cache(maxsize=65_536)  # many items share few values
def phrase_of(value: str) -> str:
    """The phrase of a value, or "" when it is too long. Phrases are joined by ";", so it becomes "," inside one."""
    phrase = neutralise(value.lower().replace(";", ","), MAX_PHRASE_CHARS)
    return "" if phrase.endswith("…") else phrase


def is_year(value: object) -> bool:
    """Whether a value is a whole number from 1800 to 2100."""
    return isinstance(value, float) and 1800 <= value <= 2100 and value.is_integer()


def encoder_text(
    title: str, attributes: Mapping[str, AttributeValue], years: Sequence[str], prose: Sequence[str] = ()
) -> str:
    """An item's text for the encoder, in words that preferences use: `Toy Story. 1995, 1990s. Animation, Comedy. …`."""
    parts = [title]
    for name, value in attributes.items():
        if isinstance(value, tuple):
            parts.append(", ".join(value))
        elif isinstance(value, str):
            parts.append(value)
        elif name in years:
            parts.append(f"{value:.0f}, {decade_of(value)}")
        else:
            parts.append(f"{name.replace('_', ' ')} {value:g}")
    return ". ".join([*parts, *(text for text in prose if text)])


def _check_size(path: Path, metadata: Any, items: int | None, remedy: str) -> None:
    """Raise ArtifactError where a file, which may be far smaller packed, has other items or more bytes than it may."""
    if items is not None and metadata.num_rows != items:
        raise ArtifactError(f"{path} has {metadata.num_rows} items; 'items' in config.json is {items}. {remedy}")
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if size > MAX_UNPACKED_BYTES:
        raise ArtifactError(
            f"{path} has {size:,} bytes unpacked, and {MAX_UNPACKED_BYTES:,} are read. Shorten the texts of its items."
        )


def fits_kind(value: object, kind: AttributeKind | None) -> bool:
    """Whether the value of an attribute is of its kind."""
    if kind == "number":
        return isinstance(value, float) and math.isfinite(value)
    if kind == "tags":
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    return kind == "category" and isinstance(value, str)


def _misfit(item_id: str, name: str, value: object, kind: AttributeKind | None) -> str:
    if kind not in get_args(AttributeKind):
        known = ", ".join(get_args(AttributeKind))
        return f"Item {item_id!r} has an attribute {name!r} of kind {kind!r}; the kinds are {known}."
    return f"Item {item_id!r} has {value!r} as {name!r}, which is not of the kind {kind!r}."
