from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.trm_tool import ColumnNames, ConfigError, DataError, embedded_ml100k, read_atomic_files

WriteAtomic = Callable[..., Path]
HEADER = "item_id:token\ttitle:token_seq"
THREE = ["a\tOne", "b\tTwo", "c\tThree", "d\tFour"]


def inter(*rows: str) -> list[str]:
    """Rows of `user item time`, after a user who has enough."""
    return [f"ok\t{item}\t3\t{time}" for time, item in enumerate("abcd")] + [row.replace(" ", "\t") for row in rows]


def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(DataError) as raised:
        read_atomic_files(folder, **options)  # type: ignore[arg-type]
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_sequences_are_oldest_first_and_ties_keep_the_file_order(write_atomic: WriteAtomic) -> None:
    rows = ["u\td\t1\t30", "u\tb\t1\t20", "u\ta\t1\t20", "v\ta\t1\t1", "v\tb\t1\t2", "u\tc\t1\t10", "v\ta\t1\t3"]
    data = read_atomic_files(write_atomic(inter=rows, items=THREE, item_header=HEADER))
    assert data.users == ("u", "v")
    assert data.sequences == {"u": ("c", "b", "a", "d"), "v": ("a", "b", "a")}
    assert data.tied_targets == 0
    assert data.interactions == 7


def test_users_whose_last_two_time_stamps_tie_are_counted(write_atomic: WriteAtomic) -> None:
    rows = ["u\ta\t1\t1", "u\tb\t1\t2", "u\tc\t1\t2"]
    data = read_atomic_files(write_atomic(inter=rows, items=THREE, item_header=HEADER))
    assert data.tied_targets == 1
    assert data.target("u", 1) == "c"


def test_time_stamps_in_nanoseconds_are_not_rounded_together(write_atomic: WriteAtomic) -> None:
    rows = [f"u\t{item}\t1\t{1_700_000_000_000_000_000 + nano}" for item, nano in (("a", 3), ("b", 2), ("c", 1))]
    data = read_atomic_files(write_atomic(inter=rows, items=THREE, item_header=HEADER))
    assert data.sequences["u"] == ("c", "b", "a")


def test_windows_line_ends_a_byte_order_mark_and_blank_lines_do_no_harm(write_atomic: WriteAtomic) -> None:
    items = "\ufeffitem_id:token\ttitle:token_seq\r\n\r\n" + "\r\n".join(THREE)
    data = read_atomic_files(write_atomic(inter=inter(), items=items.encode()))
    assert [item.title for item in data.catalogue] == ["One", "Two", "Three", "Four"]


@pytest.mark.parametrize(
    ("inter_header", "item_header", "names"),
    [
        ("session_id:token\tproduct_id:token\trating:float\tdate:float", "product_id:token\tname:token_seq", None),
        ("who:token\twhat:token\tr:float\tage:float", "what:token\tlabel:token", ("who", "what", "age", "label")),
        ("who:token\twhat:token\tr:float\tage:float", "item_id:token\tlabel:token", ("who", "what", "age", "label")),
    ],
)
def test_columns_are_found_by_name_or_named(
    write_atomic: WriteAtomic, inter_header: str, item_header: str, names: tuple[str, str, str, str] | None
) -> None:
    folder = write_atomic(inter=inter(), items=THREE, inter_header=inter_header, item_header=item_header)
    columns = ColumnNames()
    if names:
        columns = ColumnNames(user=names[0], item=names[1], time=names[2], title=names[3])
    data = read_atomic_files(folder, columns=columns)
    assert data.sequences == {"ok": ("a", "b", "c", "d")}
    assert data.catalogue.item("a").title == "One"


def test_an_item_without_a_title_is_called_by_its_id(write_atomic: WriteAtomic) -> None:
    data = read_atomic_files(write_atomic(inter=inter(), items=["a\t", *THREE[1:]], item_header=HEADER))
    assert data.catalogue.item("a").title == "a"


