"""What of a shop's own tables becomes an attribute of an item, and what does not."""

from pathlib import Path

import pytest

from deeprec.trm_tool import ColumnNames, read_atomic_files
from deeprec.trm_tool.data import TableOptions, import_data
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
        "sales.csv: buyer, when belong to a person or an interaction, and are left out.",
        "sales.csv: buyer_town, invoice, quantity differ between rows of one item, and are left out.",
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
    if kind == "tags":
        assert catalogue.item("1").attributes[column] == ("Jazz", "Folk Rock")
