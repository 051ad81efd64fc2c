"""Films of dialogues are found in a catalogue: by IMDb id where both have it, otherwise by title and year."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.importers.lines import Reading, open_binary
from deeprec.trm_tool.data.importers.tables import open_table
from deeprec.trm_tool.data.importers.values import split_title
from deeprec.trm_tool.errors import DataError

LINKS = "links.csv"
"""MovieLens' file of IMDb ids: `movieId,imdbId,tmdbId`."""
MAX_NAME_CHARS = 300
"""Characters of a film's name that are read; a dialogue may mention it many times."""
_MAX_FILMS_BYTES = 2**28
_ARTICLES = "the|a|an|le|la|les|l'|el|los|las|il|lo|gli|der|die|das|den|det"
_ARTICLE_LAST = re.compile(rf"^(?P<rest>.+), (?P<article>{_ARTICLES})$")
_OTHER_NAME = re.compile(r"\(([^()]+)\)")
_ALSO = re.compile(r"^(?:a\.?k\.?a\.?|also known as)\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A film as a data set of dialogues names it."""

    name: str
    """Title, with the year in brackets where it is known."""
    imdb_id: str | None = None
    """Such as `tt0114709`."""


class FilmLinks:
    """The items of a catalogue that films are; each film is looked up once."""

    def __init__(self, catalogue: Catalogue, imdb: Mapping[str, str] | None = None) -> None:
        """Index a catalogue.

        Args:
            catalogue: Its titles, and its year attributes, are what names are compared with.
            imdb: IMDb number, without `tt` and leading zeros -> item id (`read_links`); None where that is not known.
        """
        self._catalogue, self._imdb = catalogue, dict(imdb or {})
        self._titles: dict[str, list[tuple[float | None, str]]] = defaultdict(list)
        self._found: dict[Film, str | None] = {}
        self.counts: Counter[str] = Counter()
        """Films by how they were found: `by IMDb id`, `by title and year`, `with several items of that title`, `not in
        the catalogue`."""
        for item in catalogue:
            year = next((item.attributes.get(name) for name in catalogue.year_attributes), None)
            own, in_title = split_title(item.title)
            for title in _titles_of(own):
                self._titles[title].append((year if isinstance(year, float) else in_title, item.id))

    def item_of(self, film: Film) -> str | None:
        """The item that a film is; None where the catalogue lacks it, or where several items fit."""
        if film not in self._found:
            how, self._found[film] = self._look_up(film)
            self.counts[how] += 1
        return self._found[film]

    def _look_up(self, film: Film) -> tuple[str, str | None]:
        number = _imdb_number(film.imdb_id or "") if self._imdb else ""
        item_id = self._imdb.get(number)
        if item_id is not None and item_id in self._catalogue:
            return "by IMDb id", item_id
        title, year = split_title(film.name)
        fitting = {
            item_id
            for form in _titles_of(title)
            for own, item_id in self._titles.get(form, ())
            # where the IMDb ids are known and this one is not among them, a title alone is that of another film
            if own == year or (not number and None in (own, year))
        }
        if len(fitting) == 1:
            return "by title and year", fitting.pop()
        return ("with several items of that title" if fitting else "not in the catalogue"), None


def read_links(path: Path) -> dict[str, str]:
    """Read MovieLens' `links.csv`: IMDb number, without leading zeros -> item id.

    Raises:
        DataError: the file has no columns `movieId` and `imdbId`, or cannot be read.
    """
    rows = open_table(path).read(Reading(), ("movieId", "imdbId"))
    return {number: movie.strip() for _, (movie, imdb) in rows if (number := _imdb_number(imdb))}


def read_films(path: Path) -> dict[str, Film]:
    """Read a file of films such as `id2info.json`: film id -> name and IMDb id.

    Raises:
        DataError: the file is no JSON object of objects with a `name`.
    """
    with open_binary(path, lambda: 0) as (file, _):
        data = file.read(_MAX_FILMS_BYTES + 1)
    if len(data) > _MAX_FILMS_BYTES:
        raise DataError(f"{path} has over {_MAX_FILMS_BYTES:,} bytes. Name a file of films such as id2info.json.")
    try:
        return {film_id: _film(values) for film_id, values in parse_json(data).items()}
    except (ValueError, AttributeError, KeyError, TypeError):
        raise DataError(
            f'{path} is not a file of films: it must be JSON such as {{"1": {{"name": "Alien (1979)", "imdb_id": '
            '"tt0078748"}}. Name another, or leave it out.'
        ) from None


def _film(values: Any) -> Film:
    imdb = values.get("imdb_id")
    return Film(name=str(values["name"])[:MAX_NAME_CHARS], imdb_id=imdb if isinstance(imdb, str) else None)


def _imdb_number(text: str) -> str:
    digits = text.strip().removeprefix("tt").lstrip("0")
    return digits if digits.isdecimal() else ""


def _titles_of(title: str) -> Iterator[str]:
    """The forms of a title: its own and those in brackets, articles first, without case, accents and punctuation."""
    names = (_OTHER_NAME.sub(" ", title), *(_ALSO.sub("", other.lower()) for other in _OTHER_NAME.findall(title)))
    yield from filter(None, dict.fromkeys(map(_form, names)))


def _form(title: str) -> str:
    folded = unicodedata.normalize("NFKD", title.casefold().replace("&", " and "))
    line = " ".join(folded.split())
    last = _ARTICLE_LAST.match(line)
    if last:
        line = f"{last['article']} {last['rest']}"
    return re.sub(r"[\W_]+", "", "".join(char for char in line if not unicodedata.combining(char)))
