"""Public data sets whose files are tables: H&M, RetailRocket, Last.FM of HetRec, Goodbooks-10k, Steam, Yelp."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from deeprec.trm_tool.data.columns import ColumnKind, ColumnNames
from deeprec.trm_tool.data.importers.item_values import TITLE
from deeprec.trm_tool.data.importers.items import ItemRow
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.own_tables import TableOptions, tables
from deeprec.trm_tool.data.importers.source import ItemFile, Source, id_of
from deeprec.trm_tool.data.importers.tables import open_table

Files = dict[str, Path]
"""Name of a file without `.gz` -> its path."""

_TERMS = "the terms of the data set's authors"
_TAGS = 10
"""Tags of an artist that are kept: those that most people gave."""


def _hm(files: Files) -> Source:
    names = ColumnNames(user="customer_id", item="article_id", time="t_dat", title="prod_name")
    groups: tuple[str, ...] = (
        "product_type",
        "product_group",
        "graphical_appearance",
        "colour_group",
        "perceived_colour_value",
    )
    groups += ("perceived_colour_master", "department", "index", "index_group", "section", "garment_group")
    kinds: dict[str, ColumnKind] = {f"{group}_name": "category" for group in groups}
    kinds |= {"detail_desc": "text", "product_code": "ignore"}
    options = TableOptions(columns=names)
    return _source("hm", files["transactions_train.csv"], files["articles.csv"], options, kinds)


def _goodbooks(files: Files) -> Source:
    names = ColumnNames(user="user_id", item="book_id", title="title")
    ignored: tuple[str, ...] = ("goodreads_book_id", "best_book_id", "work_id", "isbn", "isbn13", "work_ratings_count")
    ignored += ("work_text_reviews_count", "ratings_1", "ratings_2", "ratings_3", "ratings_4", "ratings_5")
    kinds: dict[str, ColumnKind] = {**dict.fromkeys(ignored, "ignore"), "authors": "tags"}
    header = open_table(files["books.csv"]).names
    key = "id" if "id" in header and "goodreads_book_id" not in header else None  # the first edition, as on Kaggle
    options = TableOptions(columns=names, item_key=key, order_by_file=True)  # its authors sorted the ratings by time
    if key is not None:
        kinds["book_id"] = "ignore"
    return _source("goodbooks", files["ratings.csv"], files["books.csv"], options, kinds)


def _steam(files: Files) -> Source:
    names = ColumnNames(user="username", item="product_id", time="date", title="title")
    kinds: dict[str, ColumnKind] = {"app_name": "ignore", "url": "ignore", "reviews_url": "ignore"}
    options = TableOptions(columns=names, item_key="id")
    return _source("steam", files["steam_reviews.json"], files["steam_games.json"], options, kinds)


def _yelp(files: Files) -> Source:
    names = ColumnNames(user="user_id", item="business_id", time="date", title="name")
    review, business = (files[f"yelp_academic_dataset_{name}.json"] for name in ("review", "business"))
    ignored = ("address", "postal_code", "latitude", "longitude", "is_open", "hours")
    kinds: dict[str, ColumnKind] = {**dict.fromkeys(ignored, "ignore"), "categories": "tags"}
    return _source("yelp", review, business, TableOptions(columns=names, rating="stars"), kinds)


def _retailrocket(files: Files) -> Source:
    names = ColumnNames(user="visitorid", item="itemid", time="timestamp")
    source = _source("retailrocket", files["events.csv"], None, TableOptions(columns=names))
    properties = [files[name] for name in sorted(files) if name.startswith("item_properties_part")]
    if not properties:
        return source
    items = ItemFile(path=properties[0], columns=(("category", "token"),), read=partial(_read_categories, properties))
    return replace(source, items=items)


def _read_categories(properties: list[Path], reading: Reading) -> Iterator[ItemRow]:
    """The latest category of each item; the other properties are hashed."""
    latest: dict[str, tuple[int, int, str | None]] = {}
    for path in properties:
        rows = open_table(path).read(reading, ["timestamp", "itemid", "property", "value"])
        for line, (time, raw_id, name, value) in rows:
            item = id_of(raw_id, "item", path.name, line, reading.bad, "itemid")
            if item is None:
                continue
            when = int(time) if str(time).isdecimal() else 0
            known = latest.setdefault(item, (0, line, None))
            if name == "categoryid" and when >= known[0]:
                latest[item] = (when, line, f"category {value}")
    for item, (_, line, category) in latest.items():
        yield line, item, (category,)


def _lastfm(files: Files) -> Source:
    names = ColumnNames(user="userID", item="artistID", time="timestamp")
    source = _source("lastfm-hetrec", files["user_taggedartists-timestamps.dat"], None, TableOptions(columns=names))
    items = ItemFile(
        path=files["artists.dat"],
        columns=((TITLE, "token_seq"), ("tags", "token_seq")),
        read=partial(_read_artists, files),
    )
    note = "The interactions are the tags that people gave, as the counts of plays have no times."
    return replace(source, items=items, notes=(*source.notes, note))


def _read_artists(files: Files, reading: Reading) -> Iterator[ItemRow]:
    table = open_table(files["tags.dat"], encoding="latin-1")
    tags = {number: text for _, (number, text) in table.read(reading, ["tagID", "tagValue"])}
    given: dict[object, Counter[str]] = defaultdict(Counter)
    tagged = open_table(files["user_taggedartists-timestamps.dat"])
    for _, (artist, tag) in tagged.read(reading, ["artistID", "tagID"]):
        given[artist][str(tags.get(tag, ""))] += 1
    path = files["artists.dat"]
    for line, (raw_id, name) in open_table(path).read(reading, ["id", "name"]):
        item = id_of(raw_id, "item", path.name, line, reading.bad, "id")
        if item is not None:
            yield line, item, (name, [tag for tag, _ in given[raw_id].most_common(_TAGS)])


def _source(
    name: str,
    interactions: Path,
    items: Path | None,
    options: TableOptions,
    kinds: dict[str, ColumnKind] | None = None,
) -> Source:
    source = tables(interactions, items, options)
    described = source.items and replace(source.items, kinds=kinds or {})
    return replace(source, format=name, items=described, terms=_TERMS)


PUBLIC_SETS: dict[str, tuple[tuple[str, ...], Callable[[Files], Source]]] = {
    "hm": (("transactions_train.csv", "articles.csv"), _hm),
    "retailrocket": (("events.csv", "category_tree.csv"), _retailrocket),
    "lastfm-hetrec": (("user_taggedartists-timestamps.dat", "artists.dat", "tags.dat"), _lastfm),
    "goodbooks": (("ratings.csv", "books.csv"), _goodbooks),
    "steam": (("steam_reviews.json", "steam_games.json"), _steam),
    "yelp": (("yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json"), _yelp),
}
"""Format -> the files that a folder of it has, and its source."""
