"""Logged runs become requests where a message and a choice are known."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from deeprec.agent.traces import RunFilter, TraceStore, export_requests, read_choices, redact_person
from deeprec.trm_tool import Catalogue, ConfigError, DataError, Item
from deeprec.trm_tool.data import check_requests, read_requests

RUN = UUID("abc00000-0000-4000-8000-000000000001")
OWN: dict[str, Any] = {"suite": None, "split": None, "target_id": None}
"""What a run of a shop's own lacks."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.jsonl"


def test_a_run_with_a_message_and_a_choice_is_a_request(store: TraceStore, path: Path, make: Any) -> None:
    where = {"genre": {"not_in": ["horror"]}}
    make.write(store, make.run(RUN, **OWN, config={"where": where}))
    wrote = export_requests(store, path, choices={RUN: ["7", "181", "8"]})
    assert (wrote.requests, wrote.left_out, wrote.unknown_runs) == (1, {}, 0)
    [request] = read_requests(path)
    trace = store.run(RUN)
    assert (request.conversation, request.turn, request.person, request.source) == (str(RUN), 0, "12", "traces")
    assert (request.history, request.message, request.where) == (("50", "181"), "something lighter", where)
    assert (request.targets, request.chosen) == (("7", "8"), ("7", "8"))  # 181 was in the history
    assert request.shown == tuple(each.item_id for each in trace.recommended)
    assert request.shown
    assert request.time == trace.started_at.timestamp()


def test_the_target_of_the_lineage_is_the_choice_where_no_other_is_known(
    store: TraceStore, path: Path, make: Any
) -> None:
    make.write(store, make.run(**OWN | {"target_id": "3"}))
    assert export_requests(store, path).requests == 1
    assert next(read_requests(path)).targets == ("3",)


def test_runs_that_are_no_persons_choice_are_left_out_and_counted(store: TraceStore, path: Path, make: Any) -> None:
    chosen = OWN | {"target_id": "3"}
    make.write(store, make.run(**chosen))
    make.write(store, make.run(**chosen | {"suite": "demo"}))
    make.write(store, make.run(**chosen | {"split": "test"}))
    make.write(store, make.run(**chosen, fork={"turn": None}))
    make.write(store, make.run(**chosen, message=" "))
    make.write(store, make.run(**OWN))
    make.write(store, make.run(**OWN | {"target_id": "50"}))
    make.write(store, make.run(**chosen, user_id="gone"))
    redact_person(store, "gone", dry_run=False)
    store.start_run(make.run(**chosen))
    wrote = export_requests(store, path, choices={uuid4(): ["3"]})
    assert (wrote.requests, wrote.unknown_runs) == (1, 1)
    assert wrote.left_out == {
        "of an experiment": 2,
        "replayed or edited": 1,
        "without a message": 1,
        "without a choice": 1,
        "whose choice was in the history": 1,
        "redacted": 1,
        "running": 1,
    }


def test_nothing_to_export_makes_no_file(store: TraceStore, path: Path, make: Any) -> None:
    make.write(store, make.run(**OWN))
    with pytest.raises(DataError, match=r"has a message and a choice \(1 without a choice\)"):
        export_requests(store, path)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(ConfigError, match="so it stays"):
        export_requests(store, path)
    with pytest.raises(DataError, match="nothing to export"):
        export_requests(store, path.with_name("other.parquet"), RunFilter(user_id="nobody"))


def test_the_file_is_of_the_catalogue_that_is_named(store: TraceStore, path: Path, make: Any) -> None:
    make.write(store, make.run(**OWN | {"target_id": "3"}))
    films = Catalogue([Item(id=str(n), title=f"Film {n}") for n in range(9)], {})
    export_requests(store, path, catalogue=films)
    assert check_requests(path, catalogue=films).unknown_ids == {"history": 2, "shown": 1, "requests": 0}
    teas = Catalogue([Item(id=str(n), title=f"Tea {n}") for n in range(9)], {})
    with pytest.raises(DataError, match="is of another catalogue"):
        check_requests(path, catalogue=teas)


