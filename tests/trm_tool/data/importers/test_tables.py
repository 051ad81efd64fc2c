"""A shop's own tables: CSV and Parquet."""

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deeprec.trm_tool import ColumnNames, ConfigError, DataError, read_atomic_files
from deeprec.trm_tool.data import FilterConfig, TableOptions, import_data
from tests.trm_tool.data.samples import inter_lines, item_lines, write_csv

EVENTS = [(user, item, 10 * user + place) for user in (1, 2) for place, item in enumerate("abcd")]
HEADER = ("user_id", "item_id", "timestamp")


def events(folder: Path, header: tuple[str, ...] = HEADER, **options: Any) -> Path:
    return write_csv(folder / "interactions.csv", [header, *EVENTS], **options)


def test_columns_are_found_by_name_in_any_spelling(tmp_path: Path) -> None:
    path = events(tmp_path, ("customerId", "Product ID", "unix-time"))
    report = import_data(path, tmp_path / "out")
    assert (report.format, report.items, report.stages[-1].interactions) == ("csv", 4, 8)
    assert inter_lines(tmp_path / "out")[:2] == [
        ["user_id:token", "item_id:token", "timestamp:float"],
        ["1", "a", "10"],
    ]


def test_columns_may_be_named(tmp_path: Path) -> None:
    rows = [("who", "what", "when", "liked"), *((*event, 4) for event in EVENTS)]
    path = write_csv(tmp_path / "log.csv", rows)
    with pytest.raises(
        DataError,
        match=r"log.csv:1 has no user column that is known by name .* it has who, what, when, liked. Name the column "
        r"with --user-column. Give --item-column and --time-column too.",
    ):
        import_data(path, tmp_path / "out")
    names = ColumnNames(user="who", item="what", time="when")
    with pytest.raises(DataError, match=r"log.csv:1 has no column 'stars'; it has who, .* --rating-column"):
        import_data(path, tmp_path / "out", options=TableOptions(columns=names, rating="stars"))
    import_data(path, tmp_path / "out", options=TableOptions(columns=names, rating="liked"))
    assert inter_lines(tmp_path / "out")[1] == ["1", "a", "4", "10"]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_what_parts_the_columns_is_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    import_data(events(tmp_path, delimiter=delimiter), tmp_path / "out")
    assert len(inter_lines(tmp_path / "out")) == 9


def test_another_delimiter_may_be_named(tmp_path: Path) -> None:
    path = events(tmp_path, delimiter="~")
    with pytest.raises(DataError, match=r"interactions.csv:1 is 'user_id~item_id~timestamp', in which no comma"):
        import_data(path, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"--delimiter is '~~'"):
        import_data(path, tmp_path / "out", options=TableOptions(delimiter="~~"))
    import_data(path, tmp_path / "out", options=TableOptions(delimiter="~"))
    assert len(inter_lines(tmp_path / "out")) == 9


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_by_its_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    events(tmp_path)
    text = "item_id,title\n" + "".join(f"{item},Été {item}\n" for item in "abcd")
    (tmp_path / "items.csv").write_text(text, encoding=encoding)
    import_data(tmp_path, tmp_path / "out")
    assert item_lines(tmp_path / "out")[1] == ["a", "Été a"]


def test_another_encoding_must_be_named(tmp_path: Path) -> None:
    events(tmp_path)
    (tmp_path / "items.csv").write_text("item_id,title\na,A\nb,Été\nc,C\nd,D\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"items.csv:3 is not UTF-8 \(bytes c9 74 e9 0a\). Name its encoding"):
        import_data(tmp_path, tmp_path / "out")
    import_data(tmp_path, tmp_path / "out", options=TableOptions(encoding="latin-1"))
    assert item_lines(tmp_path / "out")[2] == ["b", "Été"]
    for wrong in ("klingon", "hex", "a\0b"):
        with pytest.raises(ConfigError, match="There is no encoding"):
            import_data(tmp_path, tmp_path / "out", options=TableOptions(encoding=wrong))


def test_a_packed_file_with_windows_line_ends_and_blank_lines_is_read(tmp_path: Path) -> None:
    lines = [",".join(HEADER), "", *(",".join(map(str, event)) for event in EVENTS), ""]
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress("\r\n".join(lines).encode()))
    import_data(path, tmp_path / "out")
    assert len(inter_lines(tmp_path / "out")) == 9


