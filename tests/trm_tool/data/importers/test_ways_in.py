"""Tables as shops, spreadsheets and public data sets have them."""

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from deeprec.trm_tool import ColumnNames, ConfigError, DataError, read_atomic_files
from deeprec.trm_tool.data import TableOptions, import_data
from deeprec.trm_tool.data.importers.interaction_table import parse_meanings
from tests.trm_tool.data.samples import inter_lines, write_csv

HEADER = ("user_id", "item_id", "timestamp")
ROWS = [
    (user, item, 1_600_000_000 + 100 * at + place) for at, user in enumerate("uv") for place, item in enumerate("abc")
]
KEPT = {"u": ("a", "b", "c"), "v": ("a", "b", "c")}


def kept(folder: Path, log: Path, items: Path | None = None, **options: Any) -> dict[str, tuple[str, ...]]:
    """Import, and read what was written: person -> items in the order of time."""
    import_data(log, folder / "out", items=items, options=TableOptions(**options))
    return read_atomic_files(folder / "out").sequences


def log(folder: Path, *extra: tuple[str, Sequence[object]], name: str = "log.csv") -> Path:
    """The rows, with further columns."""
    header = (*HEADER, *(column for column, _ in extra))
    rows = [(*row, *(values[at] for _, values in extra)) for at, row in enumerate(ROWS)]
    return write_csv(folder / name, [header, *rows])


def test_columns_that_pandas_adds_are_left_out(tmp_path: Path) -> None:
    events = write_csv(tmp_path / "log.csv", [("", *HEADER), *((at, *row) for at, row in enumerate(ROWS))])
    items = [
        ("", "Unnamed: 0", "item_id", "title", "kind"),
        *((n, n, i, i.upper(), "tea") for n, i in enumerate("abc")),
    ]
    assert kept(tmp_path, events, write_csv(tmp_path / "items.csv", items)) == KEPT
    assert list(read_atomic_files(tmp_path / "out").catalogue.attribute_kinds) == ["kind"]


def test_the_items_key_may_be_called_id_or_be_named(tmp_path: Path) -> None:
    events = write_csv(tmp_path / "log.csv", [("user_id", "artistID", "timestamp"), *ROWS])
    rows = [(i, f"Band {i}") for i in "abc"]
    names = ColumnNames(item="artistID")
    assert kept(tmp_path, events, write_csv(tmp_path / "a.csv", [("id", "name"), *rows]), columns=names) == KEPT
    named = write_csv(tmp_path / "b.csv", [("code", "name"), *rows])
    assert kept(tmp_path, events, named, columns=names, item_key="code") == KEPT
    with pytest.raises(DataError, match=r"b.csv:1 has no column 'sku'; it has code, name. Correct --item-key"):
        kept(tmp_path, events, named, columns=names, item_key="sku")


def test_whole_ids_with_a_point_behind_them_are_whole(tmp_path: Path) -> None:
    rows = [
        ("user_id", "item_id", "date"),
        *((f"{at + 17850}.0", i, f"2024-01-0{i}") for at in (0, 1) for i in range(1, 4)),
    ]
    assert list(kept(tmp_path, write_csv(tmp_path / "log.csv", rows))) == ["17850", "17851"]


def test_ratings_in_words_are_left_out_or_mapped(tmp_path: Path) -> None:
    words = ["it was amazing", "ok", "none", "ok", "none", "it was amazing"]
    path = log(tmp_path, ("rating", words))
    report = import_data(path, tmp_path / "out")
    assert inter_lines(tmp_path / "out")[0] == ["user_id:token", "item_id:token", "timestamp:float"]
    assert "the column 'rating' holds texts ('it was amazing', 'ok'" in report.notes[0]
    meanings = parse_meanings(["it was amazing=5", "ok=3"], [])
    named = TableOptions(rating="rating", meanings=meanings)
    import_data(path, tmp_path / "out", options=named)  # "none" is a missing value
    assert [line[2] for line in inter_lines(tmp_path / "out")[1:]] == ["5", "3", "", "3", "", "5"]
    path = log(tmp_path, ("rating", ["poor", *words[1:]]))
    with pytest.raises(
        DataError, match=r"log.csv:2 has 'poor' as rating in the column 'rating', .* --rating-value poor=5"
    ):
        import_data(path, tmp_path / "out", options=named)
    kept(tmp_path, path, rating="rating", meanings=parse_meanings(["it was amazing=5", "ok=3", "poor="], []))


@pytest.mark.parametrize("options", [(["x"], []), (["=5"], []), ([], ["=5"]), ([], ["buy=much"])])
def test_an_option_without_its_number_is_refused(options: tuple[list[str], list[str]]) -> None:
    with pytest.raises(ConfigError, match=r"--(rating-value|event) is"):
        parse_meanings(*options)


