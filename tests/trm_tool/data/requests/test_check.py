"""The report on a file of requests, and unknown ids counted against a catalogue."""

import json
from collections import Counter
from pathlib import Path

import pytest

from deeprec.trm_tool import Catalogue, DataError, Item
from deeprec.trm_tool.data import (
    CatalogueMarks,
    Request,
    check_requests,
    marks_of,
    read_catalogue,
    read_requests,
    with_known_items,
    write_requests,
)
from tests.command_line import run_command
from tests.trm_tool.data.requests.test_request_file import films

KNOWN = Request(conversation="a", history=("1", "900"), message="light", targets=("2", "901"), chosen=("901",))
LOST = Request(conversation="b", targets=("902",), made=True, time=1_764_000_000)
OPEN = Request(conversation="b", turn=1, history=("1",))


def test_ids_that_the_catalogue_lacks_are_left_out_and_counted() -> None:
    counts = Counter[str]()
    kept = list(with_known_items([KNOWN, LOST, OPEN], films(), counts))
    assert kept == [Request(conversation="a", history=("1",), message="light", targets=("2",), chosen=()), OPEN]
    assert counts == {"history": 1, "targets": 2, "chosen": 1, "requests": 1}


def test_the_check_reports_what_a_file_holds_and_what_weakens_it(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    write_requests(path, [KNOWN, LOST, OPEN])
    with path.open("a") as file:
        file.write('{"conversation": "b", "turn": 1}\n{"conversation": "c", "turn": -1}\nnonsense\n')
    report = check_requests(path, catalogue=films())
    assert (report.requests, report.conversations, report.made, report.with_message) == (3, 2, 1, 1)
    assert report.targets == {"0": 1, "1": 1, "2": 1, "3 or more": 0}
    assert report.unknown_ids == {"history": 1, "targets": 2, "chosen": 1, "requests": 1}
    assert (report.first_time, report.sources) == (1_764_000_000, {"own": 3})
    assert {problem.kind: problem.count for problem in report.problems} == {
        "repeated turns of a conversation": 1,
        "requests with an unusable turn": 1,
        "lines that are not JSON": 1,
    }
    warnings = " ".join(report.warnings)
    for part in ("1 of 3 requests were made from attributes", "1 of 3 requests have no target", "names no catalogue"):
        assert part in warnings
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_counts_of_one_request_are_numbers(tmp_path: Path) -> None:
    write_requests(tmp_path / "one.jsonl", [KNOWN])
    counted = check_requests(tmp_path / "one.jsonl").to_dict()
    assert [repr(counted[name]) for name in ("requests", "with_message", "made", "cut_messages")] == [
        "1",
        "1",
        "0",
        "0",
    ]


def test_a_message_that_names_a_target_is_counted(tmp_path: Path) -> None:
    catalogue = Catalogue(
        [Item(id="1", title="Long Winter, The"), Item(id="2", title="It"), Item(id="3", title="A")], {}
    )
    messages = ["like the LONG  winter?", "is it long, winter", "a winter long ago"]
    requests = [Request(conversation=text, message=text, targets=("1", "2", "3", "9")) for text in messages]
    write_requests(tmp_path / "r.jsonl", requests, catalogue=catalogue)
    report = check_requests(tmp_path / "r.jsonl", catalogue=catalogue)
    assert report.named_targets == 2
    assert "2 of 3 requests name the title of a target in the message." in report.warnings


def test_what_is_neither_a_folder_nor_a_file_of_requests_is_refused_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n")
    code, _, err = run_command(capsys, "data", "check", tmp_path / "items.csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "items.csv has no suffix of a file of requests" in err


def test_the_command_checks_a_file_against_a_folder_of_data(
    tmp_path: Path, atomic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = read_catalogue(atomic_folder)
    path = tmp_path / "requests.parquet"
    write_requests(path, [Request(conversation="a", targets=catalogue.ids[:2])], catalogue=catalogue)
    code, out, err = run_command(capsys, "data", "check", path, "--catalogue", atomic_folder)
    assert (code, err) == (0, "")
    assert "1 requests in 1 conversations" in out
    code, out, _ = run_command(capsys, "data", "check", path, "--json")
    assert json.loads(out)["catalogue_items"] == 50
    write_requests(path, [Request(conversation="a")], catalogue=films())
    code, _, err = run_command(capsys, "data", "check", path, "--catalogue", atomic_folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "is of another catalogue" in err


def test_the_command_refuses_bad_rows_until_they_may_be_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"conversation": "a", "history": ["1"], "targets": ["1"]}\n{"conversation": "b"}\n')
    code, out, err = run_command(capsys, "data", "check", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "Problem: 1 requests with an unusable targets" in out
    assert "own.jsonl:1 has a problem: targets names item '1', which is in the history" in err
    assert run_command(capsys, "data", "check", path, "--drop-bad-rows")[0] == 0


def test_an_artifact_and_its_data_are_one_catalogue(tmp_path: Path, artifact_folder: Path, atomic_folder: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_requests(path, [LOST], catalogue=read_catalogue(artifact_folder))
    assert marks_of(path) == CatalogueMarks.of(read_catalogue(atomic_folder))
    assert check_requests(path, catalogue=read_catalogue(atomic_folder)).catalogue_items == 50


def test_a_published_folder_of_movielens_is_a_catalogue(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n7,"Lantern, The (1988)",Horror\n9,Untitled,\n')
    catalogue = read_catalogue(tmp_path)
    assert [(item.id, item.title, item.attributes) for item in catalogue] == [
        ("7", "Lantern, The", {"release_year": 1988.0}),
        ("9", "Untitled", {}),
    ]
    with pytest.raises(DataError, match="does not exist"):
        read_catalogue(tmp_path / "nowhere")
    assert list(read_requests(_written(tmp_path / "r.jsonl", catalogue.ids), catalogue=catalogue))


def _written(path: Path, targets: tuple[str, ...]) -> Path:
    write_requests(path, [Request(conversation="a", targets=targets)])
    return path
