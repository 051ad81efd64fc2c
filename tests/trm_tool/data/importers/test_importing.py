"""Filtering, the folder that is written, and what RecBole makes of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from deeprec.trm_tool import ConfigError, DataError, read_atomic_files
from deeprec.trm_tool.data import FilterConfig, import_data
from tests.trm_tool.data.samples import inter_lines, write_1m, write_2018, write_csv, write_latest

HEADER = ("user_id", "item_id", "rating", "timestamp")


def log(folder: Path, rows: Sequence[tuple[object, ...]]) -> Path:
    return write_csv(folder / "log.csv", [HEADER, *rows])


def kept(folder: Path) -> dict[str, str]:
    """Person -> items in the order of the file."""
    found: dict[str, str] = {}
    for user, item, *_ in inter_lines(folder)[1:]:
        found[user] = found.get(user, "") + item
    return found


def test_people_stay_in_file_order_and_ties_in_time_too(tmp_path: Path) -> None:
    rows = [("v", "b", 1, 5), ("u", "a", 1, 9), ("v", "a", 1, 5), ("u", "b", 1, 2), ("v", "c", 1, 1), ("u", "c", 1, 2)]
    import_data(log(tmp_path, rows), tmp_path / "out")
    assert list(kept(tmp_path / "out").items()) == [("v", "cba"), ("u", "bca")]


def test_the_first_in_time_of_a_repeat_stays(tmp_path: Path) -> None:
    rows = [("u", "a", 1, 9), ("u", "b", 1, 2), ("u", "c", 1, 3), ("u", "a", 5, 1), ("u", "b", 5, 2)]
    report = import_data(log(tmp_path, rows), tmp_path / "out")
    assert [line[1:] for line in inter_lines(tmp_path / "out")[1:]] == [
        ["a", "5", "1"],
        ["b", "1", "2"],
        ["c", "1", "3"],
    ]
    assert [(stage.name[:15], stage.interactions) for stage in report.stages] == [
        ("read", 5),
        ("without repeats", 3),
        ("of people with ", 3),
    ]


def test_the_core_is_taken_until_it_holds_of_all(tmp_path: Path) -> None:
    # u3 alone has d; without it u3 has two items; without u3, c has one person, and u2 two items.
    rows = [("u1", "a"), ("u1", "b"), ("u2", "a"), ("u2", "b"), ("u2", "c"), ("u3", "c"), ("u3", "d")]
    rows += [("u4", "a"), ("u4", "b"), ("u4", "e"), ("u1", "e"), ("u2", "e")]
    full = [(user, item, 1, time) for time, (user, item) in enumerate(rows)]
    report = import_data(log(tmp_path, full), tmp_path / "out", filters=FilterConfig(k_core=2))
    assert kept(tmp_path / "out") == {"u1": "abe", "u2": "abe", "u4": "abe"}
    assert report.items == 3
    core = next(stage for stage in report.stages if "core" in stage.name)
    assert (core.interactions, core.users, core.items) == (9, 3, 3)


def test_the_core_equals_a_plain_count_on_random_data(tmp_path: Path) -> None:
    random = Random(3)
    pairs = list(dict.fromkeys((f"u{random.randint(1, 40)}", f"i{random.randint(1, 30)}") for _ in range(400)))
    wanted = set(pairs)
    while True:
        users, items = [u for u, _ in wanted], [i for _, i in wanted]
        smaller = {(u, i) for u, i in wanted if users.count(u) >= 7 and items.count(i) >= 7}
        if smaller == wanted:
            break
        wanted = smaller
    assert 0 < len(wanted) < len(pairs)
    rows = [(user, item, 1, time) for time, (user, item) in enumerate(pairs)]
    import_data(log(tmp_path, rows), tmp_path / "out", filters=FilterConfig(k_core=7))
    assert {(line[0], line[1]) for line in inter_lines(tmp_path / "out")[1:]} == wanted


def test_ratings_are_filtered_before_repeats_and_the_core(tmp_path: Path) -> None:
    rows = [("u", item, rating, time) for time, (item, rating) in enumerate([("a", 1), ("a", 5), ("b", 5), ("c", 4)])]
    import_data(log(tmp_path, rows), tmp_path / "out", filters=FilterConfig(min_rating=4))
    assert kept(tmp_path / "out") == {"u": "abc"}
    assert inter_lines(tmp_path / "out")[1][2:] == ["5", "1"]


def test_a_history_of_n_items_is_the_last_n_and_the_target_after_them(tmp_path: Path) -> None:
    rows = [("u", item, 1, time) for time, item in enumerate("abcdefg")] + [("v", item, 1, 1) for item in "abc"]
    report = import_data(log(tmp_path, rows), tmp_path / "out", filters=FilterConfig(max_history=3))
    assert kept(tmp_path / "out") == {"u": "defg", "v": "abc"}
    data = read_atomic_files(tmp_path / "out")
    assert (data.history("u", 1), data.target("u", 1)) == (("d", "e", "f"), "g")
    assert report.items == 7  # the catalogue is not cut with the histories
    assert "3 of history and a target" in report.stages[-1].name


def test_ratings_are_written_exactly(tmp_path: Path) -> None:
    rows = [("u", item, rating, 1) for item, rating in zip("abc", (1234567.25, 0.1, 3), strict=True)]
    import_data(log(tmp_path, rows), tmp_path / "out")
    assert [line[2] for line in inter_lines(tmp_path / "out")[1:]] == ["1234567.25", "0.1", "3"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ('"7" nails', "begins with a quote, which RecBole expects to be closed"),
        ("NA", "RecBole takes for a missing value"),
        ("None", "RecBole takes for a missing value"),
        ("a\tb", "holds control characters"),
    ],
)
@pytest.mark.parametrize("role", ["user", "item"])
def test_ids_that_recbole_cannot_read_are_bad_rows(tmp_path: Path, wrong: str, why: str, role: str) -> None:
    bad = (wrong, "a", 1, 1) if role == "user" else ("u", wrong, 1, 1)
    path = log(tmp_path, [*ROWS, bad])
    with pytest.raises(DataError) as raised:
        import_data(path, tmp_path / "out")
    assert f"log.csv:5 has the {role} id {wrong!r}, which {why}." in str(raised.value)
    report = import_data(path, tmp_path / "out", drop_bad_rows=True)
    assert report.dropped == {f"rows without a usable {role} id": 1}
    assert kept(tmp_path / "out") == {"u": "abc"}


def test_pandas_reads_what_was_written_as_it_is(tmp_path: Path) -> None:
    """RecBole reads its files so."""
    pandas = pytest.importorskip("pandas", reason="comes with the extra [trm]")
    ids = ['n"7"', "#1", "\\", "'x'", "a b", "007", "na", "-", "“x”"]
    write_csv(tmp_path / "items.csv", [("item_id", '"size"'), *((item, '"L"') for item in ids)])
    import_data(log(tmp_path, [("u", item, 1, 1) for item in ids]), tmp_path / "out", items=tmp_path / "items.csv")
    for file in ("out.inter", "out.item"):
        read = pandas.read_csv(tmp_path / "out" / file, delimiter="\t", dtype=str, encoding="utf-8", engine="python")
        assert list(read["item_id:token"]) == ids
    assert list(read.columns) == ["item_id:token", "“size”:token"]


def test_people_with_fewer_than_three_are_left_out(tmp_path: Path) -> None:
    rows = [("u", item, 1, 1) for item in "abc"] + [("v", "a", 1, 1), ("v", "b", 1, 2)]
    report = import_data(log(tmp_path, rows), tmp_path / "out")
    assert [(stage.users, stage.interactions) for stage in report.stages] == [(2, 5), (2, 5), (1, 3)]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"k_core": 0}, "--k-core is 0"),
        ({"max_history": 1}, "--max-history is 1, which leaves nothing to train on"),
        ({"min_rating": float("nan")}, "--min-rating is nan"),
    ],
)
def test_a_filter_that_cannot_work_is_refused(setting: dict[str, float], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        FilterConfig(**setting)  # type: ignore[arg-type]


def test_filters_that_leave_nothing_say_where_it_went(tmp_path: Path) -> None:
    path = log(tmp_path, [("u", item, 3, 1) for item in "abc"])
    with pytest.raises(DataError, match=r"no interaction left: 3 read; 3 without repeats .*; 0 in the 5-core; 0 of"):
        import_data(path, tmp_path / "out", filters=FilterConfig(k_core=5))
    with pytest.raises(DataError, match=r"0 rated 4 or higher"):
        import_data(path, tmp_path / "out", filters=FilterConfig(min_rating=4))
    assert not (tmp_path / "out").exists()


ROWS: list[tuple[object, ...]] = [("u", item, 1, 1) for item in "abc"]


def test_what_an_import_wrote_is_replaced(tmp_path: Path) -> None:
    import_data(log(tmp_path, ROWS), tmp_path / "out")
    import_data(log(tmp_path, [*ROWS, ("u", "d", 1, 1)]), tmp_path / "out")
    assert kept(tmp_path / "out") == {"u": "abcd"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "deeprec-data.json",
        "out.inter",
        "out.item",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "out"]


def test_a_folder_that_cannot_be_put_back_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    import_data(log(tmp_path, ROWS), out)
    rename = Path.rename

    def rename_away_only(self: Path, to: Path) -> Path:
        if Path(to) == out:
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", rename_away_only)
    with pytest.raises(ConfigError, match=r"No space left on device.* is kept as ") as raised:
        import_data(log(tmp_path, [*ROWS, ("u", "d", 1, 1)]), out)
    where = Path(str(raised.value).partition("is kept as ")[2].removesuffix(". Move it back."))
    assert kept(where) == {"u": "abc"}


def test_the_folder_that_one_is_in_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(ConfigError, match="is the current working folder"):
        import_data(tmp_path / "nowhere.csv", tmp_path / "out")


@pytest.mark.parametrize("foreign", ["notes.txt", "deeprec-data.json", "out.user"])
def test_somebody_elses_files_are_never_overwritten(tmp_path: Path, foreign: str) -> None:
    path = log(tmp_path, ROWS)
    out = tmp_path / "out"
    if foreign == "out.user":
        import_data(path, out)
    out.mkdir(exist_ok=True)
    (out / foreign).write_text("{}")
    before = {entry.name: entry.read_bytes() for entry in out.iterdir()}
    with pytest.raises(ConfigError) as raised:
        import_data(path, out)
    assert foreign in str(raised.value)
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == before


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    folder = write_1m(tmp_path / "ml-1m")
    with pytest.raises(ConfigError, match=r"holds what `deeprec data` did not write"):
        import_data(folder, folder)
    with pytest.raises(ConfigError, match=r"is a file; data is written as a folder"):
        import_data(folder, folder / "ratings.dat")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        import_data(log(tmp_path, ROWS), tmp_path / "log.csv" / "out")


def test_the_folder_says_where_the_data_came_from(tmp_path: Path) -> None:
    import_data(write_2018(tmp_path / "amazon"), tmp_path / "out", filters=FilterConfig(k_core=2))
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Scarves_5.json.gz and meta_Scarves.json.gz (format amazon-2018)" in text
    assert "in the 2-core" in text
    assert "UCSD" in text
    mark = json.loads((tmp_path / "out" / "deeprec-data.json").read_text())
    assert mark["filters"] == {"k_core": 2, "max_history": None, "min_rating": None}
    assert mark["files"] == ["README.md", "out.inter", "out.item"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "nowhere", "nowhere does not exist"),
        (lambda folder: folder, "is not a data set that is known by its files (nothing)"),
        (lambda folder: write_csv(folder / "sales.csv", [("a", "b")]).parent, "known by its files (sales.csv)"),
        (lambda folder: _atomic(folder), "holds RecBole's atomic files, which need no import"),
        (lambda folder: _loop(folder), "loop"),
    ],
)
def test_what_is_not_a_data_set_is_refused(tmp_path: Path, make: object, why: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError) as raised:
        import_data(make(tmp_path / "in"), tmp_path / "out")  # type: ignore[operator]
    assert why in str(raised.value)


def _atomic(folder: Path) -> Path:
    (folder / "x.inter").write_text("x")
    return folder


def _loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def test_a_format_may_be_named_and_is_held_to(tmp_path: Path) -> None:
    folder = write_latest(tmp_path / "ml")
    assert import_data(folder, tmp_path / "out", data_format="ml-latest").format == "ml-latest"
    with pytest.raises(DataError, match=r"lacks ratings.dat, movies.dat. Name the unpacked folder of ml-1m"):
        import_data(folder, tmp_path / "out", data_format="ml-1m")
    with pytest.raises(DataError, match=r"has no file of reviews of amazon-2018"):
        import_data(folder, tmp_path / "out", data_format="amazon-2018")
    with pytest.raises(ConfigError, match=r"There is no format 'netflix'. Choose one of csv"):
        import_data(folder, tmp_path / "out", data_format="netflix")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"--items does not go with ml-latest"):
        import_data(folder, tmp_path / "out", items=folder / "links.csv")
    with pytest.raises(DataError, match=r"nowhere.csv is not a file"):
        import_data(folder, tmp_path / "out", items=folder / "nowhere.csv")
    report = import_data(folder / "ratings.csv", tmp_path / "out", items=folder / "movies.csv", data_format="csv")
    assert (report.format, report.items) == ("csv", 5)


def test_progress_is_reported(tmp_path: Path) -> None:
    rows = [(f"u{n % 900}", f"i{n % 7}", 1, n) for n in range(9000)]
    path = log(tmp_path, rows)
    reported: list[tuple[str, int]] = []
    import_data(path, tmp_path / "out", on_progress=lambda file, done: reported.append((file.name, done)))
    assert [name for name, _ in reported] == ["log.csv", "log.csv"]
    assert 0 < reported[0][1] <= reported[1][1] <= path.stat().st_size