def test_prose_is_read_by_the_encoder_and_is_no_attribute(write_atomic: WriteAtomic) -> None:
    header = "item_id:token\ttitle:token_seq\tdescription:token_seq\tnote:token"
    rows = [f"{row}\tA quiet film about the sea\tblue" for row in THREE]
    folder = write_atomic(inter=inter(), items=rows, item_header=header)
    found = read_atomic_files(folder).catalogue
    assert found.attribute_kinds == {"note": "category"}
    assert found.item("a").text == "One. blue. A quiet film about the sea"
    named = read_atomic_files(folder, columns=ColumnNames(text=("note",))).catalogue
    assert named.attribute_kinds == {}
    assert named.item("a").text == "One. A quiet film about the sea. blue"


def test_the_fingerprint_follows_the_order_of_interactions(write_atomic: WriteAtomic) -> None:
    def fingerprint(rows: list[str]) -> str:
        return read_atomic_files(write_atomic(inter=rows, items=THREE, item_header=HEADER)).fingerprint

    rows = ["u\ta\t1\t1", "u\tb\t1\t2", "u\tc\t1\t2"]
    assert fingerprint(rows) == fingerprint(rows)
    assert fingerprint(rows) != fingerprint([rows[0], rows[2], rows[1]])


# Each case: the rows of the two files, and what the one line must say.
BAD_INTERACTIONS = {
    "unknown item": (inter("ok z 1 9", "ok y 1 9"), "tiny.inter:6 names item 'z', which tiny.item lacks (1 more like"),
    "repeated row": (inter("ok a 3 0"), "tiny.inter:6 repeats line 2: user 'ok', item 'a'"),
    "short user": (inter("new a 1 9", "new b 1 9"), "tiny.inter:6 begins user 'new', who has 2 interactions where 3"),
    "a word as time stamp": (
        inter("ok a 1 soon"),
        "tiny.inter:6 has 'soon' as timestamp, which is not a finite number",
    ),
    "no time stamp": (inter("ok a 1 "), "tiny.inter:6 has '' as timestamp"),
    "nan as time stamp": (inter("ok a 1 nan"), "tiny.inter:6 has 'nan' as timestamp"),
    "endless time stamp": (inter("ok a 1 1e999"), "tiny.inter:6 has '1e999' as timestamp"),
    "huge time stamp": (inter("ok a 1 " + "9" * 5000), "tiny.inter:6 has '9999"),
    "field missing": (inter("ok a 1"), "tiny.inter:6 has 3 tab-separated fields where the header has 4"),
    "field too many": (inter("ok a 1 9 9"), "tiny.inter:6 has 5 tab-separated fields"),
    "no user": (inter(" a 1 9"), "tiny.inter:6 has no user id"),
    "no item": (inter("ok  1 9"), "tiny.inter:6 has no item id"),
    "header alone": ([], "has a header and no rows"),
    "empty file": (b"", "tiny.inter is empty"),
    "blank file": (b"\n \n", "tiny.inter is empty"),
    "latin-1": (
        b"user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nJos\xe9\ta\t1\n",
        "tiny.inter:3 is not UTF-8",
    ),
    "utf-16": ("user_id:token\titem_id:token".encode("utf-16"), "tiny.inter:1 is not UTF-8"),
    "no types": (
        b"user_id\titem_id\ttimestamp\n",
        "tiny.inter:1 has the header field 'user_id'; each must be NAME:TYPE",
    ),
    "commas": (b"user_id:token,item_id:token\n", "tiny.inter:1 has the header field 'user_id:token,item_id:token'"),
    "column twice": (b"user_id:token\tuser_id:token\n", "tiny.inter:1 has two columns called 'user_id'"),
    "no time column": (b"user_id:token\titem_id:token\n", "tiny.inter:1 has no time column that is known by name"),
    "no item column": (b"user_id:token\ttimestamp:float\n", "tiny.inter:1 has no item column that is known by name"),
}


@pytest.mark.parametrize("case", BAD_INTERACTIONS)
def test_bad_interactions_get_one_clear_line(write_atomic: WriteAtomic, case: str) -> None:
    rows, message = BAD_INTERACTIONS[case]
    assert message in refusal(write_atomic(inter=rows, items=THREE, item_header=HEADER))


