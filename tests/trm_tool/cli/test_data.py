"""`deeprec data` as a user meets it."""

import json
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import run_command
from tests.trm_tool.data.samples import META_2018, write_1m, write_2018, write_json

WriteAtomic = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Exit code, stdout and stderr of a command, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    return partial(run_command, capsys)


def test_import_reports_what_was_read_kept_and_left_out(run: Run) -> None:
    write_2018(Path("amazon"), meta=[*META_2018, {"title": "x"}])
    code, _, err = run("data", "import", "amazon", "--out", "shop")
    assert (code, err.count("\n")) == (2, 1)
    assert "meta_Scarves.json.gz:7 has no item id" in err
    assert not Path("shop").exists()
    code, out, _ = run(
        "data", "import", "amazon", "--out", "shop", "--drop-bad-rows", "--k-core", 2, "--max-history", 3
    )
    assert code == 0
    for line in (
        "Read Scarves_5.json.gz and meta_Scarves.json.gz as amazon-2018.",
        "in the 2-core",
        "among the last 4 of each person (3 of history and a target)",
        "Left out: 1 rows without a usable item id.",
        "Left out: 1 rows of items whose id was there before (the first stays).",
        "Column price (float): 3 of 5 items have it; 1 unreadable.",
        "1 of 5 items have no title",
        "Wrote shop. Look at it: deeprec data check shop",
    ):
        assert line in out


def test_import_answers_in_json(run: Run) -> None:
    write_1m(Path("ml-1m"))
    code, out, err = run(
        "data", "import", "ml-1m", "--out", "movies", "--format", "ml-1m", "--min-rating", "1", "--json"
    )
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert (report["format"], report["out"], report["items"]) == ("ml-1m", "movies", 5)
    assert [stage["interactions"] for stage in report["stages"]] == [10] * 5


