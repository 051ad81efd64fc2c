"""A shop's log of what people asked, with columns found or named."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deeprec.trm_tool import ConfigError, DataError
from deeprec.trm_tool.data import LogOptions, Request, RequestImport, import_requests, read_requests
from tests.command_line import run_command

Import = Callable[..., tuple[list[Request], RequestImport]]


@pytest.fixture
def run_import(tmp_path: Path) -> Import:
    def run(
        content: str | list[dict[str, Any]],
        name: str = "log.csv",
        *,
        drop: bool = False,
        catalogue: Path | None = None,
        interactions: Path | None = None,
        **how: Any,
    ) -> tuple[list[Request], RequestImport]:
        path = tmp_path / name
        text = content if isinstance(content, str) else "".join(f"{json.dumps(row)}\n" for row in content)
        path.write_text(text, encoding=how.get("encoding") or "utf-8")
        report = import_requests(
            path,
            tmp_path / "out.jsonl",
            log=LogOptions(**how),
            drop_bad_rows=drop,
            catalogue=catalogue,
            interactions=interactions,
        )
        assert report.format == "log"
        return list(read_requests(tmp_path / "out.jsonl")), report

    return run


def test_a_search_log_becomes_requests_with_what_people_took_before(run_import: Import) -> None:
    requests, report = run_import(
        "Customer ID,searched_at,Search Term,product_id,Results\n"
        "anna,2026-11-02T10:00:00Z,green tea,t2,t1|t2\n"
        "anna,2026-11-01T10:00:00Z,a strong one,t7,\n"
        "bert,2026-11-01T11:00:00Z,mug,m1,\n"
        "bert,2026-11-01T11:00:00Z,mug,m2,\n"
        "bert,2026-11-03T11:00:00Z,,t2,\n"
        "anna,2026-11-04T10:00:00Z,green tea,t2,\n"
        "carl,2026-11-05T10:00:00Z,nothing found,,\n"
    )
    day = 1_793_527_200
    assert requests[0] == Request(
        conversation="line 3",
        time=day,
        person="anna",
        message="a strong one",
        targets=("t7",),
        chosen=("t7",),
        source="log",
    )
    assert (requests[1].targets, requests[1].chosen, requests[1].history) == (("m1", "m2"), ("m1", "m2"), ())
    assert (requests[2].history, requests[2].shown, requests[2].targets) == (("t7",), ("t1", "t2"), ("t2",))
    assert (requests[3].message, requests[3].history) == ("", ("m1", "m2"))
    assert report.left_out == {
        "items that the history has already": 1,
        "requests whose items the history has already": 1,
        "requests without an item": 1,
    }


def test_interactions_give_what_people_had_before_they_asked(run_import: Import, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "shop.item").write_text("item_id:token\ta:token\n")
    had = [("anna", "t3", 300), ("bert", "t9", 100), ("anna", "t1", 100), ("anna", "t2", 200), ("anna", "t4", 400)]
    lines = "".join(f"{person}\t{item}\t{1_764_000_000_000 + time * 1000}\n" for person, item, time in had)
    (shop / "shop.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + lines)

    def asked(person: str | None, time: int, item: str) -> dict[str, Any]:
        return {"user": person, "query": "tea", "item": item, "time": 1_764_000_000 + time}

    rows = [asked("anna", 250, "m1"), asked("anna", 300, "t3"), asked("anna", 350, "t1"), asked("carl", 350, "t1")]
    requests, report = run_import(rows, "log.jsonl", interactions=shop)
    assert [(request.history, request.targets) for request in requests] == [
        (("t1", "t2"), ("m1",)),
        (("t1", "t2", "m1"), ("t3",)),  # what was taken at that very time is not before it
        ((), ("t1",)),
    ]
    assert report.left_out["requests whose items the history has already"] == 1
    assert report.left_out["histories of people whom the interactions lack"] == 1
    with pytest.raises(DataError, match=r"log.jsonl:1 has a problem: person is missing, and with --interactions"):
        run_import([asked(None, 1, "m1")], "log.jsonl", interactions=shop)
    with pytest.raises(DataError, match="time is missing"):
        run_import([{"user": "anna", "query": "tea", "item": "m1"}], "log.jsonl", interactions=shop)


def test_in_a_conversation_the_message_is_the_persons_words_so_far(run_import: Import) -> None:
    rows = [
        {"session_id": "s", "role": "user", "content": "I want a mug", "item": None},
        {"session_id": "s", "role": "assistant", "content": "Any colour?"},
        {
            "session_id": "s",
            "role": "user",
            "content": "green, 大きい",
            "item": ["m1", 2],
            "filters": {"price": {"max": 20}},
        },
        {"session_id": "s", "role": "user", "content": "and tea", "item": "t1"},
    ]
    requests, report = run_import(rows, "chat.jsonl")
    assert [(request.turn, request.message) for request in requests] == [
        (1, "I want a mug green, 大きい"),
        (2, "I want a mug green, 大きい and tea"),
    ]
    assert (requests[0].targets, requests[0].where) == (("m1", "2"), {"price": {"max": 20}})
    assert requests[1].history == ("m1", "2")
    assert report.left_out == {"messages that no person wrote": 1, "requests without an item": 1}
    requests, _ = run_import(rows, "chat.jsonl", last_message=True)
    assert [request.message for request in requests] == ["green, 大きい", "and tea"]


def test_columns_are_named_where_their_names_are_not_known(run_import: Import) -> None:
    text = "wer;frage;kauf;vorher\n1;größere Tasse;7,5;[9]\n"
    with pytest.raises(DataError, match=r"has no column of message that is known by name; it has wer, frage, kauf"):
        run_import(text)
    columns = {"person": "wer", "message": "frage", "targets": "kauf", "history": "vorher"}
    [request], _ = run_import(text, columns=columns, encoding="latin-1", delimiter=";")
    assert (request.person, request.message, request.targets) == ("1", "größere Tasse", ("7", "5"))
    assert request.history == ("9",)
    with pytest.raises(
        DataError, match=r"has no column 'fragen'; it has wer, frage, kauf, vorher\. Correct --column mess"
    ):
        run_import(text, columns=columns | {"message": "fragen"})
    with pytest.raises(ConfigError, match="--column words=… names no role"):
        run_import(text, columns={"words": "frage"})


def test_an_id_with_a_separator_stays_whole_where_the_catalogue_has_it(run_import: Import, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    items = "".join(f'"tea, {number}";Tea {number}\n' for number in range(30))
    (shop / "items.csv").write_text("item_id;title\n" + items)
    (shop / "interactions.csv").write_text("user_id,item_id,timestamp\n")
    requests, report = run_import(
        [{"query": "q", "item_id": "tea, 3"}, {"query": "r", "item_id": "tea, 99"}], "log.jsonl", catalogue=shop
    )
    assert [request.targets for request in requests] == [("tea, 3",)]
    assert report.unknown_ids == {"targets": 2, "chosen": 2, "requests": 1}


def test_times_of_every_unit_are_seconds_and_parquet_is_read(run_import: Import, tmp_path: Path) -> None:
    for unit in (1, 10**3, 10**6, 10**9):
        [request], _ = run_import([{"query": "q", "item": 3, "ts": 1_764_000_000 * unit}], "log.jsonl")
        assert (request.time, request.targets) == (1_764_000_000, ("3",))
    noon, day = pd.to_datetime(["2026-11-28 12:00", "2026-11-27 12:00"]), [date(2026, 11, 28), date(2026, 11, 27)]
    for times, clock in ((noon, 43_200), (noon.tz_localize("UTC"), 43_200), (day, 0)):
        table = pd.DataFrame({"query": ["q", "r"], "clicked": [["a", "b"], ["c"]], "time": times})
        table.to_parquet(tmp_path / "log.parquet")
        import_requests(tmp_path / "log.parquet", tmp_path / "out.parquet")
        assert [(each.message, each.targets, each.time) for each in read_requests(tmp_path / "out.parquet")] == [
            ("r", ("c",), 1_795_737_600 + clock),
            ("q", ("a", "b"), 1_795_824_000 + clock),
        ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"query": "q", "item"', "log.jsonl:2 is not a line of JSON"),
        ("7", "log.jsonl:2 is not an object with named fields"),
        ({"query": ["q"], "item": "a"}, "log.jsonl:2 has a problem: message is ['q'], which is not text"),
        ({"query": "q", "item": {"id": 3}}, "targets is {'id': 3}, which is neither an id nor a list of ids"),
        ({"query": "q", "item": "a", "time": "yesterday"}, "time is 'yesterday', which is neither a number nor a date"),
        ({"query": "q", "item": "a", "filters": {"price": 3}}, "where cannot be used: where.price is 3"),
        ({"query": "q", "item": "a\x00b"}, "targets holds the id 'a\\x00b', which holds control characters"),
        ({"query": "q", "item": "a", "history": "a|b", "session": 1}, None),
        ({"query": "q", "item": "b", "session": "s", "turn": 4}, "repeats turn 4 of conversation 's' of line 1"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_or_left_out(run_import: Import, row: object, why: str | None) -> None:
    first = {"query": "q", "item": "a", "session": "s", "turn": 4, "time": 5, "filters": None, "history": None}
    lines = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in (first, row)) + "\n"
    if why is not None:
        with pytest.raises(DataError) as error:
            run_import(lines, "log.jsonl")
        assert why in str(error.value)
        assert "\n" not in str(error.value)
    requests, report = run_import(lines, "log.jsonl", drop=True)
    assert [request.turn for request in requests] == [4]
    assert sum(report.dropped.values()) == (why is not None)


def test_the_command_names_columns_and_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my log.csv").write_text("frage,kauf\nTasse,t1\n")
    arguments = ["data", "import-requests", "my log.csv", "--out", "my requests.jsonl"]
    code, out, err = run_command(capsys, *arguments, "--column", "message=frage", "--column", "targets=kauf")
    assert (code, err) == (0, "")
    assert "deeprec data check 'my requests.jsonl'" in out
    for wrong in ("message", "message=", "message=frage=x"):
        code, _, err = run_command(capsys, *arguments, "--column", wrong)
        assert (code, err.count("\n")) == (2, 1)