def test_times_may_be_dates(tmp_path: Path) -> None:
    times = ["2024-01-02", "2024-01-01T12:30:00Z", "2024-01-01 12:30:00.5+00:00", "1704200000.25"]
    path = write_csv(
        tmp_path / "log.csv", [HEADER, *(("u", item, time) for item, time in zip("abcd", times, strict=True))]
    )
    import_data(path, tmp_path / "out")
    rows = [line[1:] for line in inter_lines(tmp_path / "out")[1:]]
    assert rows == [["b", "1704112200.0"], ["c", "1704112200.5"], ["a", "1704153600.0"], ["d", "1704200000.25"]]


def test_nanoseconds_stay_exact(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    path = write_csv(tmp_path / "log.csv", [HEADER, *(("u", item, start - place) for place, item in enumerate("abcd"))])
    import_data(path, tmp_path / "out")
    assert read_atomic_files(tmp_path / "out").sequences == {"u": ("d", "c", "b", "a")}


# What the items file says, column by column, and what the catalogue makes of it.
ITEM_COLUMNS: dict[str, tuple[list[object], str | None, object]] = {
    "colour": (["red", "blue", "dark red", ""], "category", "red"),
    "release_year": ([1999, 2001, "", 2003], "number", 1999.0),
    "weight": (["1.5", "2", "nan", "3e1"], "number", 1.5),
    "list_price": (["$12.99", "9", "N/A", "1,299.00"], "number", 12.99),
    "genres": (["Action|Sci-Fi", "Drama", "Action", ""], "tags", ("Action", "Sci-Fi")),
    "materials": (["olive wood, steel", "steel", "cork", ""], "tags", ("olive wood", "steel")),
    "labels": (["['new', \"kids' pick\"]", "[]", "['sale']", "['new']"], "tags", ("new", "kids' pick")),
    "shelf_id": (["1", "2", "2", "3"], "category", "1"),
    "description": (["A short text, well made.", "Nothing", "", "More"], None, None),
    "blurb": (
        [f"A rather long story about number {n} that is told at length and then once more" for n in range(4)],
        None,
        None,
    ),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("column", ITEM_COLUMNS)
def test_the_types_of_item_columns_come_out_right(tmp_path: Path, column: str, suffix: str) -> None:
    values, kind, first = ITEM_COLUMNS[column]
    events(tmp_path)
    rows = [
        ("item_id", "title", column),
        *((item, f"Title {item}", value) for item, value in zip("abcd", values, strict=True)),
    ]
    items = write_csv(tmp_path / "things.csv", rows)
    if suffix == "parquet":
        items = tmp_path / "things.parquet"
        texts = [None if value == "" else str(value) for value in values]
        pq.write_table(pa.table({"item_id": list("abcd"), "title": [row[1] for row in rows[1:]], column: texts}), items)
    import_data(tmp_path / "interactions.csv", tmp_path / "out", items=items)
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.attribute_kinds == ({column: kind} if kind else {})
    assert catalogue.item("a").attributes.get(column) == first
    if kind is None:
        assert catalogue.item("a").text == f"Title a. {values[0]}"


def test_one_category_of_several_words_each_is_not_taken_apart(tmp_path: Path) -> None:
    """The reader takes a space for what parts tags, unless it sees something else."""
    events(tmp_path)
    table = {
        "item_id": list("abcd"),
        "title": list("ABCD"),
        "tags": [["Musical Instruments"], ["Guitar Strings"], ["Drums"], ["Odd|One, it is"]],
    }
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    import_data(tmp_path, tmp_path / "out")
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert [item.attributes["tags"] for item in catalogue] == [
        ("Musical Instruments",),
        ("Guitar Strings",),
        ("Drums",),
        ("Odd/One, it is",),
    ]


def test_a_title_in_quotes_swallows_no_lines_when_pandas_reads_it(tmp_path: Path) -> None:
    import pandas as pd

    events(tmp_path)
    titles = ['"Heat', "Plain", '"Q" and "R"', 'Say "what']
    rows = [("item_id", "title"), *zip("abcd", titles, strict=True)]
    import_data(tmp_path / "interactions.csv", tmp_path / "out", items=write_csv(tmp_path / "items.csv", rows))
    frame = pd.read_csv(tmp_path / "out" / "out.item", sep="\t", engine="python")
    assert list(frame["title:token_seq"]) == ["“Heat", "Plain", "“Q” and “R”", 'Say "what']


def test_a_title_over_two_lines_and_a_tab_is_one_field(tmp_path: Path) -> None:
    events(tmp_path)
    rows = [("item_id", "title"), ("a", "One\r\nTwo\tThree\x00\x1b"), ("b", "B"), ("c", "C"), ("d", "D")]
    import_data(tmp_path / "interactions.csv", tmp_path / "out", items=write_csv(tmp_path / "items.csv", rows))
    assert item_lines(tmp_path / "out")[1] == ["a", "One Two Three"]


def parquet(path: Path, **columns: Any) -> Path:
    table = {"user_id": [1, 1, 1, 1], "item_id": ["a", "b", "c", "d"], "timestamp": [4, 3, 2, 1]} | columns
    pq.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)
    return path


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    moments = [datetime(2024, 1, 1, 0, 0, second, tzinfo=UTC) for second in (4, 3, 2, 1)]
    path = parquet(
        tmp_path / "log.parquet",
        timestamp=pa.array(moments, pa.timestamp("ms", "UTC")),
        user_id=pa.array([1.0, 1.0, 1.0, 1.0]),
        rating=pa.array([1.5, None, 3.0, 4.0]),
    )
    report = import_data(path, tmp_path / "out")
    assert report.format == "parquet"
    assert inter_lines(tmp_path / "out")[1:3] == [["1", "d", "4", "1704067201000"], ["1", "c", "3", "1704067202000"]]
    assert inter_lines(tmp_path / "out")[3] == ["1", "b", "", "1704067203000"]
    parquet(path, timestamp=pa.array([4, 3, 2, 1], pa.date32()))
    import_data(path, tmp_path / "out")
    assert inter_lines(tmp_path / "out")[1][-1] == "86400"


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"user_id": None}, "log.parquet:1 has no user column that is known by name"),
        ({"timestamp": [1.0, float("nan"), 2.0, 3.0]}, "log.parquet:2 has nan as time stamp"),
        ({"timestamp": [1, None, 2, 3]}, "log.parquet:2 has None as time stamp"),
        ({"item_id": ["a", None, "b", "c"]}, "log.parquet:2 has no item id"),
        ({"item_id": ["a", "b", "c\td", "c"]}, "log.parquet:3 has the item id 'c\\td', which holds control characters"),
        ({"user_id": [[1], [1], [1], [1]]}, "log.parquet:1 has no user id"),
        ({"rating": ["4", "good", "3", "2"]}, "log.parquet:2 has 'good' as rating in the column 'rating'"),
    ],
)
def test_a_bad_parquet_row_is_named(tmp_path: Path, columns: dict[str, Any], why: str) -> None:
    path = parquet(tmp_path / "log.parquet", **columns)
    with pytest.raises(DataError) as raised:
        import_data(path, tmp_path / "out")
    assert why in str(raised.value)


