import gzip
import json
from pathlib import Path

import pytest

from deeprec.trm_tool import DataError, read_atomic_files
from deeprec.trm_tool.data import FilterConfig, import_data
from tests.trm_tool.data.samples import (
    META_2018,
    META_2023,
    REVIEWS_2018,
    REVIEWS_2023,
    inter_lines,
    item_lines,
    review_2018,
    write_2018,
    write_2023,
    write_csv,
    write_json,
)


def test_2018_gives_brands_categories_and_prices_with_their_types(tmp_path: Path) -> None:
    report = import_data(write_2018(tmp_path / "amazon"), tmp_path / "out")
    assert (report.format, report.interactions_file) == ("amazon-2018", "Scarves_5.json.gz")
    assert report.items_file == "meta_Scarves.json.gz"
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.attribute_kinds == {"brand": "category", "categories": "tags", "price": "number"}
    scarf = catalogue.item("B001")
    assert scarf.title == "Nobody's Scarf, 24\" & Wide"
    assert scarf.attributes == {
        "brand": "Loom & Co",
        "categories": ("Clothing, Shoes & Jewelry", "Scarves"),
        "price": 12.99,
    }
    assert scarf.text.endswith("A soft scarf. Wool & silk. Second part.")
    assert catalogue.phrases_of("B001") == ("loom & co", "clothing, shoes & jewelry", "scarves")


def test_2018_quirks_of_prices_brands_and_titles(tmp_path: Path) -> None:
    report = import_data(write_2018(tmp_path / "amazon"), tmp_path / "out")
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.item("B002").attributes == {"price": 5.99}  # the lower end of a range; no brand, no category
    assert catalogue.item("B003").attributes["brand"] == "Ida Nobody"  # Visit Amazon's … Page
    assert catalogue.item("B003").attributes["price"] == 1299.5
    assert catalogue.item("B004").title == "B004"  # a script stands where the title was
    assert "price" not in catalogue.item("B004").attributes  # and a style sheet where the price was
    assert "price" not in catalogue.item("B005").attributes
    assert report.missing_titles == 1
    assert {column.name: column.unreadable for column in report.columns}["price"] == 1


def test_2018_metadata_repeats_items_and_the_first_row_stays(tmp_path: Path) -> None:
    report = import_data(write_2018(tmp_path / "amazon"), tmp_path / "out")
    assert report.repeated_items == 1
    assert read_atomic_files(tmp_path / "out").catalogue.item("B003").title == "Verses"


def test_2018_repeats_of_a_review_are_left_out_and_counted(tmp_path: Path) -> None:
    again = [review_2018("A1X", "B005", 1.0, 1_441_324_000), review_2018("A1X", "B001", 1.0, 1_441_329_000)]
    report = import_data(write_2018(tmp_path / "amazon", [*REVIEWS_2018, *again]), tmp_path / "out")
    assert [stage.interactions for stage in report.stages] == [12, 12, 10, 10]
    rows = [line[1:3] for line in inter_lines(tmp_path / "out") if line[0] == "A1X"]
    assert rows[0] == ["B005", "1"]  # the first in time, though last in the file
    assert ["B001", "4"] in rows


