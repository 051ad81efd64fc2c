"""`deeprec traces conversations` and `conversation`: what a person at a terminal gets."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deeprec.agent.cli.main import app
from deeprec.agent.traces import TraceStore
from deeprec.trm_tool import DeepRecError


@pytest.fixture
def path(tmp_path: Path, make: Any) -> Path:
    with TraceStore(tmp_path / "runs.db") as store:
        run_id = make.write(store)
        store.record_conversation_turn(make.conversation_turn(1, run_id=run_id))
        store.record_conversation_turn(make.conversation_turn(2, message="cheaper\x1b[2J"))
        store.record_conversation_turn(make.conversation_turn(1, tenant="books", user_id="13", message="a novel"))
    return tmp_path / "runs.db"


def run(path: Path, *words: str, columns: int = 160) -> str:
    environment = {"COLUMNS": str(columns), "DEEPREC_STORE": str(path)}
    result = CliRunner().invoke(app, ["traces", *words], catch_exceptions=False, env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def test_conversations_are_listed(path: Path) -> None:
    lines = run(path, "conversations").splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["thread-1", "thread-1"]
    assert "a novel" not in run(path, "conversations", "--tenant", "camping")
    [line] = json.loads(run(path, "conversations", "--user", "13", "--json"))
    assert (line["thread_id"], line["tenant"], line["turns"], line["message"]) == ("thread-1", "books", 1, "a novel")
    assert run(path, "conversations", "--since", "2027-01-01") == "No conversation matches.\n"


@pytest.mark.parametrize("thread_id", ["chat-1a2b3c4d", "0b1f7c9e-7a52-4b3c-9b5e-1f0a2d3c4e5f", "thread-" * 20])
def test_a_pipe_has_each_thread_in_one_piece(tmp_path: Path, make: Any, thread_id: str) -> None:
    with TraceStore(tmp_path / "runs.db") as store:
        store.record_conversation_turn(make.conversation_turn(1, thread_id=thread_id, message="a red tent " * 9))
    assert run(tmp_path / "runs.db", "conversations", columns=80).splitlines()[2].split()[0] == thread_id


def test_a_narrow_terminal_has_all_of_a_thread(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    names = "0b1f7c9e-7a52-4b3c-9b5e-1f0a2d3c4e5f", "0123456789" * 6
    with TraceStore(tmp_path / "runs.db") as store:
        for name in names:
            turn = make.conversation_turn(1, thread_id=name, user_id="a" * 40, message="a red tent " * 9)
            store.record_conversation_turn(turn)
    lines = re.sub("\x1b\\[[0-9;]*m", "", run(tmp_path / "runs.db", "conversations", columns=80)).splitlines()
    assert "".join(line[:40].strip() for line in lines[2:]) in ("".join(names), "".join(reversed(names)))
    assert max(map(len, lines)) <= 80
    assert "a red" in lines[2]


def test_a_store_without_conversations_says_what_logs_them(tmp_path: Path) -> None:
    with TraceStore(tmp_path / "runs.db"):
        pass
    assert "`deeprec chat`" in run(tmp_path / "runs.db", "conversations")


def test_one_is_shown_as_text_as_json_and_as_a_page(path: Path, tmp_path: Path) -> None:
    shown = run(path, "conversation", "thread-1", "--tenant", "camping")
    assert "12: a red tent" in shown
    assert r"12: cheaper\x1b[2J" in shown
    printed = json.loads(run(path, "conversation", "thread-1", "--tenant", "camping", "--json"))
    assert [turn["message"] for turn in printed["turns"]] == ["a red tent", "cheaper\x1b[2J"]
    out = tmp_path / "page.html"
    assert run(path, "conversation", "thread-1", "--tenant", "camping", "-o", str(out)).startswith("Wrote the conv")
    assert out.read_text(encoding="utf-8").count('<article id="r') == 1  # the search of the second is not stored
    assert json.loads(run(path, "conversation", "thread-1", "--user", "13", "-o", str(out), "--json"))["runs"] == []
    with pytest.raises(DeepRecError, match="of several tenants"):
        run(path, "conversation", "thread-1")
    with pytest.raises(DeepRecError, match="No conversation has the thread 'other'"):
        run(path, "conversation", "other")