def test_own_tables_are_read_with_the_options_given(run: Run) -> None:
    Path("log.txt").write_bytes(b"wer;was;wann;wie\n" + b"".join(f"1;{i};{i};3\n".encode() for i in range(5)))
    Path("ware.csv").write_bytes(
        "was;wie es hei\xdft\n".encode("latin-1") + b"".join(b"%d;T\xfcr\n" % i for i in range(5))
    )
    options = ["--user-column", "wer", "--item-column", "was", "--time-column", "wann", "--rating-column", "wie"]
    options += ["--items", "ware.csv", "--title-column", "wie es heißt", "--encoding", "latin-1", "--delimiter", ";"]
    code, _, err = run("data", "import", "log.txt", "--out", "shop", *options)
    assert (code, err) == (0, "")
    assert "0\tTür\n" in Path("shop/shop.item").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere", "--out", "shop"], "nowhere does not exist"),
        (["ml-1m", "--out", "ml-1m"], "holds what `deeprec data` did not write"),
        (["ml-1m", "--out", "shop", "--k-core", "0"], "--k-core is 0"),
        (["ml-1m", "--out", "shop", "--k-core", "50"], "no interaction left"),
        (["ml-1m", "--out", "shop", "--min-rating", "nan"], "--min-rating is nan"),
        (["ml-1m", "--out", "shop", "--max-history", "0"], "--max-history is 0"),
        (["ml-1m", "--out", "ml-1m/movies.dat/shop"], "cannot be written"),
        (["ml-1m/notes.md", "--out", "shop"], "not a data set that is known"),
    ],
)
def test_a_mistake_is_one_line(run: Run, arguments: list[str], why: str) -> None:
    write_1m(Path("ml-1m"))
    Path("ml-1m/notes.md").write_text("Nothing")
    code, _, err = run("data", "import", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert why in err


def test_a_format_that_there_is_not_is_refused(run: Run) -> None:
    code, _, err = run("data", "import", ".", "--out", "shop", "--format", "netflix")
    assert code == 2
    assert "--format" in err


def test_check_reports_and_ends_with_0_when_it_can_be_trained_on(run: Run, write_atomic: WriteAtomic) -> None:
    folder = write_atomic()
    code, out, err = run("data", "check", folder)
    assert (code, err) == (0, "")
    for part in ("people", "12", "50", "density", "release_year", "tags", "Warning: 12 people are too few"):
        assert part in out
    assert "deeprec trm train --data" in out
    report = json.loads(run("data", "check", folder, "--json")[1])
    assert report["trainable"] is True
    assert report["statistics"]["interactions"] == 103


def test_check_ends_with_2_and_one_line_when_it_cannot(run: Run, write_atomic: WriteAtomic) -> None:
    rows = [f"u\t{900 - 7 * row}\t1\t{row}" for row in range(4)] + ["u\tgone\t1\t5", "u\tlost\t1\t6"]
    folder = write_atomic(inter=rows)
    code, out, err = run("data", "check", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "Problem: 2 interactions with unknown items (--drop-bad-rows leaves them out). First: tiny.inter:6" in out
    assert "All such rows can be left out with --drop-bad-rows." in err
    log = folder.parent / "dropped.tsv"
    assert run("data", "check", folder, "--drop-bad-rows", "--dropped-rows", log)[0] == 0
    assert "tiny.inter\t6\tunknown_items\tnames item 'gone'" in log.read_text(encoding="utf-8")
    code, _, err = run("data", "check", folder, "--dropped-rows", log)
    assert (code, "without --drop-bad-rows" in err) == (2, True)
    code, _, err = run("data", "check", log, "--drop-bad-rows", "--dropped-rows", log)
    assert (code, "goes with a folder" in err) == (2, True)
    code, out, _ = run("data", "check", folder, "--json")
    assert code == 2
    assert json.loads(out)["trainable"] is False


def test_no_control_characters_of_a_file_reach_the_terminal(run: Run, write_atomic: WriteAtomic) -> None:
    folder = write_atomic(
        inter=["u\x1b[31m\tgone\x07[bold]\t1\t1"], item_header="item_id:token\tt\x1b[31m:token", items=["a\tb"]
    )
    code, out, err = run("data", "check", folder)
    assert code == 2
    assert "\x1b" not in out + err
    assert "\x07" not in out + err
    Path("log\x1b[31m.csv").write_text("user_id,item_id,timestamp\n1,[red]\x1b[31m,1\n")
    code, out, err = run("data", "import", "log\x1b[31m.csv", "--out", "x")
    assert code == 2
    assert "\x1b" not in out + err


def test_the_shop_says_that_it_is_synthetic(run: Run) -> None:
    arguments = ("data", "generate-shop", "--out", "shop", "--products", 100, "--people", 10, "--seed", 4)
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "Wrote shop: a SYNTHETIC shop (seed 4) with 100 made-up products" in out
    report: dict[str, Any] = json.loads(run(*arguments, "--json")[1])
    assert (report["synthetic"], report["products"], report["people"]) == (True, 100, 10)
    assert "SYNTHETIC data" in run("data", "check", "shop")[1]
    assert run("data", "generate-shop", "--out", "shop", "--products", 1)[0] == 2


@pytest.mark.slow
def test_what_was_imported_or_generated_can_be_trained_on(run: Run) -> None:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    run("data", "generate-shop", "--out", "shop", "--products", 100, "--people", 20)
    start = ("trm", "train", "--encoder", "hashing-16", "--epochs", 1, "--json")
    code, out, _ = run(*start, "--data", "shop", "--out", "artifact")
    assert code == 0
    assert json.loads(out)["artifact"] == "artifact"
    reviews = [
        {"reviewerID": f"A{user}", "asin": f"B{(user + n) % 25}", "overall": 5.0, "unixReviewTime": n}
        for user in range(12)
        for n in range(6)
    ]
    meta = [{"asin": f"B{n}", "title": f"Thing {n}", "brand": "Loom", "price": f"${n}.99"} for n in range(25)]
    write_json(Path("amazon/T_5.json.gz"), reviews)
    write_json(Path("amazon/meta_T.json.gz"), meta)
    assert run("data", "import", "amazon", "--out", "imported")[0] == 0
    assert run(*start, "--data", "imported", "--out", "artifact2")[0] == 0


def test_a_format_of_ones_own_is_imported_by_its_function(run: Run) -> None:
    Path("log.txt").write_text("".join(f"u{n // 4} i{n % 4} {n}\n" for n in range(8)))
    Path("format_of_a_test.py").write_text(
        "from deeprec.trm_tool.data import Source, make_event, read_lines\n"
        "def spaces(path):\n"
        "    def read(reading):\n"
        "        for line, text in read_lines(path, reading):\n"
        "            user, item, time = text.split()\n"
        "            yield make_event(path.name, line, (user, item, 1, time), reading.bad)\n"
        "    return Source(format='spaces', path=path, read=read)\n"
        "def nothing(path):\n"
        "    pass\n"
    )
    code, out, _ = run("data", "import", "log.txt", "--out", "shop", "--importer", "format_of_a_test.py:spaces")
    assert code == 0
    assert "Read log.txt as spaces." in out
    code, _, err = run("data", "import", "log.txt", "--out", "shop", "--importer", "format_of_a_test.py:nothing")
    assert (code, err.count("\n")) == (2, 1)
    assert "The importer nothing returned a NoneType" in err
    code, _, err = run("data", "import", "log.txt", "--out", "shop", "--importer", "format_of_a_test:space")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no function 'space'" in err


def test_made_requests_are_labelled_as_made_and_checked(run: Run) -> None:
    run("data", "generate-shop", "--out", "synthetic-shop", "--products", 120, "--people", 12)
    args = ("data", "make-requests", "synthetic-shop", "--out", "made.parquet", "--words", "test", "--split", "test")
    code, out, err = run(*args, "--second-wishes", 0)
    assert (code, err) == (0, "")
    assert "MADE requests in test words" in out
    code, out, _ = run("data", "check", "made.parquet", "--catalogue", "synthetic-shop", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["made"] == report["requests"] == report["targets"]["1"] > 5
    assert report["unknown_ids"] == {"requests": 0}
    code, _, err = run(*args, "--split", "all")
    assert code == 2
    assert "split" in err
    Path("kept.jsonl").write_text("mine", encoding="utf-8")
    code, _, err = run("data", "make-requests", "synthetic-shop", "--out", "kept.jsonl")
    assert (code, Path("kept.jsonl").read_text(encoding="utf-8")) == (2, "mine")
    assert "not a file of requests" in err


def test_what_is_replaced_is_named_and_what_people_asked_is_not_replaced(run: Run) -> None:
    shop = ("data", "generate-shop", "--out", "shop", "--products", 120, "--people", 12)
    assert run(*shop)[2] == ""
    assert run(*shop)[2] == "Note: shop held data already; they were replaced.\n"
    make = ("data", "make-requests", "shop", "--out", "made.jsonl")
    assert run(*make)[2] == ""
    assert run(*make)[2] == "Note: made.jsonl held made requests already; they were replaced.\n"
    people = '{"conversation": "c1", "message": "a lamp", "history": [], "targets": ["P00001"]}\n'
    Path("people.jsonl").write_text(people, encoding="utf-8")
    code, _, err = run("data", "make-requests", "shop", "--out", "people.jsonl")
    assert (code, Path("people.jsonl").read_text(encoding="utf-8")) == (2, people)
    assert "people.jsonl holds requests that people wrote" in err


def test_the_kinds_that_check_shows_can_be_pasted_back(run: Run) -> None:
    things = "".join(f"{n},Thing {n},Loom {n % 3},{n % 4}\n" for n in range(40))
    Path("things.csv").write_text(f"item_id,title,the maker,level\n{things}")
    log = "".join(f"u{n % 8},{n},{n}\n" for n in range(40))
    Path("log.csv").write_text(f"user_id,item_id,timestamp\n{log}")
    assert run("data", "import", "log.csv", "--items", "things.csv", "--out", "shop")[0] == 0
    _, out, _ = run("data", "check", "shop")
    assert "Loom 0, Loom 1, Loom 2" in out
    [line] = [line for line in out.splitlines() if "To say kinds yourself" in line]
    options = shlex.split(line[line.index("--attribute") :])
    assert options == ["--attribute", "the maker=category", "--attribute", "level=number"]
    options[-1] = "level=category"
    assert run("data", "import", "log.csv", "--items", "things.csv", "--out", "shop", *options)[0] == 0
    _, out, _ = run("data", "check", "shop", "--json", "--attribute", "the maker=text")
    columns = json.loads(out)["statistics"]["columns"]
    assert {column["name"]: column["kind"] for column in columns} == {"the maker": "text", "level": "category"}


def test_pictures_of_the_data_are_drawn_on_request(run: Run) -> None:
    run("data", "generate-shop", "--out", "synthetic-shop", "--products", 120, "--people", 12)
    _, out, _ = run("data", "check", "synthetic-shop")
    assert "2024-01-" in out
    assert "Over time" not in out
    _, out, _ = run("data", "check", "synthetic-shop", "--plots")
    [over_items] = [line for line in out.splitlines() if line.startswith("Over the items: ")]
    assert over_items.startswith("Over the items: █")
    assert "Over time: " in out


def test_a_missing_file_of_requests_is_named_as_one(run: Run) -> None:
    code, _, err = run("data", "check", "made.jsonl", "--catalogue", "shop")
    assert (code, err.count("\n")) == (2, 1)
    assert "made.jsonl does not exist" in err
    assert "data import-requests" in err