@pytest.mark.parametrize("name", ["weight", "price"])
def test_infinite_and_negative_numbers_of_items_are_left_empty(tmp_path: Path, name: str) -> None:
    numbers = [float("inf"), float("-inf"), -2.5, 2.5]
    pq.write_table(pa.table({"item_id": list("abcd"), name: numbers}), tmp_path / "items.parquet")
    report = import_data(parquet(tmp_path / "log.parquet"), tmp_path / "out", items=tmp_path / "items.parquet")
    negative = "-2.5" if name == "weight" else ""  # no price is negative
    assert item_lines(tmp_path / "out") == [
        ["item_id:token", f"{name}:float"],
        *zip_lists("abcd", ["", "", negative, "2.5"]),
    ]
    assert (report.columns[0].filled, report.columns[0].unreadable) == ((2, 0) if name == "weight" else (1, 1))


def zip_lists(*columns: Sequence[str]) -> list[list[str]]:
    return [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("file", ["log.parquet", "items.parquet"])
def test_parquet_columns_of_the_same_name_are_refused(tmp_path: Path, file: str) -> None:
    parquet(tmp_path / "log.parquet")
    parquet(tmp_path / "items.parquet")
    twice = pq.read_table(tmp_path / file).append_column("item_id", pa.array(list("efgh")))
    pq.write_table(twice, tmp_path / file)
    with pytest.raises(DataError, match=rf"{file}:1 has two columns called 'item_id'. Rename one of them."):
        import_data(tmp_path / "log.parquet", tmp_path / "out", items=tmp_path / "items.parquet")


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "log.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"log.parquet is not a readable Parquet file"):
        import_data(path, tmp_path / "out")
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"log.parquet is not a readable Parquet file"):
        import_data(path, tmp_path / "out")


