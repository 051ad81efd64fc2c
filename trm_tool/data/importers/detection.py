"""Detection of the data set in a file or a folder by its files; a format that the user names is only checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from deeprec.trm_tool.data.importers import amazon, movielens, own_tables
from deeprec.trm_tool.data.importers.lines import bare_suffix
from deeprec.trm_tool.data.importers.own_tables import TableOptions
from deeprec.trm_tool.data.importers.public_sets import PUBLIC_SETS
from deeprec.trm_tool.data.importers.source import Source
from deeprec.trm_tool.data.importers.tables import SUFFIXES, format_of
from deeprec.trm_tool.errors import ConfigError, DataError

Format = Literal[
    "csv", "parquet", "json", "xlsx", "ml-100k", "ml-1m", "ml-latest", "amazon-2018", "amazon-2023", "hm",
    "retailrocket", "lastfm-hetrec", "goodbooks", "steam", "yelp",
]  # fmt: skip

_MOVIELENS: dict[str, tuple[Callable[[Path], Source], tuple[str, ...]]] = {
    "ml-100k": (movielens.movielens_100k, ("u.data", "u.item", "u.genre")),
    "ml-1m": (movielens.movielens_1m, ("ratings.dat", "movies.dat")),
    "ml-latest": (movielens.movielens_latest, ("ratings.csv", "movies.csv")),
}
_KNOWN = (
    "Known are MovieLens 100K (u.data), 1M (ratings.dat), latest and 25M (ratings.csv with movies.csv), Amazon Reviews "
    "2018 and 2023 (.json or .jsonl, also .gz), H&M, RetailRocket, Last.FM of HetRec, Goodbooks, Steam, Yelp, and "
    "tables of your own (interactions.csv or interactions.parquet, with items.csv or items.parquet); or name the "
    "file of interactions itself, and --items."
)


def find_source(
    path: Path, *, data_format: Format | None = None, items: Path | None = None, options: TableOptions | None = None
) -> Source:
    """Find the data set at `path`, and its readers.

    Args:
        path: A folder as it was published, or the file of interactions.
        data_format: The format; None detects it from the files.
        items: The file of items, where it is not in the folder or has another name.
        options: How tables of CSV and Parquet are read.

    Raises:
        ConfigError: the format is unknown, or an option does not fit it.
        DataError: the path holds no known data set, or several, or a file is missing.
    """
    path, options = Path(path), options or TableOptions()
    if data_format is not None and data_format not in get_args(Format):
        raise ConfigError(f"There is no format {data_format!r}. Choose one of {', '.join(get_args(Format))}.")
    if items is not None and not items.is_file():
        raise DataError(f"{items} is not a file. Name the file of items with --items.")
    if not path.exists():
        raise DataError(f"{path} does not exist. Name a folder as it was published, or the file of interactions.")
    files = _files(path)
    if data_format in _MOVIELENS:
        return _movielens(path, data_format, files, items)
    if data_format is None and path.is_dir():
        for name, (_, needed) in _MOVIELENS.items():
            if needed[0] in files and (needed[0] != "ratings.csv" or "movies.csv" in files):
                return _movielens(path, name, files, items)
    for name, (wanted, make) in PUBLIC_SETS.items():
        if data_format in (None, name) and path.is_dir():
            there = {file.name.removesuffix(".gz"): file for file in files.values()}
            missing = [file for file in wanted if file not in there]
            if not missing and items is None:
                return make(there)
            if data_format == name:
                lacks = f"lacks {', '.join(missing)}" if missing else f"has its own items, and --items is {items}"
                raise DataError(f"{path} {lacks}. Name the unpacked folder of {name}, with {', '.join(wanted)}.")
    if data_format in (None, "amazon-2018", "amazon-2023"):
        source = _amazon(path, files, data_format, items)
        if source is not None:
            return source
    return _table(path, files, data_format, items, options)


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {path.name: path}
    try:
        return {entry.name: entry for entry in sorted(path.iterdir()) if entry.is_file()}
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from None


def _movielens(path: Path, name: str, files: dict[str, Path], items: Path | None) -> Source:
    make, needed = _MOVIELENS[name]
    if items is not None:
        raise ConfigError(f"--items does not go with {name}, whose items are in {needed[1]}. Leave it out.")
    missing = [file for file in needed if file not in files]
    if not path.is_dir() or missing:
        lacks = f"lacks {', '.join(missing)}" if path.is_dir() else "is a file"
        raise DataError(f"{path} {lacks}. Name the unpacked folder of {name}, with {', '.join(needed)}.")
    return make(path)


def _amazon(path: Path, files: dict[str, Path], data_format: Format | None, items: Path | None) -> Source | None:
    reviews: list[Path] = []
    described: list[Path] = []
    editions: dict[Path, amazon.Edition] = {}
    for file in files.values():
        if bare_suffix(file) not in amazon.SUFFIXES or (items is not None and file.samefile(items)):
            continue
        role = amazon.role_of(file)
        if role is not None and data_format in (None, role[0]):
            editions[file] = role[0]
            (reviews if role[1] == "reviews" else described).append(file)
    if not reviews:
        if data_format is None:
            return None
        raise DataError(
            f"{path} has no file of reviews of {data_format}: .json, .jsonl or .csv, also .gz, whose first line "
            "has the names of a person, an item, a rating and a time. Name another folder, or the file itself."
        )
    if len(reviews) > 1 or (items is None and len(described) > 1):
        several = ", ".join(file.name for file in (reviews if len(reviews) > 1 else described))
        raise DataError(
            f"{path} has several files that fit ({several}). Name the file of reviews instead of the folder, and the "
            "metadata with --items."
        )
    edition = editions[reviews[0]]
    if items is not None:
        role = amazon.role_of(items)
        if role != (edition, "items"):
            raise DataError(
                f"{items} is not a file of items of {edition} by its first line. Name the metadata with --items."
            )
    return amazon.amazon(edition, reviews[0], items or next(iter(described), None))


def _table(
    path: Path, files: dict[str, Path], data_format: Format | None, items: Path | None, options: TableOptions
) -> Source:
    fitting = {
        name: file
        for name, file in files.items()
        if bare_suffix(file) in SUFFIXES and data_format in (None, format_of(file))
    }
    if path.is_file() and fitting:
        return own_tables.tables(path, items, options)
    named = {name.partition(".")[0].lower(): file for name, file in fitting.items()}
    if path.is_dir() and "interactions" in named:
        return own_tables.tables(named["interactions"], items or named.get("items"), options)
    if any(name.endswith(".inter") for name in files):
        raise DataError(
            f"{path} holds RecBole's atomic files, which need no import. Try `deeprec data check` on it, or "
            "`deeprec trm train --data`."
        )
    seen = ", ".join(list(files)[:8]) or "nothing"
    raise DataError(f"{path} is not a data set that is known by its files ({seen}). {_KNOWN}")
