"""Outcomes are written as conversations end, and an interrupted measurement goes on."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from deeprec.evals import ConversationOutcome
from deeprec.evals.simulation.outcome_file import OutcomeFile
from deeprec.trm_tool import ConfigError


def outcome(person: str, error: str | None = None) -> ConversationOutcome:
    return ConversationOutcome(
        person=person,
        messages=({"role": "user", "content": "hello\u2028there"},),
        replies=1,
        accepted=None,
        found_target=False,
        questions=0,
        non_empty=1,
        shown=0,
        violations=0,
        broken=0,
        ungrounded=0,
        satisfaction=math.nan if error else 0.5,
        missed_actions=("Put the first one in my basket",),
        error=error,
    )


def test_what_had_ended_is_kept_and_what_failed_is_tried_again(tmp_path: Path) -> None:
    path, settings = tmp_path / "said.jsonl", {"seed": 1}
    path.write_text("of an earlier measurement\n", encoding="utf-8")
    file = OutcomeFile(path, settings)
    file.add("rules", outcome("ann"))
    file.add("rules", outcome("bob", error="no connection"))
    with (tmp_path / "said.jsonl.part").open("a", encoding="utf-8") as part:
        part.write('{"system": "rules", "person": "ca')  # the process was killed while it wrote
    again = OutcomeFile(path, settings)
    assert again.kept("rules") == {"ann": outcome("ann")}
    assert again.kept("plain") == {}
    again.add("rules", outcome("cat"))
    assert set(OutcomeFile(path, settings).kept("rules")) == {"ann", "cat"}
    assert path.read_text(encoding="utf-8") == "of an earlier measurement\n"
    again.finish({"rules": [outcome("ann"), outcome("cat")]})
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [line["person"] for line in lines] == ["ann", "cat"]
    assert [each.name for each in tmp_path.iterdir()] == ["said.jsonl"]


def test_conversations_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    OutcomeFile(tmp_path / "said.jsonl", {"seed": 1}).add("rules", outcome("ann"))
    with pytest.raises(ConfigError, match="seed 1 and not 2"):
        OutcomeFile(tmp_path / "said.jsonl", {"seed": 2})


DAMAGED = (
    b"not JSON",
    b"",
    b"\xff\xfe\n",
    b"3\n",
    b'{"settings": 3}\n',
    b'{"settings": ["seed"]}\n',
    b"[" * 100_000 + b"\n",
)


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:12]))
def test_a_file_that_begins_otherwise_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    part = tmp_path / "said.jsonl.part"
    part.write_bytes(content)
    with pytest.raises(ConfigError, match="does not begin with the settings"):
        OutcomeFile(tmp_path / "said.jsonl", {"seed": 1})
    assert part.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        *DAMAGED[2:],
        b"null\n",
        b'{"system": "rules", "person": "cat"}\n',
        json.dumps({"system": "rules", **asdict(outcome("cat")), "actions": "many"}).encode() + b"\n",
        json.dumps({"system": [], **asdict(outcome("cat"))}).encode() + b"\n",
    ],
    ids=lambda line: repr(line[:12]),
)
def test_a_conversation_whose_line_is_damaged_is_held_again(tmp_path: Path, line: bytes) -> None:
    OutcomeFile(tmp_path / "said.jsonl", {"seed": 1}).add("rules", outcome("ann"))
    with (tmp_path / "said.jsonl.part").open("ab") as part:
        part.write(line)
    again = OutcomeFile(tmp_path / "said.jsonl", {"seed": 1})
    again.add("rules", outcome("bob"))
    assert set(OutcomeFile(tmp_path / "said.jsonl", {"seed": 1}).kept("rules")) == {"ann", "bob"}