BAD_CSV = {
    "empty": ("", "is empty. Give it a header"),
    "blank": ("\n \n", "is empty. Give it a header"),
    "header alone": ("user_id,item_id,timestamp\n", "has no interactions"),
    "column twice": ("user_id,user_id,item_id,timestamp\n", "log.csv:1 has two columns called 'user_id'"),
    "no time": ("user_id,item_id\n1,a\n", "log.csv:1 has no time column that is known by name"),
    "field missing": (
        "user_id,item_id,timestamp\n1,a\n",
        "log.csv:2 has 2 fields separated by ',' where the header has 3",
    ),
    "open quote": ('user_id,item_id,timestamp\n1,a,1\n1,"b,2\n"1",c,3\n', "log.csv:3 cannot be parsed as CSV"),
    "text after a quote": ('user_id,item_id,timestamp\n1,"b"b,"2"\n', "log.csv:2 cannot be parsed as CSV"),
    "NaN as time": ("user_id,item_id,timestamp\n1,a,NaN\n", "log.csv:2 has 'NaN' as time stamp"),
    "a time without end": ("user_id,item_id,timestamp\n1,a,1e999\n", "log.csv:2 has '1e999' as time stamp"),
    "no user": ("user_id,item_id,timestamp\n,a,1\n", "log.csv:2 has no user id"),
    "an id over two lines": (
        'user_id,item_id,timestamp\n1,"a\nb",1\n',
        "log.csv:2 has the item id 'a\\nb', which holds",
    ),
    "the line after one over two": ('user_id,item_id,timestamp,x\n1,a,1,"\n"\n1,b,no,\n', "log.csv:4 has 'no' as time"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv_gets_one_clear_line(tmp_path: Path, case: str) -> None:
    content, why = BAD_CSV[case]
    (tmp_path / "log.csv").write_text(content, encoding="utf-8", newline="")
    with pytest.raises(DataError) as raised:
        import_data(tmp_path / "log.csv", tmp_path / "out")
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.trm_tool.data.importers.lines.MAX_LINE_BYTES", 1000)
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"user_id,item_id,timestamp\n1,a,1\n" + b"x" * 10_000))
    with pytest.raises(DataError, match=r"log.csv.gz:3 is longer than 1000 bytes"):
        import_data(path, tmp_path / "out", drop_bad_rows=True)


