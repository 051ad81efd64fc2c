"""MovieLens as GroupLens publishes it: 100K, 1M (and 10M, which has the same files), latest and 25M."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from deeprec.trm_tool.data.columns import ColumnType
from deeprec.trm_tool.data.importers.formats.csv_rows import read_csv
from deeprec.trm_tool.data.importers.interactions import Event
from deeprec.trm_tool.data.importers.items import ItemRow
from deeprec.trm_tool.data.importers.lines import Reading, is_utf8, read_lines
from deeprec.trm_tool.data.importers.source import ItemFile, Source, id_of, make_event
from deeprec.trm_tool.data.importers.values import parse_number, split_title
from deeprec.trm_tool.errors import DataError

_COLUMNS: tuple[tuple[str, ColumnType | None], ...] = (
    ("title", "token_seq"),
    ("release_year", "float"),
    ("genres", "token_seq"),
)
_TERMS = "the terms in the README of GroupLens: research use, no redistribution without permission"
_NO_GENRE = ("", "unknown", "(no genres listed)")
_FIELDS_100K = 5
"""Fields of u.item before the genres: id, title, release date, video date, address."""


def movielens_100k(folder: Path) -> Source:
    """`u.data`, `u.item` and `u.genre`: tabs and bars, latin-1, one 0 or 1 for each genre."""
    return _source("ml-100k", folder / "u.data", partial(_read_ratings, "\t"), folder / "u.item", _read_u_item)


def movielens_1m(folder: Path) -> Source:
    """`ratings.dat` and `movies.dat`: separated by `::`; latin-1, or UTF-8 in the 10M set."""
    return _source(
        "ml-1m", folder / "ratings.dat", partial(_read_ratings, "::"), folder / "movies.dat", _read_movies_dat
    )


def movielens_latest(folder: Path) -> Source:
    """`ratings.csv` and `movies.csv` with a header and quoted titles, UTF-8."""
    return _source("ml-latest", folder / "ratings.csv", _read_ratings_csv, folder / "movies.csv", _read_movies_csv)


def _source(
    name: str,
    ratings: Path,
    read_ratings: Callable[[Path, Reading], Iterator[Event]],
    items: Path,
    read_items: Callable[[Path, Reading], Iterator[ItemRow]],
) -> Source:
    return Source(
        format=name,
        path=ratings,
        read=partial(read_ratings, ratings),
        items=ItemFile(path=items, columns=_COLUMNS, read=partial(read_items, items)),
        terms=_TERMS,
    )


def _read_ratings(separator: str, path: Path, reading: Reading) -> Iterator[Event]:
    for line, text in read_lines(path, reading, "latin-1"):
        if not text.strip():
            continue
        fields = text.rstrip("\r\n").split(separator)
        if len(fields) != 4:
            _wrong_width(path, line, len(fields), "4 (user, item, rating, time)", separator, reading)
            continue
        event = make_event(path.name, line, fields, reading.bad)
        if event:
            yield event


def _read_ratings_csv(path: Path, reading: Reading) -> Iterator[Event]:
    for line, fields in read_csv(path, reading, columns=("userId", "movieId", "rating", "timestamp"), delimiter=","):
        event = make_event(path.name, line, fields, reading.bad)
        if event:
            yield event


def _read_u_item(path: Path, reading: Reading) -> Iterator[ItemRow]:
    genres = _read_genres(path.with_name("u.genre"), reading)
    width = _FIELDS_100K + len(genres)
    for line, text in read_lines(path, reading, _encoding(path)):
        if not text.strip():
            continue
        fields = text.rstrip("\r\n").split("|")
        if len(fields) != width:
            _wrong_width(path, line, len(fields), f"{width} (5 and {len(genres)} genres of u.genre)", "|", reading)
            continue
        title, year = split_title(fields[1])
        if year is None:
            year = parse_number(fields[2].strip()[-4:])  # 01-Jan-1995
        flags = zip(genres, fields[_FIELDS_100K:], strict=True)
        yield from _movie(path, line, fields[0], title, year, [name for name, flag in flags if flag == "1"], reading)


def _read_genres(path: Path, reading: Reading) -> list[str]:
    """Names of genres in the order of their numbers: `Action|1`."""
    numbered: dict[int, str] = {}
    for line, text in read_lines(path, reading, "latin-1"):
        if not text.strip():
            continue
        name, bar, number = text.strip().rpartition("|")
        if not bar or not number.isdecimal():
            raise DataError(f"{path.name}:{line} is {text.strip()[:80]!r}; it must be NAME|NUMBER.")
        numbered[int(number)] = name
    if sorted(numbered) != list(range(len(numbered))) or not numbered:
        raise DataError(f"{path.name} must number its genres from 0, each once. Copy the file again.")
    return [numbered[number] for number in range(len(numbered))]


def _read_movies_dat(path: Path, reading: Reading) -> Iterator[ItemRow]:
    for line, text in read_lines(path, reading, _encoding(path)):
        if not text.strip():
            continue
        item_id, _, rest = text.rstrip("\r\n").partition("::")
        raw_title, found, genres = rest.rpartition("::")  # a title may hold "::" itself
        if not found:
            _wrong_width(path, line, text.count("::") + 1, "3 (id, title, genres)", "::", reading)
            continue
        title, year = split_title(raw_title)
        yield from _movie(path, line, item_id, title, year, genres.split("|"), reading)


def _read_movies_csv(path: Path, reading: Reading) -> Iterator[ItemRow]:
    for line, fields in read_csv(path, reading, columns=("movieId", "title", "genres"), delimiter=","):
        title, year = split_title(fields[1])
        yield from _movie(path, line, fields[0], title, year, fields[2].split("|"), reading)


def _movie(
    path: Path, line: int, item_id: str, title: str, year: float | None, genres: list[str], reading: Reading
) -> Iterator[ItemRow]:
    known = id_of(item_id, "item", path.name, line, reading.bad)
    if known:
        yield line, known, (title, year, [name for name in map(str.strip, genres) if name not in _NO_GENRE])


def _encoding(path: Path) -> str:
    """Latin-1 as published, UTF-8 where the whole file is UTF-8 (the 10M set, and converted copies)."""
    return "utf-8" if is_utf8(path) else "latin-1"


def _wrong_width(path: Path, line: int, seen: int, wanted: str, separator: str, reading: Reading) -> None:
    reading.bad.add(
        "lines with a wrong number of fields",
        path.name,
        line,
        f"has {seen} fields separated by {separator!r} in place of {wanted}.",
    )