BAD_ITEMS = {
    "repeated id": ([*THREE, "a\tAgain"], "tiny.item:6 repeats item 'a' of line 2"),
    "no id": ([*THREE, "\tNobody"], "tiny.item:6 has no item id"),
    "field missing": ([*THREE, "e"], "tiny.item:6 has 1 tab-separated fields where the header has 2"),
    "header alone": ([], "has a header and no rows"),
    "empty file": (b"", "tiny.item is empty"),
    "latin-1": (b"item_id:token\ttitle:token\na\tAm\xe9lie\n", "tiny.item:2 is not UTF-8 (bytes e9 6c 69 65)"),
    "no id column": (b"code:token\ttitle:token\na\tOne\n", "tiny.item:1 has no item column"),
    "a word as float": (
        b"item_id:token\tprice:float\na\tcheap\n",
        "tiny.item:2 has 'cheap' as price, which is declared",
    ),
    "endless float": (b"item_id:token\tprice:float\na\tinf\n", "tiny.item:2 has 'inf' as price"),
}


@pytest.mark.parametrize("case", BAD_ITEMS)
def test_bad_items_get_one_clear_line(write_atomic: WriteAtomic, case: str) -> None:
    rows, message = BAD_ITEMS[case]
    assert message in refusal(write_atomic(inter=inter(), items=rows, item_header=HEADER))


def test_without_a_file_of_items_the_titles_are_ids(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 3}\ti{n % 7}\t{n}\n" for n in range(21))
    (tmp_path / "a.inter").write_text(f"user_id:token\titem_id:token\ttimestamp:float\n{rows}")
    data = read_atomic_files(tmp_path)
    assert data.catalogue.ids == tuple(f"i{n}" for n in range(7))
    assert data.catalogue.item("i3").title == "i3"
    assert data.name == "a (its titles are ids)"
    assert "a.inter:1 has no column 'brand'" in refusal(tmp_path, columns=ColumnNames(kinds={"brand": "tags"}))


def test_a_folder_that_is_not_one_of_atomic_files_is_refused(tmp_path: Path, atomic_folder: Path) -> None:
    assert "nowhere does not exist" in refusal(tmp_path / "nowhere")
    assert "is a file" in refusal(atomic_folder / "tiny.inter")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")  # root may read any folder but this
    assert "loop cannot be read" in refusal(tmp_path / "loop")
    assert "has no .inter file" in refusal(tmp_path)
    (tmp_path / "a.inter").write_text("x")
    assert "a.inter:1 has the header field 'x'" in refusal(tmp_path)
    (tmp_path / "b.inter").write_text("x")
    assert "several .inter files (a.inter, b.inter)" in refusal(tmp_path)


def test_a_named_column_that_is_not_there_is_refused_with_those_that_are(atomic_folder: Path) -> None:
    message = refusal(atomic_folder, columns=ColumnNames(user="person"))
    assert "tiny.inter:1 has no column 'person'; it has user_id, item_id, rating, timestamp" in message
    assert "--user-column" in message
    assert "--title-column" in refusal(atomic_folder, columns=ColumnNames(title="label"))
    assert "--text-columns" in refusal(atomic_folder, columns=ColumnNames(text=("plot",)))


def test_bad_rows_are_dropped_on_demand_and_counted(write_atomic: WriteAtomic) -> None:
    rows = inter("ok a 3 0", "ok z 1 9", "ok y 1 9", "new a 1 9", "new z 1 9", "new b 1 9")
    folder = write_atomic(inter=rows, items=[*THREE, "a\tAgain"], item_header=HEADER)
    data = read_atomic_files(folder, drop_bad_rows=True)
    assert data.sequences == {"ok": ("a", "b", "c", "d")}
    assert data.dropped == {"duplicate_items": 1, "duplicate_rows": 1, "unknown_items": 3, "short_users": 1}
    assert data.catalogue.item("a").title == "One"


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (inter("ok a 1 soon", "ok a 1 1e999"), "bad_times"),
        (inter("ok a 1", "ok a 1 9 9"), "wrong_width"),
        (inter(" a 1 9", " b 1 9"), "rows_without_user"),
        (inter("ok  1 9", "ok  1 8"), "rows_without_item"),
        (
            "\n".join(["user_id:token\titem_id:token\tr:float\ttime:float", *inter()]).encode() + b"\n\xe9\n\xe9",
            "not_utf8",
        ),
    ],
)
def test_every_kind_of_bad_interaction_can_be_dropped(
    write_atomic: WriteAtomic, tmp_path: Path, rows: list[str] | bytes, kind: str
) -> None:
    folder, log = write_atomic(inter=rows, items=THREE, item_header=HEADER), tmp_path / "new" / "dropped.tsv"
    assert "or leave such rows out with --drop-bad-rows." in refusal(folder)
    data = read_atomic_files(folder, drop_bad_rows=True, dropped_rows=log)
    assert data.sequences == {"ok": ("a", "b", "c", "d")}
    assert data.dropped == {kind: 2}
    rows_left_out = [line.split("\t")[:3] for line in log.read_text(encoding="utf-8").splitlines()[1:]]
    assert rows_left_out == [["tiny.inter", "6", kind], ["tiny.inter", "7", kind]]


