"""CSV as people really have it: quotes that are none, quotes escaped by a backslash, line ends of old programs."""

from pathlib import Path

import pytest

from deeprec.trm_tool import DataError
from deeprec.trm_tool.data import BadRows, Reading
from deeprec.trm_tool.data.importers.formats.csv_rows import csv_layout, read_csv


def read(path: Path, bad: BadRows | None = None) -> list[list[str]]:
    layout = csv_layout(path)
    return [fields for _, fields in read_csv(path, Reading(bad or BadRows()), columns=layout.header, layout=layout)]


def lamps(open_row: str, close_row: str) -> str:
    rows = [f"{number}\tLamp {number}\thome" for number in range(40)]
    rows[5], rows[30] = open_row, close_row
    return "\n".join(["item_id\ttitle\tkind", *rows]) + "\n"


def test_a_quote_that_is_plain_text_swallows_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "items.tsv"
    path.write_text(lamps('5\t"Best of 2019, a set\thome', '30\tShelf 12"\thome'))
    rows = read(path)
    assert [row[0] for row in rows] == [str(number) for number in range(40)]
    assert (rows[5][1], rows[30][1]) == ('"Best of 2019, a set', 'Shelf 12"')


def test_rows_that_an_open_quote_joins_are_named_where_other_quotes_quote(tmp_path: Path) -> None:
    text = lamps('5\t"Best of 2019, a set\thome', '30\tShelf 12"\thome') + '41\t"A ""lamp"""\t"home"\n'
    (tmp_path / "items.tsv").write_text(text)
    with pytest.raises(DataError, match=r"items.tsv:7 opens a quote that line 32 closes, .* --quotes none"):
        read(tmp_path / "items.tsv")
    bad = BadRows(drop=True)
    rows = read(tmp_path / "items.tsv", bad)
    assert bad.counts == {"rows that an open quote joins": 1}
    assert [row[0] for row in rows] == [str(number) for number in (*range(5), *range(6, 40), 41)]


def test_a_description_over_several_lines_stays_one_field(tmp_path: Path) -> None:
    text = 'item_id,title,text\n1,One,"Warm, soft\nand, light"\n2,Two,"A\n\nB, C\n"\n3,Three,plain\n'
    (tmp_path / "items.csv").write_text(text)
    assert read(tmp_path / "items.csv") == [
        ["1", "One", "Warm, soft\nand, light"],
        ["2", "Two", "A\n\nB, C\n"],
        ["3", "Three", "plain"],
    ]


def test_quotes_may_be_escaped_by_a_backslash(tmp_path: Path) -> None:
    text = 'id;title;year\n"1";"The \\"Best\\" of; it";"1990"\n"2";"Ends in \\"";"1991"\n"3";"Plain";"1992"\n'
    (tmp_path / "books.csv").write_text(text)
    assert [row[1] for row in read(tmp_path / "books.csv")] == ['The "Best" of; it', 'Ends in "', "Plain"]


def test_lines_may_end_in_cr_alone(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b'a,b\r1,"x\ry"\r2,z\r')
    assert read(tmp_path / "log.csv") == [["1", "x\ry"], ["2", "z"]]


def test_only_the_line_that_cannot_be_parsed_is_lost(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('a,b\n"1","x"\n"2","y"z\n"3","w"\n')
    bad = BadRows(drop=True)
    assert read(tmp_path / "log.csv", bad) == [["1", "x"], ["3", "w"]]
    assert bad.counts == {"lines that cannot be parsed as CSV": 1}
