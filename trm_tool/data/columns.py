"""The roles of columns of an atomic file: named by the user, or found by name and content."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deeprec.trm_tool.errors import DataError

ColumnType = Literal["token", "token_seq", "float", "float_seq"]
ColumnKind = Literal["category", "tags", "text", "number", "date", "ignore"]
"""What a column of the items is: an attribute, prose that only the text encoder reads, or nothing."""

_USER = (
    "user_id", "user", "uid", "userid", "reviewer_id", "customer_id", "customer", "session_id", "visitor_id",
    "visitorid", "client_id", "account_id", "member_id", "buyer_id", "buyer", "person", "person_id", "kunde_id",
    "kundennummer", "customer_unique_id", "username", "user_name",
)  # fmt: skip
_ITEM = (
    "item_id", "item", "iid", "itemid", "movie_id", "product_id", "product", "asin", "business_id", "track_id",
    "book_id", "sku", "isbn", "article_id", "artikel_id", "stock_code", "stockcode", "artist_id", "song_id",
    "anime_id", "app_id", "game_id", "recipe_id", "video_id", "film_id", "news_id", "parent_asin",
    "product_code", "item_code", "content_id", "movie", "film", "book",
)  # fmt: skip
_TIME = (
    "timestamp", "time", "unix_time", "unixreviewtime", "date", "datetime", "created_at", "ordered_at", "ts",
    "unix_timestamp", "event_time", "date_time", "purchase_date", "purchased_at", "order_date", "order_time",
    "invoice_date", "invoicedate", "t_dat", "review_date", "review_time", "rated_at", "datum",
    "order_purchase_timestamp",
)  # fmt: skip
_TITLE = (
    "title", "movie_title", "item_title", "product_title", "book_title", "name", "item_name", "product_name",
    "titel", "prod_name", "bezeichnung",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNames:
    """Names of columns. Those left out are found by name and content."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    title: str | None = None
    text: tuple[str, ...] = ()
    """Columns of prose beside those found: only the text encoder reads them."""
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    """Column of the items -> its kind. Kinds left out are found by name and content."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an atomic file, declared in its header as `name:type`."""

    name: str
    type: ColumnType


def choose(
    columns: Sequence[Column], named: str | None, role: Literal["user", "item", "time", "title"], file: str
) -> int | None:
    """Index of the column for a role; None only for a title that is neither named nor found.

    Raises:
        DataError: the named column is missing, or none was named and none is known by its name.
    """
    names = [column.name for column in columns]
    if named is not None:
        if named not in names:
            raise DataError(
                f"{file}:1 has no column {named!r}; it has {', '.join(names)}. Name one of these with --{role}-column."
            )
        return names.index(named)
    lowered = [name.lower() for name in names]
    known = {"user": _USER, "item": _ITEM, "time": _TIME, "title": _TITLE}[role]
    for name in known:
        if name in lowered:
            return lowered.index(name)
    for index, name in enumerate(lowered):
        if role == "title" and name.endswith("title"):
            return index
    if role == "title":
        return None
    raise DataError(
        f"{file}:1 has no {role} column that is known by name ({', '.join(known[:8])} and others); it has "
        f"{', '.join(names)}. Name the column with --{role}-column."
    )


def choose_item(columns: Sequence[Column], names: ColumnNames, file: str) -> tuple[int, int | None]:
    """Indices of the columns of id and title in a file of items, whose id may have another name than in the events.

    Raises:
        DataError: the id is not found, or the named title is missing.
    """
    in_header = names.item if names.item in [column.name for column in columns] else None
    return choose(columns, in_header, "item", file) or 0, choose(columns, names.title, "title", file)


def choose_event(
    columns: Sequence[Any], names: ColumnNames, file: str, find: Callable[..., int | None] = choose
) -> tuple[int, int, int]:
    """Indices of the columns of user, item and time; `find` finds each of them.

    Raises:
        DataError: a column is missing; all missing ones are named.
    """
    found: list[int] = []
    missing: dict[str, str] = {}  # role -> the error
    for role, named in (("user", names.user), ("item", names.item), ("time", names.time)):
        try:
            found.append(find(columns, named, role, file) or 0)
        except DataError as error:
            missing[role] = str(error)
    if missing:
        [first, *others] = missing
        also = f" Give {' and '.join(f'--{role}-column' for role in others)} too." if others else ""
        raise DataError(missing[first] + also)
    user, item, time = found
    return user, item, time


def is_number(value: str) -> bool:
    """Whether a value reads as a finite number."""
    try:
        return abs(float(value)) < float("inf")
    except ValueError:
        return False


def split_tags(value: str, separator: str) -> tuple[str, ...]:
    """Values of a token_seq field, without quotes around them and without repeats."""
    parts = (part.strip().strip('"') for part in (value.split() if separator == " " else value.split(separator)))
    bare = (part[1:-1].strip() if len(part) > 1 and part[0] == part[-1] == "'" else part for part in parts)
    return tuple(dict.fromkeys(part for part in bare if part))


def tag_separator(values: Sequence[str], known: Collection[str] = ()) -> str:
    """The separator of a token_seq column's values: RecBole's space, unless a tenth of them have `|`, `;` or `,`.

    A character within a `known` tag is not a separator; if all these are, it is a tab, which no value holds.
    """
    filled = [value for value in values if value.strip()]
    for separator in ("|", ";", ","):
        if (
            filled
            and sum(separator in value for value in filled) >= 0.1 * len(filled)
            and not _within(separator, known)
        ):
            return separator
    return "\t" if _within(" ", known) else " "


def _within(separator: str, tags: Collection[str]) -> bool:
    return any(separator in tag for tag in tags)