def test_bad_items_can_be_dropped_and_a_bad_value_leaves_its_item(write_atomic: WriteAtomic) -> None:
    items = [f"{row}\t{number}" for number, row in enumerate(THREE)]
    folder = write_atomic(
        inter=inter(),
        items=[*items, "\tNobody\t1", "e\tFive", "f\tSix\tmuch"],
        item_header=HEADER + "\tprice:float",
    )
    data = read_atomic_files(folder, drop_bad_rows=True)
    assert data.dropped == {"items_without_id": 1, "wrong_width": 1, "bad_values": 1}
    assert data.catalogue.ids == ("a", "b", "c", "d", "f")
    assert data.catalogue.item("f").attributes == {}
    without_items = folder / "tiny.item"
    without_items.unlink()
    assert read_atomic_files(folder, drop_bad_rows=True).catalogue.ids == ("a", "b", "c", "d")


def test_a_file_of_dropped_rows_is_there_only_for_rows_that_are_dropped(atomic_folder: Path, tmp_path: Path) -> None:
    read_atomic_files(atomic_folder, drop_bad_rows=True, dropped_rows=tmp_path / "none.tsv")
    assert not (tmp_path / "none.tsv").exists()
    with pytest.raises(ConfigError, match="cannot be written"):
        read_atomic_files(atomic_folder, drop_bad_rows=True, dropped_rows=tmp_path)


def test_dropping_does_not_hide_what_cannot_be_dropped(write_atomic: WriteAtomic) -> None:
    for rows, items, why in (([], THREE, "no rows"), (inter(), [], "no rows"), (inter(), ["\tX"], "no item left")):
        assert why in refusal(write_atomic(inter=rows, items=items, item_header=HEADER), drop_bad_rows=True)
    nothing_left = write_atomic(inter=["u\tx\t1\t1", "u\ty\t1\t2"], items=THREE, item_header=HEADER)
    assert "no user left" in refusal(nothing_left, drop_bad_rows=True)


def test_history_ends_just_before_the_target(write_atomic: WriteAtomic) -> None:
    data = read_atomic_files(write_atomic(inter=inter(), items=THREE, item_header=HEADER))
    assert data.history("ok") == ("a", "b", "c", "d")
    for holdout in (1, 2, 3):
        assert (*data.history("ok", holdout), data.target("ok", holdout)) == tuple("abcd"[: 5 - holdout])
    assert data.history("ok", 9) == ()


def test_a_user_or_holdout_that_does_not_exist_is_refused(write_atomic: WriteAtomic) -> None:
    data = read_atomic_files(write_atomic(inter=inter(), items=THREE, item_header=HEADER))
    with pytest.raises(DataError, match="No user 'nobody' in tiny: it has 1 users, such as ok"):
        data.history("nobody", 1)
    with pytest.raises(DataError, match="has 4 interactions"):
        data.target("ok", 5)
    with pytest.raises(ConfigError, match="holdout is 0"):
        data.target("ok", 0)
    with pytest.raises(ConfigError, match="holdout is -1"):
        data.history("ok", -1)


def test_the_embedded_data_reads_as_published() -> None:
    data = read_atomic_files(embedded_ml100k())
    assert (len(data.users), len(data.catalogue), data.interactions, data.tied_targets) == (943, 1682, 100_000, 415)
    assert data.catalogue.attribute_kinds == {"release_year": "number", "class": "tags"}
    assert data.catalogue.phrases_of("1") == ("1990s", "animation", "children's", "comedy")


def test_without_recbole_the_embedded_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(ConfigError, match=r"pip install 'deeprec-agent\[trm\]'"):
        embedded_ml100k()