def test_kinds_of_events_are_filtered_or_weighed(tmp_path: Path) -> None:
    kinds = ["view", "cart", "purchase", "view", "remove_from_cart", "purchase"]
    path = log(tmp_path, ("event_type", kinds))
    report = import_data(path, tmp_path / "out")
    assert read_atomic_files(tmp_path / "out").sequences == {"u": ("a", "b", "c")}
    assert report.notes == (
        "log.csv: the column 'event_type' has the events view 2, purchase 2, cart 1, remove_from_cart 1; 1 of them are "
        "left out. Say which stay with --event KIND, or what they weigh with --event KIND=WEIGHT.",
    )
    weights = parse_meanings([], ["view=1", "purchase=5", "cart=2"])
    import_data(path, tmp_path / "out", options=TableOptions(meanings=weights))
    assert [line[2] for line in inter_lines(tmp_path / "out")[1:]] == ["1", "2", "5"]
    with pytest.raises(DataError, match=r"has no event 'buy' in the column 'event_type'; it has view, purchase"):
        kept(tmp_path, path, meanings=parse_meanings([], ["buy", "view", "cart", "purchase"]))


def test_returns_are_left_out(tmp_path: Path) -> None:
    report = import_data(log(tmp_path, ("Quantity", [1, 2, 3, 1, -1, 2])), tmp_path / "out")
    assert read_atomic_files(tmp_path / "out").sequences == {"u": ("a", "b", "c")}
    assert report.notes == ("log.csv: 1 rows have a Quantity of 0 or less, as returns have, and are left out.",)


def test_without_times_the_order_of_the_file_is_taken_on_request(tmp_path: Path) -> None:
    rows = [(user, item) for user, item, _ in ROWS]
    path = write_csv(tmp_path / "log.csv", [HEADER[:2], *reversed(rows)])
    with pytest.raises(DataError, match=r"no time column .* --order-by-file takes the order of its rows"):
        kept(tmp_path, path)
    assert kept(tmp_path, path, order_by_file=True) == {"v": ("c", "b", "a"), "u": ("c", "b", "a")}
    assert read_atomic_files(tmp_path / "out").name == "out (in the order of its file, without times)"
    with pytest.raises(ConfigError, match="--order-by-file and --time-column were both given"):
        kept(tmp_path, path, order_by_file=True, columns=ColumnNames(time="x"))


