"""Public data sets as they are published, on small folders in their shape. Every row is made up."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.trm_tool import Catalogue, DataError, read_atomic_files
from deeprec.trm_tool.data import import_data
from tests.trm_tool.data.samples import write_csv

PAIRS = [(user, item) for user in (1, 2) for item in (3, 1, 2)]


def hm(folder: Path) -> None:
    rows = [(f"2020-09-{at + 1:02d}", f"c{u}", f"010877501{i}", 0.05, 2) for at, (u, i) in enumerate(PAIRS)]
    write_csv(
        folder / "transactions_train.csv", [("t_dat", "customer_id", "article_id", "price", "sales_channel_id"), *rows]
    )
    header = ("article_id", "product_code", "prod_name", "colour_group_code", "colour_group_name", "detail_desc")
    things = [(f"010877501{i}", "0108775", f"Strap {i}", i, ("Black", "White")[i % 2], "Jersey.") for i in (1, 2, 3)]
    write_csv(folder / "articles.csv", [header, *things])


def retailrocket(folder: Path) -> None:
    kinds = ("view", "addtocart", "transaction")
    rows = [(1433221332117 + at, u, kinds[at % 3], i, "") for at, (u, i) in enumerate(PAIRS)]
    write_csv(folder / "events.csv", [("timestamp", "visitorid", "event", "itemid", "transactionid"), *rows])
    write_csv(folder / "category_tree.csv", [("categoryid", "parentid"), (7, 1)])
    header = ("timestamp", "itemid", "property", "value")
    old = [(1430000000000, i, "categoryid", 6) for i in (1, 2, 3)]
    write_csv(folder / "item_properties_part1.csv", [header, *old, (1430000000000, 1, "888", "n55.200 1116693")])
    write_csv(folder / "item_properties_part2.csv", [header, *((1440000000000, i, "categoryid", 7) for i in (1, 2))])


def lastfm(folder: Path) -> None:
    rows = [(u, i, 5, 1_238_536_800_000 + at) for at, (u, i) in enumerate(PAIRS)]
    header = ("userID", "artistID", "tagID", "timestamp")
    write_csv(folder / "user_taggedartists-timestamps.dat", [header, *rows], delimiter="\t")
    write_csv(folder / "user_artists.dat", [("userID", "artistID", "weight"), (1, 1, 9)], delimiter="\t")
    artists = [(i, f'The "{i}', "http://x.invalid", "") for i in (1, 2, 3)]
    text = "\n".join("\t".join(map(str, row)) for row in (("id", "name", "url", "pictureURL"), *artists))
    (folder / "artists.dat").write_text(text + "\n")
    (folder / "tags.dat").write_text("tagID\ttagValue\n5\tmúsica\n", encoding="latin-1")


def goodbooks(folder: Path) -> None:
    write_csv(folder / "ratings.csv", [("user_id", "book_id", "rating"), *((u, i, 4) for u, i in PAIRS)])
    header = ("book_id", "isbn", "authors", "original_publication_year", "title", "language_code", "image_url")
    books = [(i, f"44{i}", "A. One, B. Two", 1999.0, f"Book {i}", "eng", "https://x.invalid/1") for i in (1, 2, 3)]
    write_csv(folder / "books.csv", [header, *books])


def steam(folder: Path) -> None:
    reviews = [
        {"username": f"u{u}", "hours": 0.1, "product_id": f"7{i}", "date": f"2017-12-{at + 1:02d}", "text": "It's"}
        for at, (u, i) in enumerate(PAIRS)
    ]
    games = [
        {
            "app_name": f"Game {i}",
            "title": f"Game {i}",
            "genres": ["Indie", "Free to Play"],
            "price": 4.99,
            "id": f"7{i}",
        }
        for i in (1, 2, 3)
    ]
    for name, rows in (("steam_reviews", reviews), ("steam_games", games)):
        (folder / f"{name}.json").write_text("".join(f"{row!r}\n" for row in rows))


def yelp(folder: Path) -> None:
    reviews = [
        {"review_id": "r", "user_id": f"u{u}", "business_id": f"b{i}", "stars": 4.0, "date": f"2018-07-07 22:09:1{at}"}
        for at, (u, i) in enumerate(PAIRS)
    ]
    shops = [
        {
            "business_id": f"b{i}",
            "name": f"Bar {i}",
            "city": "Goleta",
            "categories": "Bars, Pubs",
            "hours": {"Mon": "1-2"},
        }
        for i in (1, 2, 3)
    ]
    for name, rows in (("review", reviews), ("business", shops)):
        path = folder / f"yelp_academic_dataset_{name}.json"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


SETS: dict[str, tuple[Callable[[Path], None], str, str, dict[str, object]]] = {
    "hm": (hm, "0108775011", "Strap 1", {"colour_group_name": "White"}),
    "retailrocket": (retailrocket, "1", "1", {"category": "category 7"}),
    "lastfm-hetrec": (lastfm, "1", 'The "1', {"tags": ("música",)}),
    "goodbooks": (goodbooks, "1", "Book 1", {"authors": ("A. One", "B. Two"), "original_publication_year": 1999.0}),
    "steam": (steam, "71", "Game 1", {"genres": ("Indie", "Free to Play"), "price": 4.99}),
    "yelp": (yelp, "b1", "Bar 1", {"city": "Goleta", "categories": ("Bars", "Pubs")}),
}


@pytest.mark.parametrize("name", SETS)
def test_a_folder_is_known_by_its_files(tmp_path: Path, name: str) -> None:
    write, item, title, attributes = SETS[name]
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw")
    assert import_data(tmp_path / "raw", tmp_path / "out").format == name
    data = read_atomic_files(tmp_path / "out")
    catalogue: Catalogue = data.catalogue
    assert [len(sequence) for sequence in data.sequences.values()] == [3, 3]
    assert next(iter(data.sequences.values()))[1] == item
    assert catalogue.item(item).title == title
    assert attributes.items() <= catalogue.item(item).attributes.items()


def test_a_named_set_says_which_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "articles.csv").write_text("x")
    with pytest.raises(DataError, match=r"lacks transactions_train.csv. Name the unpacked folder of hm, with"):
        import_data(tmp_path, tmp_path / "out", data_format="hm")