def test_a_wide_line_without_end_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.trm_tool.data.importers.lines.MAX_LINE_BYTES", 1000)
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\n1,a,1\n" + "x" * 10_000, encoding="utf-16")
    with pytest.raises(DataError, match=r"log.csv:3 is longer than 1000 bytes"):
        import_data(path, tmp_path / "out", drop_bad_rows=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_that_unpacks_to_far_more_than_a_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr("deeprec.trm_tool.data.importers.lines.PACKED_FROM_BYTES", 1_000_000)
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(("user_id,item_id,timestamp\n" + "1,a,1\n" * 2_000_000).encode(encoding)))
    with pytest.raises(DataError, match=r"log\.csv\.gz has [\d,]+ bytes unpacked .* over 200 times as many"):
        import_data(path, tmp_path / "out")


def test_bad_rows_are_dropped_and_counted_by_kind(tmp_path: Path) -> None:
    rows = [HEADER, *EVENTS, ("1", "", 5), ("1", "z", "soon"), ("1", "y"), ("2", "x", "never")]
    report = import_data(write_csv(tmp_path / "log.csv", rows), tmp_path / "out", drop_bad_rows=True)
    assert report.dropped == {
        "rows without a usable item id": 1,
        "rows without a usable time stamp": 2,
        "lines with a wrong number of fields": 1,
    }
    assert len(inter_lines(tmp_path / "out")) == 9


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (("id_of_thing", "title"), "items.csv:1 has no column of item ids that is known by name"),
        (("asin", "item_id", "title"), "items.csv:1 would give two columns called"),
        (("item_id", "name", "title"), None),
        (("item_id", "a:b", "c\td"), None),
        (("item_id", ":"), None),
        (("item_id", ""), None),
    ],
)
def test_odd_headers_of_items(tmp_path: Path, header: tuple[str, ...], why: str | None) -> None:
    events(tmp_path)
    write_csv(tmp_path / "items.csv", [header, *([item] * len(header) for item in "abcd")])
    names = ColumnNames(item="asin") if "asin" in header else ColumnNames()
    if why is None:
        import_data(tmp_path, tmp_path / "out")
        assert len(read_atomic_files(tmp_path / "out").catalogue) == 4
        return
    (tmp_path / "interactions.csv").write_text((tmp_path / "interactions.csv").read_text().replace("item_id", "asin"))
    with pytest.raises(DataError) as raised:
        import_data(tmp_path, tmp_path / "out", options=TableOptions(columns=names))
    assert why in str(raised.value)


def test_a_rating_that_is_missing_counts_as_too_low(tmp_path: Path) -> None:
    ratings = [5, "", 4.5, "nan", 5, 4, 5, 3]
    rows = [(*HEADER, "rating"), *((*event, rating) for event, rating in zip(EVENTS, ratings, strict=True))]
    path = write_csv(tmp_path / "log.csv", rows)
    import_data(path, tmp_path / "out")
    assert [line[2] for line in inter_lines(tmp_path / "out")[1:]] == ["5", "", "4.5", "", "5", "4", "5", "3"]
    import_data(path, tmp_path / "out", filters=FilterConfig(min_rating=4))
    assert [line[:2] for line in inter_lines(tmp_path / "out")[1:]] == [["2", "a"], ["2", "b"], ["2", "c"]]


def test_sentences_with_commas_are_no_tags(tmp_path: Path) -> None:
    events(tmp_path)
    rows = [
        (f"x{n}", f"T{n}", f"Story {n} of a town, told by its mayor the {n}th, who left it, and came back")
        for n in range(25)
    ]
    items = write_csv(tmp_path / "items.csv", [("item_id", "title", "pitch"), *rows, *((i, i, "") for i in "abcd")])
    import_data(tmp_path / "interactions.csv", tmp_path / "out", items=items)
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.attribute_kinds == {}
    assert catalogue.item("x3").text == f"T3. {rows[3][2]}"
