"""An importer of one's own: the example of the docs, and mistakes in one, each in a line."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from deeprec.trm_tool import ConfigError, DataError, read_atomic_files
from deeprec.trm_tool.data import (
    Event,
    FilterConfig,
    ItemFile,
    ItemRow,
    Reading,
    Source,
    TableOptions,
    import_data,
    load_importer,
)
from tests.trm_tool.data.samples import inter_lines

IMPORTS = """
from collections.abc import Iterator
from pathlib import Path
from deeprec.trm_tool.data import Event, Reading, Source, make_event, read_lines
"""
ROWS: list[Event] = [(n, f"u{n // 4}", f"i{n % 4}", float("nan"), n) for n in range(12)]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in a format that nobody knows, and the example of `Source` as a module beside it."""
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = [f"anna|{item}|2026-11-{day:02}" for day, item in enumerate("abcd", start=1)]
    (folder / "orders.txt").write_text("\n".join([*rows, *(row.replace("anna", "bo") for row in rows), ""]))
    example = inspect.cleandoc(str(Source.__doc__)).partition("::\n")[2]
    (tmp_path / "shop_of_a_test.py").write_text(IMPORTS + inspect.cleandoc(example) + "\nnot_a_source = str\n")
    monkeypatch.chdir(tmp_path)
    return folder


def source(path: Path, rows: list[Event], items: list[ItemRow] | None = None, columns: tuple[str, ...] = ()) -> Source:
    described = ItemFile(
        path=path / "described", columns=tuple((name, None) for name in columns), read=lambda _: iter(items or ())
    )
    return Source(
        format="test", path=path / "logged", read=lambda _: iter(rows), items=None if items is None else described
    )


def test_the_example_of_the_docs_is_read(shop: Path, tmp_path: Path) -> None:
    report = import_data(shop, tmp_path / "out", importer=load_importer("shop_of_a_test:orders"))
    assert (report.format, report.interactions_file, report.stages[0].interactions) == ("orders", "orders.txt", 8)
    assert [line[:2] for line in inter_lines(tmp_path / "out")[1:3]] == [["anna", "a"], ["anna", "b"]]
    assert len(read_atomic_files(tmp_path / "out").users) == 2


def test_bad_rows_of_ones_own_format_are_named_by_line_or_left_out(shop: Path, tmp_path: Path) -> None:
    with (shop / "orders.txt").open("a") as file:
        file.write("bo|e|yesterday\n")
    importer = load_importer("shop_of_a_test:orders")
    with pytest.raises(DataError, match=r"^orders\.txt:9 has 'yesterday' as time stamp"):
        import_data(shop, tmp_path / "out", importer=importer)
    report = import_data(shop, tmp_path / "out", importer=importer, drop_bad_rows=True)
    assert report.dropped == {"rows without a usable time stamp": 1}


def test_items_of_ones_own_format_keep_their_attributes(tmp_path: Path) -> None:
    items: list[ItemRow] = [(n + 1, f"i{n}", (f"Lamp {n}", 5.0 + n, ["red", "blue"][: n % 2 + 1])) for n in range(4)]
    import_data(
        tmp_path,
        tmp_path / "out",
        importer=lambda path: source(path, ROWS, items, ("title", "price", "colours")),
        filters=FilterConfig(k_core=2),
    )
    item = read_atomic_files(tmp_path / "out").catalogue.item("i1")
    assert (item.title, item.attributes) == ("Lamp 1", {"price": 6.0, "colours": ("red", "blue")})


def failing(_: Reading) -> Iterator[Event]:
    yield ROWS[0]
    raise IndexError("list index out of range")


@pytest.mark.parametrize(
    ("found", "error", "says"),
    [
        (
            lambda _: None,
            ConfigError,
            "The importer own returned a NoneType for .*Return a deeprec.trm_tool.data.Source",
        ),
        (lambda _: 1 / 0, DataError, "The importer own failed on .*ZeroDivisionError: division by zero. Correct it"),
        (
            lambda path: Source(format="x", path=path / "log", read=failing),
            DataError,
            "The importer own failed on log after line 0: IndexError: list index out of range. Correct it",
        ),
        (lambda path: source(path, [("u", "i")]), DataError, r"gave the row \('u', 'i'\). Give tuples of \(line, user"),
        (lambda path: source(path, [(7, "u\t", "i\tj", 1.0, 3)]), DataError, "logged:7 has the item id .*control char"),
        (
            lambda path: source(path, ROWS, [(1, "i0", ("a",))], ("x", "y")),
            DataError,
            "one value for each of its 2 col",
        ),
        (lambda path: source(path, ROWS, [(1, "i0", "ab")], ("x", "y")), DataError, "gave 'ab' at line 1 of described"),
        (lambda path: source(path, ROWS, [], ("x", "x")), DataError, "would give two columns called 'x'"),
    ],
)
def test_a_mistake_in_an_importer_is_one_line(tmp_path: Path, found: object, error: type[Exception], says: str) -> None:
    def own(path: Path) -> Source:
        return found(path)  # type: ignore[operator, no-any-return]

    with pytest.raises(error, match=says) as caught:
        import_data(tmp_path, tmp_path / "out", importer=own)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("orders", "'orders' names no importer"),
        ("no_such_shop:orders", "There is no module 'no_such_shop'"),
        ("shop_of_a_test:order", "has no function 'order'. It has .* Name one that takes a path and returns a Source."),
        ("shop_of_a_test.py:IMPORTS", "has no function 'IMPORTS'"),
    ],
)
def test_an_importer_that_is_not_there_is_refused(shop: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_importer(name)


def test_options_of_tables_do_not_go_with_an_importer(shop: Path, tmp_path: Path) -> None:
    importer = load_importer("shop_of_a_test:orders")
    with pytest.raises(ConfigError, match="--importer was given together with"):
        import_data(shop, tmp_path / "out", importer=importer, data_format="csv")
    with pytest.raises(ConfigError, match="--importer was given together with"):
        import_data(shop, tmp_path / "out", importer=importer, items=shop / "orders.txt")
    with pytest.raises(ConfigError, match="--importer was given together with"):
        import_data(shop, tmp_path / "out", importer=importer, options=TableOptions(delimiter=";"))
