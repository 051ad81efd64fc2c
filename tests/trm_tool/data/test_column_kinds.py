"""Kinds of columns that a user says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.trm_tool import ColumnNames, ConfigError, DataError, read_atomic_files
from deeprec.trm_tool.data.column_kinds import parse_kinds

WriteAtomic = Callable[..., Path]
HEADER = "item_id:token\ttitle:token_seq\tbrand_name:token\tcode:float\tgenre:token\treleased:token\tnote:token"
ITEMS = [
    f"i{n}\tThing {n}\tBrand {n}\t{n % 3}\t{'rock, pop' if n % 2 else 'folk'}\t19{n:02d}-05-0{n % 9 + 1}\tnote {n}"
    for n in range(10, 60)
]
INTER = [f"u{n % 10}\ti{n}\t1\t{n}" for n in range(10, 60)]


def test_what_the_user_says_decides(write_atomic: WriteAtomic) -> None:
    folder = write_atomic(inter=INTER, items=ITEMS, item_header=HEADER)
    guessed = read_atomic_files(folder).catalogue
    assert guessed.attribute_kinds == {"code": "number", "genre": "category", "released": "category"}
    kinds = parse_kinds(["brand_name=category", "code=category", "genre=tags", "released=ignore", "note=text"])
    said = read_atomic_files(folder, columns=ColumnNames(kinds=kinds)).catalogue
    assert said.attribute_kinds == {"brand_name": "category", "code": "category", "genre": "tags"}
    assert said.item("i11").attributes == {"brand_name": "Brand 11", "code": "2", "genre": ("rock", "pop")}
    assert "note 11" in said.item("i11").text
    assert "1911" not in said.item("i11").text


def test_dates_are_dates_however_few_repeat(write_atomic: WriteAtomic) -> None:
    catalogue = read_atomic_files(write_atomic(inter=INTER, items=ITEMS, item_header=HEADER)).catalogue
    assert catalogue.item("i12").attributes["released"] == "1912-05-04"


def test_dates_of_no_known_order_are_refused(write_atomic: WriteAtomic) -> None:
    items = [f"i{n}\tThing {n}\t{n % 3 + 1}/{n % 2 + 4}/2020" for n in range(10, 60)]
    folder = write_atomic(inter=INTER, items=items, item_header="item_id:token\ttitle:token_seq\tday:token")
    assert read_atomic_files(folder).catalogue.attribute_kinds == {"day": "category"}
    with pytest.raises(DataError, match=r"the column 'day' of dates, and none shows whether day or month stands first"):
        read_atomic_files(folder, columns=ColumnNames(kinds={"day": "date"}))


@pytest.mark.parametrize("option", ["brand", "brand=", "=tags", "brand=colour", "brand=tags=", ""])
def test_an_option_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=r"--attribute is .* NAME=KIND, such as brand_name=category; the kinds are"):
        parse_kinds([option])


def test_a_column_has_one_kind_and_is_there(write_atomic: WriteAtomic) -> None:
    with pytest.raises(ConfigError, match=r"--attribute gives 'a' two kinds, tags and text"):
        parse_kinds(["a=tags", "a=text"])
    folder = write_atomic(inter=INTER, items=ITEMS, item_header=HEADER)
    with pytest.raises(DataError, match=r"tiny.item:1 has no column 'brand'; it has item_id, .* Correct --attribute"):
        read_atomic_files(folder, columns=ColumnNames(kinds={"brand": "category"}))
