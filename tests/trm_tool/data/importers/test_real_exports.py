"""Exports as spreadsheets, shops and Kaggle write them come in right, or are refused with the one thing to do."""

from pathlib import Path

import pytest

from deeprec.trm_tool import DataError, read_atomic_files
from deeprec.trm_tool.data import ImportReport, check_data, import_data
from deeprec.trm_tool.data.importers.own_tables import TableOptions

HEADER = "user_id,item_id,timestamp"
ROWS = [
    f"u{user},i{(3 * user + item) % 8},{1_600_000_000 + 100 * user + item}" for user in range(4) for item in range(6)
]


def imported(folder: Path, *rows: str, items: bool = False, options: TableOptions | None = None) -> ImportReport:
    file = folder / "orders.csv"
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return import_data(file, folder / "out", items=file if items else None, options=options)


def test_what_follows_the_person_describes_no_item_though_no_item_recurs(tmp_path: Path) -> None:
    header = "user_id,item_id,timestamp,title,brand,email,city"
    rows = [
        f"u{user},p{user}-{n},{1_600_000_000 + n},Thing {user}-{n},{'AB'[n % 2]},u{user}@x.com,City {user % 3}"
        for user in range(6)
        for n in range(5)
    ]
    report = imported(tmp_path, header, *rows, items=True)
    assert any("email, city follow the person" in note for note in report.notes)
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert set(catalogue.attribute_kinds) == {"brand"}
    assert "@x.com" not in catalogue.item("p1-1").text


def test_the_line_that_names_the_separator_is_read(tmp_path: Path) -> None:
    rows = [row.replace(",", ";") for row in (HEADER, *ROWS)]
    assert imported(tmp_path, "sep=;", *rows).stages[0].interactions == len(ROWS)


def test_a_delimiter_at_the_end_of_every_row_is_no_field(tmp_path: Path) -> None:
    assert imported(tmp_path, HEADER, *(f"{row}," for row in ROWS)).stages[0].interactions == len(ROWS)


def test_ids_that_a_spreadsheet_rounded_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was rounded by a spreadsheet; export the column as text"):
        imported(tmp_path, HEADER, "u1,9.78000E+12,1600000000")


def test_times_of_zero_are_named(tmp_path: Path) -> None:
    imported(tmp_path, HEADER, "u1,i9,0", "u2,i9,-1", *ROWS)
    warnings = " ".join(check_data(tmp_path / "out").warnings)
    assert "2 of 26 time stamps are 0 or less" in warnings
