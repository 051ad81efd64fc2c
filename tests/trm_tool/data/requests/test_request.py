"""One request: what it takes, what it cleans, and what it refuses by the field's name."""

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deeprec.trm_tool import DataError
from deeprec.trm_tool.data import Request
from deeprec.trm_tool.data.requests.request import FIELDS, MAX_MESSAGE_CHARS, request_of, values_of


def test_a_history_alone_is_a_request_without_a_message() -> None:
    request = Request(conversation="u1", history=("3", "3", "5"), targets=("7",))
    assert (request.message, request.shown, request.made) == ("", None, False)
    assert request.history == ("3", "3", "5")


def test_a_message_is_one_visible_line_of_bounded_length_in_any_language() -> None:
    request = Request(conversation="c", message="etwas Leichtes\n\x1b[2J  そして面白い\x00 🎬\ud800")
    assert request.message == "etwas Leichtes [2J そして面白い 🎬"
    assert len(Request(conversation="c", message="long " * 20_000).message) <= MAX_MESSAGE_CHARS


def test_values_of_a_file_become_a_request_and_come_back() -> None:
    values: dict[str, Any] = {
        "conversation": 12,
        "turn": 3,
        "time": "2026-11-28T12:00:00Z",
        "person": 7,
        "history": [1, "2"],
        "targets": ["9", "9", 4],
        "shown": None,
        "chosen": [],
        "where": {"year": {"min": 1990}},
    }
    request = request_of(values)
    assert (request.conversation, request.person, request.history) == ("12", "7", ("1", "2"))
    assert request.targets == ("9", "4")  # an item answers once
    assert (request.shown, request.chosen) == (None, ())  # unknown is not the same as none
    assert request.time == datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
    assert request_of(values_of(request)) == request


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("targets", ["2"], "targets names item '2', which is in the history"),
        ("target", ["9"], "target is not a field of a request; the fields are conversation, turn, time"),
        ("targets", "9", "targets is '9', which is not a list of item ids"),
        ("targets", [None], "targets holds None, which is not an id"),
        ("targets", ["a\tb"], "holds control characters"),
        ("history", [" 3"], "white space around it"),
        ("shown", ["x" * 5000], "has over 1000 characters"),
        ("conversation", None, "conversation has no value"),
        ("conversation", "", "conversation holds the id ''"),
        ("turn", -1, "turn is -1"),
        ("turn", True, "turn is True"),
        ("time", 1.7e12, "too large for seconds since 1970; divide milliseconds"),
        ("time", "soon", "neither a finite number of seconds nor a date"),
        ("time", math.inf, "time is inf"),
        ("message", 5, "message is 5, which is not text"),
        ("where", {"year": 1990}, "where cannot be used: where.year is 1990"),
        ("made", "yes", "made is 'yes'"),
        ("source", "\x00", "source is"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(field: str, value: object, why: str) -> None:
    with pytest.raises(DataError) as error:
        request_of({"conversation": "c", "history": ["2"], field: value})
    assert why in str(error.value)
    assert len(str(error.value)) < 400


def test_the_documented_fields_are_those_of_the_file() -> None:
    page = (Path(__file__).parents[4] / "docs/requests.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == list(FIELDS)
