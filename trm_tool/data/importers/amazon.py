"""Amazon Reviews as UCSD publishes them: 2018 (JSON lines) and 2023 (JSON lines, or CSV files of ratings only)."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from deeprec.trm_tool.data.columns import ColumnType
from deeprec.trm_tool.data.importers.formats.csv_rows import csv_layout, read_csv
from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.item_values import Value
from deeprec.trm_tool.data.importers.items import ItemRow
from deeprec.trm_tool.data.importers.lines import Reading, bare_suffix, first_line, read_lines
from deeprec.trm_tool.data.importers.source import ItemFile, Source, id_of, make_event
from deeprec.trm_tool.data.importers.values import clean, from_html, is_empty, parse_price

Role = Literal["reviews", "items"]
Edition = Literal["amazon-2018", "amazon-2023"]

SUFFIXES = (".json", ".jsonl", ".csv")
MAX_CATEGORY_CHARS = 60
"""A longer entry in the list of categories is a misplaced sentence."""
_TERMS = "the terms of the data set's authors at UCSD; the texts are Amazon's and its customers'"
_FIELDS: dict[Edition, tuple[str, str, str, str]] = {
    "amazon-2018": ("reviewerID", "asin", "overall", "unixReviewTime"),
    "amazon-2023": ("user_id", "parent_asin", "rating", "timestamp"),
}
_COLUMNS_2018: tuple[tuple[str, ColumnType | None], ...] = (
    ("title", "token_seq"),
    ("brand", "token"),
    ("categories", "token_seq"),
    ("price", "float"),
    ("description", "token_seq"),
)
_COLUMNS_2023 = (*_COLUMNS_2018[:2], ("main_category", "token"), *_COLUMNS_2018[2:])
_ASIN, _PERSON = re.compile(r"B[0-9A-Z]{9}|\d{9}[\dX]"), re.compile(r"A[0-9A-Z]{8,20}")
_AUTHOR = re.compile(r"Visit Amazon's (.+?) Page")


def role_of(path: Path) -> tuple[Edition, Role] | None:
    """Edition and role of a file by the names in its first line; None for a file of something else."""
    line = first_line(path)
    if bare_suffix(path) == ".csv":
        names = {name.strip().strip('"') for name in line.split(",")}
        if names >= set(_FIELDS["amazon-2023"]):
            return "amazon-2023", "reviews"
        return ("amazon-2018", "reviews") if _ratings_only(line) else None
    names = set(_parsed(line) or ())
    for edition, fields in _FIELDS.items():
        if names >= set(fields):
            return edition, "reviews"
    if "parent_asin" in names:
        return "amazon-2023", "items"
    return ("amazon-2018", "items") if "asin" in names else None


def _ratings_only(line: str) -> tuple[str, ...] | None:
    """Names of the columns of a file of ratings only, which has no header; None for a line of something else.

    The edition of 2018 has the item first, older ones the person.
    """
    fields = line.split(",")
    if len(fields) != 4 or not re.fullmatch(r"[1-5](\.0)?", fields[2]) or not re.fullmatch(r"\d{9,10}", fields[3]):
        return None
    person, item, rating, time = _FIELDS["amazon-2018"]
    for names, (one, other) in (((item, person), fields[:2]), ((person, item), (fields[1], fields[0]))):
        if _ASIN.fullmatch(one) and _PERSON.fullmatch(other):
            return (*names, rating, time)
    return None


def amazon(edition: Edition, reviews: Path, items: Path | None) -> Source:
    """The source of reviews, with the items' metadata where there is a file of them."""
    meta = None
    if items is not None:
        meta = ItemFile(
            path=items,
            columns=_COLUMNS_2018 if edition == "amazon-2018" else _COLUMNS_2023,
            read=lambda reading: _read_items(edition, items, reading),
        )
    return Source(
        format=edition,
        path=reviews,
        read=lambda reading: _read_reviews(edition, reviews, reading),
        items=meta,
        terms=_TERMS,
    )


def _read_reviews(edition: Edition, path: Path, reading: Reading) -> Iterator[Event]:
    names = _FIELDS[edition]
    rows: Iterator[tuple[int, list[Any]]]
    if bare_suffix(path) == ".csv":
        header = _ratings_only(first_line(path)) if edition == "amazon-2018" else None
        rows = read_csv(path, reading, columns=names, layout=csv_layout(path, delimiter=",", header=header))
    else:
        rows = ((line, [review.get(name) for name in names]) for line, review in _objects(path, reading))
    for line, fields in rows:
        event = make_event(path.name, line, fields, reading.bad)
        if event:
            yield event


def _read_items(edition: Edition, path: Path, reading: Reading) -> Iterator[ItemRow]:
    for line, meta in _objects(path, reading):
        item_id = id_of(
            meta.get("asin" if edition == "amazon-2018" else "parent_asin"), "item", path.name, line, reading.bad
        )
        if item_id is None:
            continue
        values = _values_2018(meta) if edition == "amazon-2018" else _values_2023(meta)
        yield line, item_id, values


def _values_2018(meta: Mapping[str, Any]) -> tuple[Value, ...]:
    title = _text(meta.get("title"))
    if "getTime" in title:  # a script of the web page in place of the title
        title = ""
    brand = _text(meta.get("brand")).removeprefix("by ")
    author = _AUTHOR.fullmatch(brand)  # books
    return (
        title,
        author.group(1) if author else brand,
        _categories(meta.get("category")),
        _price(meta.get("price")),
        _text(meta.get("description")),
    )


def _values_2023(meta: Mapping[str, Any]) -> tuple[Value, ...]:
    return (
        _text(meta.get("title")),
        _text(meta.get("store")),
        _text(meta.get("main_category")),
        _categories(meta.get("categories")),
        _price(meta.get("price")),
        _text(meta.get("description")),
    )


def _text(value: object) -> str:
    text = from_html(" ".join(_texts(value)))
    return "" if is_empty(text) else text


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        return [part for part in value if isinstance(part, str)]
    return [value] if isinstance(value, str) else []


def _categories(value: object) -> list[str]:
    named = (from_html(part) for part in _texts(value))
    return [name for name in named if name and len(name) <= MAX_CATEGORY_CHARS]


def _price(value: object) -> Value:
    return clean(value) if isinstance(value, str) else parse_price(value)


def _objects(path: Path, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in read_lines(path, reading):
        if not text.strip():
            continue
        parsed = _parsed(text)
        if parsed is not None:
            yield line, parsed
            continue
        python = " It looks like the edition of 2014, which is Python, not JSON." if text.startswith("{'") else ""
        why = f"is {clean(text[:40])!r}, which is not a JSON object.{python}"
        reading.bad.add("lines that are not a JSON object", path.name, line, why)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