def test_choices_are_read_from_a_small_table(tmp_path: Path) -> None:
    table = tmp_path / "choices.csv"
    table.write_text(f"when,item_id,run_id\n1,7,{RUN}\n2,8,{RUN.hex}\n")
    assert read_choices(table) == {RUN: ["7", "8"]}
    for content, why in (
        ("run,item_id\n", "has no column 'run_id'; it has run, item_id"),
        ("run_id,item_id\nabc,7\n", "choices.csv:2 has 'abc' as run_id, which is not the whole id of a run"),
        (f"run_id,item_id\n{RUN},\n", "choices.csv:2 has no item id"),
    ):
        table.write_text(content)
        with pytest.raises(DataError, match=why):
            read_choices(table)


def conversation(make: Any, **changes: Any) -> list[Any]:
    """Three turns: two lists, and the first item of the first and the second of the second are taken in the end."""
    red = {"required": [{"attribute": "colour", "values": ["red"], "turn": 1, "words": "red"}]}
    taken = {"feedback": [{"item_id": "9", "kind": "liked", "turn": 2}, {"item_id": "7", "kind": "in_cart", "turn": 3}]}
    states = ({"turn": 1} | red, {"turn": 2, "feedback": taken["feedback"][:1]}, {"turn": 3} | taken)
    return [
        make.conversation_turn(
            number, message=words, shown=shown, state_before={}, state_after=state, run_id=UUID(int=number), **changes
        )
        for number, words, shown, state in zip(
            (1, 2, 3),
            ("a red tent", "the first is nice, but not red after all", "I take the second"),
            (("9", "1"), ("8", "7"), ()),
            states,
            strict=True,
        )
    ]


def test_a_turn_whose_list_had_what_the_person_took_is_a_request(store: TraceStore, path: Path, make: Any) -> None:
    first, second, third = conversation(make)
    make.write(store, make.run(UUID(int=1), **OWN | {"target_id": "3"}))  # the search of the first, which counts once
    for turn in (first, second, third):
        store.record_conversation_turn(turn)
    wrote = export_requests(store, path)
    assert (wrote.requests, wrote.of_conversations, wrote.left_out) == (2, 2, {})
    assert wrote.turns_left_out == {"that show no list": 1}
    one, two = read_requests(path)
    assert (one.conversation, one.turn, one.person) == (str(first.conversation_id), 0, "12")
    assert (one.message, one.where, one.history) == ("a red tent", {"colour": {"in": ["red"]}}, ("50", "181"))
    assert (one.shown, one.targets, one.chosen, one.made) == (("9", "1"), ("9",), ("9",), False)
    assert (two.turn, two.history, two.targets, two.where) == (1, ("50", "181", "9"), ("7",), None)
    assert two.message == "a red tent the first is nice, but not red after all"


def test_turns_that_are_no_persons_choice_are_left_out_and_counted(store: TraceStore, path: Path, make: Any) -> None:
    write = store.record_conversation_turn
    for turn in (*conversation(make), *conversation(make, thread_id="simulated", suite="people@1")):
        write(turn)
    write(make.conversation_turn(1, thread_id="undone"))
    write(make.conversation_turn(1, thread_id="undone", message_id="other", shown=("5",)))
    write(make.conversation_turn(1, thread_id="odd", state_after={"turn": "x"}))
    write(make.conversation_turn(1, thread_id="gone", user_id="gone"))
    write(make.conversation_turn(1, thread_id="edited", message=""))
    write(make.conversation_turn(1, thread_id="nearest", kind="cannot"))
    redact_person(store, "gone", dry_run=False)
    wrote = export_requests(store, path, choices={UUID(int=2): ["8"], UUID(int=7): ["1"]})
    assert (wrote.of_conversations, wrote.unknown_runs) == (2, 1)
    assert wrote.turns_left_out == {
        "that show no list": 2,
        "of an experiment": 3,
        "undone": 1,
        "without a choice": 1,
        "whose state cannot be read": 1,
        "redacted": 1,
        "without a message": 1,
    }
    assert [request.targets for request in read_requests(path)] == [("9",), ("7", "8")]
    make.write(store, make.run(UUID(int=2), **OWN))
    with pytest.raises(DataError, match=r"\(1 in conversations\)"):
        export_requests(store, path, RunFilter(status="finished"))