def test_2023_reads_parents_stores_and_milliseconds(tmp_path: Path) -> None:
    report = import_data(write_2023(tmp_path / "amazon"), tmp_path / "out")
    assert (report.format, report.items_file) == ("amazon-2023", "meta_All_Things.jsonl")
    assert inter_lines(tmp_path / "out")[:2] == [
        ["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
        ["AFK", "P1", "2", "1588687728924"],
    ]
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.attribute_kinds == {
        "brand": "category",
        "main_category": "category",
        "categories": "tags",
        "price": "number",
    }
    spray = catalogue.item("P1")
    assert spray.title == "Salt Spray (Coconut) 8 oz"
    assert spray.attributes == {
        "brand": "Nobody Botanicals",
        "main_category": "All Beauty",
        "categories": ("Beauty & Personal Care", "Hair Care"),
        "price": 17.5,
    }
    assert spray.text.endswith("Smells of the sea.")


def test_2023_prices_are_numbers_null_or_text(tmp_path: Path) -> None:
    report = import_data(write_2023(tmp_path / "amazon"), tmp_path / "out")
    items = {item.id: item for item in read_atomic_files(tmp_path / "out").catalogue}
    assert {name: item.attributes.get("price") for name, item in items.items()} == {
        "P1": 17.5,
        "P2": None,
        "P3": None,
        "P4": 21.99,
        "P5": None,
    }
    assert items["P2"].attributes == {}
    assert items["P5"].title == "P5"
    assert report.missing_titles == 1
    assert all(column.unreadable == 0 for column in report.columns)  # "None" and a dash say that there is none


@pytest.mark.parametrize("name", ["All_Things.csv", "All_Things.csv.gz"])
def test_2023_ratings_come_as_csv_too(tmp_path: Path, name: str) -> None:
    rows = ["user_id,parent_asin,rating,timestamp"]
    rows += [f"{r['user_id']},{r['parent_asin']},{r['rating']},{r['timestamp']}" for r in REVIEWS_2023]
    content = "".join(f"{row}\n" for row in rows).encode()
    folder = tmp_path / "amazon"
    write_json(folder / "meta_All_Things.jsonl.gz", META_2023)
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    report = import_data(folder, tmp_path / "out")
    assert (report.format, report.interactions_file) == ("amazon-2023", name)
    assert inter_lines(tmp_path / "out")[1] == ["AFK", "P1", "2", "1588687728924"]
    alone = import_data(folder / name, tmp_path / "alone")
    assert (alone.format, alone.items_file, alone.missing_titles) == ("amazon-2023", None, 5)


def test_without_metadata_the_catalogue_has_ids_only(tmp_path: Path) -> None:
    path = write_json(tmp_path / "reviews.jsonl", REVIEWS_2023)
    report = import_data(path, tmp_path / "out")
    assert (report.items_file, report.columns, report.missing_titles) == (None, (), 5)
    assert item_lines(tmp_path / "out") == [["item_id:token"], *([f"P{item}"] for item in range(1, 6))]
    assert read_atomic_files(tmp_path / "out").interactions == 10


def test_reviews_of_items_without_metadata_are_an_error_or_left_out(tmp_path: Path) -> None:
    folder = write_2023(tmp_path / "amazon", meta=META_2023[:4])
    with pytest.raises(DataError) as raised:
        import_data(folder, tmp_path / "out")
    assert "All_Things.jsonl.gz:5 names item 'P5', which meta_All_Things.jsonl lacks (1 such items, 2 int" in str(
        raised.value
    )
    report = import_data(folder, tmp_path / "out", drop_bad_rows=True)
    assert report.dropped == {"interactions with items that the item file lacks": 2}
    assert read_atomic_files(tmp_path / "out").interactions == 8


def test_with_a_core_only_its_items_are_in_the_catalogue(tmp_path: Path) -> None:
    unseen = [*META_2023, {"title": "Never reviewed", "parent_asin": "P9"}]
    folder = write_2023(tmp_path / "amazon", meta=unseen)
    assert import_data(folder, tmp_path / "all").items == 6
    assert import_data(folder, tmp_path / "core", filters=FilterConfig(k_core=2)).items == 5


BAD_LINES = {
    "no JSON": ('{"overall": 5.0', "is '{\"overall\": 5.0', which is not a JSON object"),
    "a list": ("[1, 2]", "which is not a JSON object"),
    "Python of the 2014 edition": ("{'overall': 5.0}", "It looks like the edition of 2014, which is Python, not JSON"),
    "deep nesting": ("[" * 100_000, "which is not a JSON object"),
    "no person": (json.dumps(REVIEWS_2018[0] | {"reviewerID": None}), "has no user id"),
    "a person that is a list": (json.dumps(REVIEWS_2018[0] | {"reviewerID": ["A"]}), "has no user id"),
    "a tab in an id": (json.dumps(REVIEWS_2018[0] | {"asin": "B\t1"}), "has the item id 'B\\t1', which holds control"),
    "half a character in an id": (json.dumps(REVIEWS_2018[0] | {"asin": "B\ud800"}), "which holds control characters"),
    "no rating": (json.dumps(REVIEWS_2018[0] | {"overall": None}), "has None as rating"),
    "a word as rating": (json.dumps(REVIEWS_2018[0] | {"overall": "good"}), "has 'good' as rating"),
    "no time": (json.dumps(REVIEWS_2018[0] | {"unixReviewTime": None}), "has None as time stamp"),
    "NaN as time": (json.dumps(REVIEWS_2018[0] | {"unixReviewTime": float("nan")}), "has nan as time stamp"),
    "NaN in words": (json.dumps(REVIEWS_2018[0] | {"unixReviewTime": "NaN"}), "has 'NaN' as time stamp"),
    "an endless time": (json.dumps(REVIEWS_2018[0]).replace("1441324801", "1e999"), "has inf as time stamp"),
    "a time of 5,000 digits": (json.dumps(REVIEWS_2018[0]).replace("1441324801", "9" * 5000), "not a JSON object"),
    "a time of 30 digits": (json.dumps(REVIEWS_2018[0]).replace("1441324801", "9" * 30), "as time stamp"),
    "true as time": (json.dumps(REVIEWS_2018[0] | {"unixReviewTime": True}), "has True as time stamp"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named_or_dropped_and_counted(tmp_path: Path, case: str) -> None:
    line, why = BAD_LINES[case]
    good = [json.dumps(review) for review in REVIEWS_2018]
    folder = write_2018(tmp_path / "amazon")
    (folder / "Scarves_5.json.gz").write_bytes(gzip.compress("\n".join([*good, "", line, ""]).encode()))
    with pytest.raises(DataError) as raised:
        import_data(folder, tmp_path / "out")
    message = str(raised.value)
    assert message.startswith("Scarves_5.json.gz:12 ")
    assert why in message
    assert message.endswith("--drop-bad-rows.")
    assert "\n" not in message
    report = import_data(folder, tmp_path / "out", drop_bad_rows=True)
    assert list(report.dropped.values()) == [1]
    assert report.stages[0].interactions == 10


def test_a_bad_item_is_named_too(tmp_path: Path) -> None:
    folder = write_2018(tmp_path / "amazon", meta=[*META_2018, {"title": "Nobody's", "asin": ""}])
    with pytest.raises(DataError, match=r"meta_Scarves.json.gz:7 has no item id"):
        import_data(folder, tmp_path / "out")


def test_titles_lose_control_characters_tabs_and_half_characters(tmp_path: Path) -> None:
    title = 'A\tB\nC\x00\x1b[31mD\ud800E\u2028F\x85G "quoted"'
    folder = write_2018(tmp_path / "amazon", meta=[{"asin": f"B00{item}", "title": title} for item in range(1, 6)])
    import_data(folder, tmp_path / "out")
    assert read_atomic_files(tmp_path / "out").catalogue.item("B001").title == 'A B C[31mDE F G "quoted"'


def test_a_long_description_is_cut_at_a_word_and_counted(tmp_path: Path) -> None:
    meta = [
        {"asin": f"B00{item}", "title": "T", "description": ["word " * (3000 if item == 1 else 3)]}
        for item in range(1, 6)
    ]
    report = import_data(write_2018(tmp_path / "amazon", meta=meta), tmp_path / "out")
    assert {column.name: column.cut for column in report.columns}["description"] == 1
    text = item_lines(tmp_path / "out")[1][-1]
    assert 1900 < len(text) <= 2000
    assert text.endswith("word")


def test_a_file_that_breaks_off_is_named_with_the_line(tmp_path: Path) -> None:
    folder = write_2018(tmp_path / "amazon")
    whole = gzip.compress("".join(json.dumps(review) + "\n" for review in REVIEWS_2018 * 500).encode())
    (folder / "Scarves_5.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"Scarves_5.json.gz is truncated inside its compressed data after line \d\d"):
        import_data(folder, tmp_path / "out", drop_bad_rows=True)


def test_a_file_that_is_not_packed_though_it_says_so_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reviews.json.gz"
    path.write_bytes(b'{"overall": 5.0}\n')
    with pytest.raises(DataError, match=r"reviews.json.gz is damaged after line 0"):
        import_data(path, tmp_path / "out")


def test_several_categories_in_one_folder_must_be_chosen_from(tmp_path: Path) -> None:
    folder = write_2023(tmp_path / "amazon")
    other = write_json(folder / "Other.jsonl", REVIEWS_2023[:5] * 2)
    with pytest.raises(DataError, match=r"several files that fit \(All_Things.jsonl.gz, Other.jsonl\)"):
        import_data(folder, tmp_path / "out")
    report = import_data(other, tmp_path / "out", items=folder / "meta_All_Things.jsonl")
    assert (report.interactions_file, report.items_file) == ("Other.jsonl", "meta_All_Things.jsonl")
    with pytest.raises(DataError, match=r"is not a file of items of amazon-2023"):
        import_data(other, tmp_path / "out", items=folder / "All_Things.jsonl.gz")


@pytest.mark.parametrize("item_first", [True, False])
def test_ratings_only_have_no_header(tmp_path: Path, item_first: bool) -> None:
    """The edition of 2018 has the item first, older ones the person."""
    pairs = [(f"A30000000{user}", f"B00000000{item}") for user in (1, 2) for item in (1, 2, 3)]
    rows = [(*((i, u) if item_first else (u, i)), "5.0", 1_420_086_400 + at) for at, (u, i) in enumerate(pairs)]
    path = write_csv(tmp_path / "Cards.csv", rows)
    report = import_data(path, tmp_path / "out")
    assert (report.format, report.stages[0].interactions, report.items) == ("amazon-2018", 6, 3)
    assert inter_lines(tmp_path / "out")[1] == ["A300000001", "B000000001", "5", "1420086400"]
