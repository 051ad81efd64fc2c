"""What of a shop's own tables becomes an attribute of an item, and what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from deeprec.trm_tool import ColumnNames, DataError, read_atomic_files
from deeprec.trm_tool.data import ColumnKind, TableOptions, import_data
from tests.trm_tool.data.samples import inter_lines, write_csv

PEOPLE, ITEMS = 12, 10


def sales(folder: Path) -> Path:
    """One table of orders in which each row describes the person, the order and the item."""
    header = ("buyer", "buyer_town", "invoice", "quantity", "when", "sku", "title", "colour", "price")
    rows = [
        (
            f"person-{person}",
            f"town {person % 3}",
            f"inv-{person}-{place}",
            1 + (7 * person + 3 * place) // 5 % 4,
            f"2024-01-{person + 1:02d} 10:{place:02d}",
            f"sku-{item}",
            f"Lamp {item}",
            ("red", "blue", "green")[item % 3],
            # raised once, in the middle of the year
            item + 0.5 + (person > PEOPLE // 2),
        )
        for person in range(PEOPLE)
        for place, item in enumerate((person + step) % ITEMS for step in range(6))
    ]
    return write_csv(folder / "sales.csv", [header, *rows])


def test_one_table_for_both_gives_items_nothing_of_a_person(tmp_path: Path) -> None:
    path = sales(tmp_path)
    names = ColumnNames(user="buyer", item="sku", time="when")
    report = import_data(path, tmp_path / "out", items=path, options=TableOptions(columns=names))
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert set(catalogue.attribute_kinds) <= {"colour", "price"}
    assert catalogue.item("sku-1").attributes["colour"] == "blue"
    assert not any("person" in item.text or "town" in item.text or "inv-" in item.text for item in catalogue)
    assert report.notes == (
        "sales.csv: buyer, when, quantity belong to a person or an interaction, and are left out.",
        "sales.csv: buyer_town, invoice differ between rows of one item, and are left out.",
    )
    assert all(note in (tmp_path / "out" / "README.md").read_text() for note in report.notes)


def test_a_column_of_people_in_the_table_of_items_is_left_out(tmp_path: Path) -> None:
    events = [("user_id", "item_id", "timestamp"), *((f"u{n // 4}", f"i{n % 4}", n) for n in range(8))]
    items = [("item_id", "title", "user_id", "kind"), *((f"i{n}", f"Title {n}", f"u{n % 2}", "tea") for n in range(4))]
    log, things = write_csv(tmp_path / "log.csv", events), write_csv(tmp_path / "things.csv", items)
    import_data(log, tmp_path / "out", items=things)
    assert list(read_atomic_files(tmp_path / "out").catalogue.attribute_kinds) == ["kind"]


def test_mixed_units_of_time_keep_the_order_of_time(tmp_path: Path) -> None:
    start = 1_600_000_000
    times = [(start + 1) * 1000, start + 2, "2020-09-13T12:26:43", f"{start + 4}000"]  # START + 3 as a date
    rows = [("user_id", "item_id", "timestamp"), *(("u", item, time) for item, time in zip("abcd", times, strict=True))]
    report = import_data(write_csv(tmp_path / "log.csv", rows), tmp_path / "out")
    assert read_atomic_files(tmp_path / "out").sequences == {"u": ("a", "b", "c", "d")}
    assert [int(line[2]) - start for line in inter_lines(tmp_path / "out")[1:]] == [1, 2, 3, 4]
    assert report.notes == (
        "log.csv: the column of times mixes units (2 in seconds, 2 in milliseconds; dates count as seconds); all "
        "became seconds.",
    )


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("image_url", [f"https://img.example/{n % 38}.png" for n in range(40)], None),
        ("link", ["www.example.org/a"] * 40, None),
        ("blurb", [f"A fine thing number {n % 30} made by hand" for n in range(40)], None),
        ("code_name", [f"code {n % 39}" for n in range(40)], None),
        ("brand_name", [f"Brand {n % 4}" for n in range(40)], "category"),
        ("premiere", [f"{n % 28 + 1}/{n % 12 + 1}/20{n + 10}" for n in range(40)], "category"),  # a category of dates
        ("premiere", [f"{n + 10}-Mar-2020" for n in range(19)] * 2 + ["", ""], "category"),
        ("cost", [f"{n + 1}.000,00 €" for n in range(40)], "number"),
        ("moods", [f"{('calm', 'loud', 'blue')[n % 3]}, {('old', 'new')[n % 2]}" for n in range(40)], "tags"),
        ("shelf", ["Toys, Games", "Books, Maps", "Tea"] * 13 + ["Tea"], "category"),
        ("nothing", [""] * 40, None),
        ("origin", [f"Town {n % 30}" for n in range(40)], "category"),
        ("genres", ["[{'id': 1, 'name': 'Jazz'}, {'id': 2, 'name': 'Folk Rock'}]"] * 40, "tags"),
    ],
)
def test_only_what_groups_items_becomes_an_attribute(
    tmp_path: Path, column: str, values: list[str], kind: str | None
) -> None:
    events = [("user_id", "item_id", "timestamp"), *((f"u{n % 8}", str(n), n) for n in range(40))]
    items = [("item_id", "title", column), *((str(n), f"Title {n}", value) for n, value in enumerate(values))]
    log, things = write_csv(tmp_path / "log.csv", events), write_csv(tmp_path / "things.csv", items)
    import_data(log, tmp_path / "out", items=things)
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.attribute_kinds == ({column: kind} if kind else {})
    assert "example" not in catalogue.item("1").text
    first = {
        "genres": ("Jazz", "Folk Rock"),
        "moods": ("loud", "new"),
        "shelf": "Books, Maps",
        "cost": 2000.0,
        "premiere": "2011-02-02" if "/" in values[1] else "2020-03-11",
    }
    if column in first:
        assert catalogue.item("1").attributes[column] == first[column]


def table_of(folder: Path, **columns: list[str]) -> tuple[Path, Path]:
    events = [("user_id", "item_id", "timestamp"), *((f"u{n % 8}", str(n), n) for n in range(40))]
    rows = zip(*columns.values(), strict=True)
    items = [("item_id", "title", *columns), *((n, f"Title {n}", *row) for n, row in enumerate(rows))]
    return write_csv(folder / "log.csv", events), write_csv(folder / "things.csv", items)


def test_kinds_that_the_user_says_are_remembered_by_the_folder(tmp_path: Path) -> None:
    log, things = table_of(
        tmp_path,
        code=[str(n % 4) for n in range(40)],
        weight=[f"1.{n:03d},5" for n in range(40)],
        mood=["calm" if n % 2 else "calm, blue" for n in range(40)],
        day=["1/2/2020"] * 40,
        secret=[f"s{n % 3}" for n in range(40)],
    )
    said: dict[str, ColumnKind] = {
        "code": "category",
        "weight": "number",
        "mood": "tags",
        "day": "date",
        "secret": "ignore",
    }
    options = TableOptions(columns=ColumnNames(kinds=said))
    with pytest.raises(DataError, match=r"'day' has dates such as '1/2/2020', .* --date-order day-first"):
        import_data(log, tmp_path / "out", items=things, options=options)
    import_data(log, tmp_path / "out", items=things, options=replace(options, date_order="day-first"))
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.item("2").attributes == {
        "code": "2",
        "weight": 1002.5,
        "mood": ("calm", "blue"),
        "day": "2020-02-01",
    }
    assert "secret" not in (tmp_path / "out" / "out.item").read_text()
    again = read_atomic_files(tmp_path / "out", columns=ColumnNames(kinds={"code": "number"})).catalogue
    assert again.attribute_kinds["code"] == "number"


def test_codes_with_their_names_beside_them_are_nothing_to_ask_for(tmp_path: Path) -> None:
    log, things = table_of(
        tmp_path, colour_no=[str(n % 4) for n in range(40)], colour_name=[f"colour {n % 4}" for n in range(40)]
    )
    import_data(log, tmp_path / "out", items=things)
    assert read_atomic_files(tmp_path / "out").catalogue.attribute_kinds == {"colour_name": "category"}
