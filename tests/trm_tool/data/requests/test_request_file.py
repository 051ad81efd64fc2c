"""The file of requests, as JSON lines and as Parquet: without loss, in bounds, and of one catalogue."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from deeprec.trm_tool import Catalogue, ConfigError, DataError, Item
from deeprec.trm_tool.data import BadRows, CatalogueMarks, Reading, Request, marks_of, read_requests, write_requests

NAMES = ("requests.jsonl", "requests.jsonl.gz", "requests.parquet")
LINE = {"conversation": "c1", "message": "something light", "targets": ["17"]}


def films(count: int = 100, prefix: str = "Film") -> Catalogue:
    return Catalogue([Item(id=str(n), title=f"{prefix} {n}") for n in range(count)], {})


def some_requests() -> list[Request]:
    return [
        Request(conversation="a", message="schöne Filme, 面白い"),
        Request(
            conversation="a",
            turn=4,
            time=1_764_000_000.5,
            person="p",
            history=("1", "2"),
            message="not horror",
            where={"genre": {"not_in": ["horror"]}},
            targets=("3", "4"),
            shown=("3", "5"),
            chosen=(),
            source="log",
            made=True,
        ),
        Request(conversation="b", targets=("3",)),
    ]


def write_lines(path: Path, *lines: object) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_requests_come_back_as_they_were_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new folder" / name
    assert write_requests(path, some_requests(), catalogue=films()) == 3
    assert list(read_requests(path, catalogue=films())) == some_requests()
    assert write_requests(path, [], catalogue=films()) == 0  # a file of requests is replaced
    assert list(read_requests(path)) == []
    assert [entry.name for entry in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_catalogue_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_requests(path, some_requests(), catalogue=films())
    for other in (films(prefix="Tea"), Catalogue([Item(id="x", title="Film 1")], {})):
        with pytest.raises(DataError, match=rf"{name} is of another catalogue, of 100 items"):
            read_requests(path, catalogue=other)


def test_a_catalogue_may_grow_shrink_and_rename_a_few_items(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    write_requests(path, some_requests(), catalogue=films())
    renamed = Catalogue(
        [Item(id=item.id, title=f"New {item.title}" if item.id < "3" else item.title) for item in films()], {}
    )
    for later in (films(150), films(60), renamed):
        assert len(list(read_requests(path, catalogue=later))) == 3
    marks = marks_of(path)
    assert marks is not None
    assert marks == CatalogueMarks.of(films())
    assert marks.fingerprint != CatalogueMarks.of(films(150)).fingerprint


def test_files_of_other_programs_are_read_as_they_are(tmp_path: Path) -> None:
    by_hand = write_lines(tmp_path / "own.jsonl", LINE, "", LINE | {"turn": 1, "time": None})
    assert marks_of(by_hand) is None
    assert [request.turn for request in read_requests(by_hand, catalogue=films())] == [0, 1]
    table = pd.DataFrame(
        {
            "conversation": [1, 2],
            "time": pd.to_datetime(["2026-11-28 12:00", None]),
            "person": ["p", None],
            "targets": [["17"], ["3", "4"]],
            "where": ['{"year": {"min": 1990}}', None],
        }
    )
    table.to_parquet(tmp_path / "own.parquet")
    first, second = read_requests(tmp_path / "own.parquet")
    assert (first.conversation, first.time, first.where) == ("1", 1_795_867_200.0, {"year": {"min": 1990}})
    assert (second.time, second.person, second.targets) == (None, None, ("3", "4"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"conversation": "c2", "mess', "own.jsonl:2 is not a line of JSON"),
        ("[1, 2]", "own.jsonl:2 is not a request such as"),
        ({"conversation": "c2", "target": ["3"]}, "own.jsonl:2 has a problem: target is not a field of a request"),
        (LINE | {"history": ["17"], "turn": 1}, "own.jsonl:2 has a problem: targets names item '17'"),
        (LINE, "own.jsonl:2 repeats turn 0 of conversation 'c1' of line 1"),
        ({"deeprec": "requests", "format": 1}, "own.jsonl:2 has a problem: deeprec is not a field"),
        ("[" * 100_000, "own.jsonl:2 is not a line of JSON"),
        ('{"conversation": "c2", "turn": 1' + "0" * 5000 + "}", "own.jsonl:2 is not a line of JSON"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_or_left_out_and_counted(tmp_path: Path, line: object, why: str) -> None:
    path = write_lines(tmp_path / "own.jsonl", LINE, line, {"conversation": "c9"})
    rows = read_requests(path)
    assert next(rows).conversation == "c1"
    with pytest.raises(DataError) as error:
        next(rows)
    assert why in str(error.value)
    assert "--drop-bad-rows" in str(error.value)
    assert "\n" not in str(error.value)
    bad = BadRows(drop=True)
    assert [request.conversation for request in read_requests(path, Reading(bad))] == ["c1", "c9"]
    assert bad.counts.total() == 1


def test_messages_that_are_empty_huge_or_hold_control_codes_pass(tmp_path: Path) -> None:
    messages = ["", "x" * 100_000, "größer, 大きい, \u202eбольше", "\x1b]0;owned\x07 cheap"]
    path = write_lines(
        tmp_path / "own.jsonl", *({"conversation": f"c{n}", "message": m} for n, m in enumerate(messages))
    )
    read = [request.message for request in read_requests(path)]
    assert [len(message) for message in read[:2]] == [0, 8_000]
    assert read[2:] == ["größer, 大きい, больше", "]0;owned cheap"]


def test_what_is_no_file_of_requests_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 nonsense")
    pd.DataFrame({"user": [1]}).to_parquet(tmp_path / "users.parquet")
    write_lines(tmp_path / "traces.jsonl", {"deeprec": "traces", "format": 2})
    write_lines(tmp_path / "newer.jsonl", {"deeprec": "requests", "format": 99})
    write_lines(tmp_path / "marks.jsonl", {"deeprec": "requests", "format": 1, "catalogue": {"items": "many"}})
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(json.dumps(LINE).encode() * 50)[:-20])
    for name, why in (
        ("nowhere.jsonl", "does not exist"),
        ("empty.jsonl", "is empty"),
        ("cut.parquet", "is not a readable Parquet file"),
        ("users.parquet", "has no column 'conversation'; it has user"),
        ("traces.jsonl", "is a file of deeprec-agent of 'traces', not of requests"),
        ("newer.jsonl", "has format '99'"),
        ("marks.jsonl", "has a header whose catalogue cannot be read"),
        ("packed.jsonl.gz", "truncated"),
    ):
        with pytest.raises(DataError, match=why) as error:
            list(read_requests(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_file_that_is_damaged_later_is_named_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    write_requests(path, (Request(conversation=str(n), message=f"message {n * n}") for n in range(2_000)))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"requests\.parquet is (damaged after row|not a readable)"):
        list(read_requests(path))


def test_nothing_of_another_kind_is_overwritten_and_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"mine": 1}\n')
    with pytest.raises(ConfigError, match="exists and is not a file of requests, so it stays"):
        write_requests(notes, some_requests())
    with pytest.raises(ConfigError, match=r"no suffix of a file of requests\. Name a file that ends in \.jsonl"):
        write_requests(tmp_path / "requests.txt", some_requests())
    path = tmp_path / "requests.jsonl"
    write_requests(path, some_requests())

    def failing() -> Iterator[Request]:
        yield Request(conversation="z")
        yield Request(conversation="z")

    with pytest.raises(DataError, match="Two requests are turn 0 of conversation 'z'"):
        write_requests(path, failing())
    assert list(read_requests(path)) == some_requests()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["notes.jsonl", "requests.jsonl"]