def test_a_file_without_a_header_is_read_with_the_names_of_its_columns(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.dat", ROWS, delimiter="\t")
    with pytest.raises(DataError, match=r"looks like a row: .* --header user_id,item_id,rating,timestamp"):
        kept(tmp_path, path)
    assert kept(tmp_path, path, header=HEADER) == KEPT
    with pytest.raises(DataError, match=r"log.dat:1 has 3 fields separated by '\\t', and --header names 2"):
        kept(tmp_path, path, header=HEADER[:2])


def test_slashed_dates_are_decided_over_the_whole_column(tmp_path: Path) -> None:
    days = ["12/1/2010 8:26", "12/2/2010 8:26", "12/13/2010 8:26"]
    path = write_csv(tmp_path / "log.csv", [HEADER, *(("u", i, day) for i, day in zip("abc", days, strict=True))])
    kept(tmp_path, path)
    assert [line[2] for line in inter_lines(tmp_path / "out")[1:]] == ["1291191960", "1291278360", "1292228760"]
    path.write_text(path.read_text().replace("12/13", "12/3"))
    with pytest.raises(DataError, match=r"dates such as '12/1/2010 8:26' in the column 'timestamp', .* --date-order"):
        kept(tmp_path, path)
    kept(tmp_path, path, date_order="day-first")
    assert inter_lines(tmp_path / "out")[1][2] == str(int(datetime(2010, 1, 12, 8, 26, tzinfo=UTC).timestamp()))


def test_a_number_without_a_unit_does_not_stand_among_dates(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", [HEADER, ("u", "a", "2020-01-05"), ("u", "b", 7), ("u", "c", 8)])
    with pytest.raises(DataError, match=r"log.csv:3 has '7' in the column 'timestamp', a number, where line 2"):
        kept(tmp_path, path)


def test_json_lines_and_lists_are_read(tmp_path: Path) -> None:
    rows = [{"user": {"id": user}, "item_id": item, "ts": time} for user, item, time in ROWS]
    items = [
        {"item_id": i, "title": i.upper(), "genres": [{"id": 1, "name": "Jazz"}], "moods": {"calm" + i: 2}}
        for i in "abc"
    ]
    packed, listed = tmp_path / "log.jsonl.gz", tmp_path / "items.json"
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    listed.write_text(json.dumps(items), encoding="utf-8-sig")
    assert kept(tmp_path, packed, listed, columns=ColumnNames(user="user.id", item="item_id")) == KEPT
    assert read_atomic_files(tmp_path / "out").catalogue.item("b").attributes == {
        "genres": ("Jazz",),
        "moods": ("calmb",),
    }
    packed.write_bytes(gzip.compress(b'{"user_id": 1, "item_id": 2, "ts": 3}\nnonsense\n'))
    with pytest.raises(DataError, match=r"log.jsonl.gz:2 is 'nonsense', which is not a JSON object"):
        kept(tmp_path, packed)


def test_a_workbook_is_read_with_its_numbers_and_dates(tmp_path: Path) -> None:
    book = Workbook()
    book.create_sheet("empty", 0)
    sheet = book.worksheets[1]
    for row in (
        HEADER,
        *((at, item, datetime(2024, 1, place + 1)) for at in (1, 2) for place, item in enumerate("cab")),
    ):
        sheet.append(row)
    book.save(tmp_path / "log.xlsx")
    assert kept(tmp_path, tmp_path / "log.xlsx") == {"1": ("c", "a", "b"), "2": ("c", "a", "b")}
    assert inter_lines(tmp_path / "out")[1] == ["1", "c", "1704067200"]
    (tmp_path / "log.xlsx").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"log.xlsx is not a readable Excel workbook .* Save it as"):
        kept(tmp_path, tmp_path / "log.xlsx")


def test_the_types_of_parquet_keep_their_meaning(tmp_path: Path) -> None:
    events = {
        "user_id": pa.array([user.encode() for user, *_ in ROWS]),
        "item_id": pa.array([item for _, item, _ in ROWS]).dictionary_encode(),
        "timestamp": pa.array([datetime.fromtimestamp(time, UTC) for *_, time in ROWS], pa.timestamp("us", "UTC")),
        "rating": pa.array([Decimal("4.50")] * 6),
    }
    pq.write_table(pa.table(events), tmp_path / "log.parquet")
    items = {
        "item_id": list("abc"),
        "cost": [Decimal("0.99"), None, Decimal("2.50")],
        "size": [{"w": 1, "h": 2}, {"w": 3, "h": 2}, None],
        "label": [{"id": 7, "name": "Loom"}] * 3,
        "spec": pa.array([[("colour", "red")]] * 3, pa.map_(pa.string(), pa.string())),
        "released": pa.array([date(2020, 1, 1), date(2020, 1, 2), None]),
        "seen": pa.array([datetime(2021, 1, 1, 5)] * 3, pa.timestamp("ns")),
        "vector": [[0.5, 0.25]] * 3,
        "blob": [b"\x00\xff"] * 3,
    }
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    assert kept(tmp_path, tmp_path / "log.parquet", tmp_path / "items.parquet") == KEPT
    assert inter_lines(tmp_path / "out")[1][2] == "4.5"
    assert read_atomic_files(tmp_path / "out").catalogue.item("a").attributes == {
        "cost": 0.99,
        "size.w": 1.0,
        "size.h": 2.0,
        "label": "Loom",
        "spec": ("colour: red",),
        "released": "2020-01-01",
        "seen": "2021-01-01",
    }


def test_rows_that_are_left_out_are_in_a_file_with_the_reason(tmp_path: Path) -> None:
    path = log(tmp_path)
    path.write_text(path.read_text() + ",a,1600000000\nw,a\nw,a,soon\nw,gone,1600000000\n")
    items = write_csv(tmp_path / "items.csv", [("item_id", "title"), *((i, f"T {i}") for i in "abc")])
    report = import_data(path, tmp_path / "out", items=items, drop_bad_rows=True)
    rows = [line.split("\t") for line in (tmp_path / "out" / "dropped_rows.tsv").read_text().splitlines()]
    assert rows[0] == ["file", "line", "kind", "why"]
    assert [(row[0], row[1], row[3][:44]) for row in rows[1:]] == [
        ("log.csv", "8", "has no user id in the column 'user_id'."),
        ("log.csv", "9", "has 2 fields separated by ',' where the head"),
        ("log.csv", "10", "has 'soon' as time stamp in the column 'time"),
        ("log.csv", "11", "is the first of 1 rows with item 'gone', whi"),
    ]
    assert sum(report.dropped.values()) == 4
    import_data(log(tmp_path), tmp_path / "out", drop_bad_rows=True)
    assert not (tmp_path / "out" / "dropped_rows.tsv").exists()
