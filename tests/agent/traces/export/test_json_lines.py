import gzip
import json
import math
import sqlite3
import struct
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from deeprec.agent.traces import RunFilter, TraceStore, export_jsonl, import_jsonl, pin_runs, redact_person
from deeprec.agent.traces.export.run_json import run_lines
from deeprec.agent.traces.export.table_rows import read_rows
from deeprec.trm_tool import ConfigError, DataError, ScoredItem

RUN = UUID("abc00000-0000-4000-8000-000000000001")


def everything(store: TraceStore) -> list[Any]:
    """Every column of every table, decoded; NaN as text so that it equals itself."""
    return [repr(line) for rows in read_rows(store) for line in run_lines(rows)]


def copy(store: TraceStore, path: Path, to: Path) -> list[Any]:
    export_jsonl(store, path)
    with TraceStore(to) as other:
        import_jsonl(other, path)
        return everything(other)


@pytest.fixture
def full(store: TraceStore, make: Any) -> TraceStore:
    make.write(store, make.run(RUN, fork={"turn": 1, "preference": "x"}, trm_holdout=3, dataset_fingerprint="cd" * 32))
    store.write_rewards(RUN, "list", {"hit": 1.0, "none": math.nan, "much": math.inf})
    pin_runs(store, [RUN])
    store.start_run(
        odd := make.run(message="NUL \x00 \udc80 \u2028 \U0001f600", history=(), seed=-(2**63), user_id=None)
    )
    store.record_turn(
        odd.run_id,
        make.turn(
            0,
            prompt_ids=(0, 2**32 - 1),
            completion_ids=(1, 2, 3),
            logprobs=(math.nan, -math.inf, -0.1),
            messages=[{"type": "human", "data": {"n": 1.5, "none": None}}],
            latency_ms=math.nan,
        ),
    )
    constraints = {"hard": [], "guessed": [], "unenforceable": ["not scary"]}
    scored = (ScoredItem("a", math.nan), ScoredItem("b", 0.1))
    store.record_retrieval(
        odd.run_id, make.retrieval(0, items=scored, preference=None, words=True, constraints=constraints)
    )
    store.mark_incomplete(odd.run_id)
    redacted = make.write(store, make.run(user_id="gone"))
    redact_person(store, "gone", dry_run=False)
    assert store.run(redacted).redacted_at
    return store


@pytest.mark.parametrize("name", ["runs.jsonl", "runs.jsonl.gz"])
def test_nothing_is_lost_on_the_way(full: TraceStore, tmp_path: Path, name: str) -> None:
    assert copy(full, tmp_path / name, tmp_path / "other.db") == everything(full)
    with TraceStore(tmp_path / "other.db") as other:
        assert repr(list(other.traces())) == repr(list(full.traces()))
        trace = other.run(RUN)
    assert (trace.pinned, trace.run.fork) == (True, {"turn": 1, "preference": "x"})
    assert [reward.value for reward in trace.rewards] == [1.0, math.inf, pytest.approx(math.nan, nan_ok=True)]


@pytest.mark.parametrize("name", ["runs.jsonl", "runs.jsonl.gz"])
def test_the_same_runs_make_the_same_file(full: TraceStore, tmp_path: Path, name: str) -> None:
    export_jsonl(full, tmp_path / name)
    with TraceStore(tmp_path / "other.db") as other:
        import_jsonl(other, tmp_path / name)
        (tmp_path / "again").mkdir()
        export_jsonl(other, tmp_path / "again" / name)
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


words = st.text(max_size=20)
floats32 = st.floats(width=32)
optional = st.none() | words


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    logprobs=st.lists(floats32, max_size=30),
    ids=st.lists(st.integers(0, 2**32 - 1), max_size=30),
    scores=st.lists(st.floats(), max_size=5),
    texts=st.tuples(optional, optional, words, optional),
    extra=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | words,
        lambda part: st.lists(part, max_size=3) | st.dictionaries(words, part, max_size=3),
        max_leaves=8,
    ),
    rewards=st.dictionaries(words.filter(lambda word: "\x00" not in word), st.floats(), max_size=4),
)
def test_whatever_a_run_holds_comes_back(
    tmp_path: Path, make: Any, logprobs: Any, ids: Any, scores: Any, texts: Any, extra: Any, rewards: Any
) -> None:
    place = tmp_path / uuid4().hex
    place.mkdir()
    with TraceStore(place / "one.db") as store:
        store.start_run(
            run := make.run(message=texts[0], user_id=texts[1], history=tuple(map(str, ids)), config={"e": extra})
        )
        store.record_turn(
            run.run_id,
            make.turn(0, prompt_ids=ids, completion_ids=ids[:1], logprobs=logprobs, text=texts[2], thought=texts[3]),
        )
        items = tuple(ScoredItem(str(number), score) for number, score in enumerate(scores))
        store.record_retrieval(run.run_id, make.retrieval(0, items=items, preference=texts[3]))
        store.finish_run(run.run_id, make.outcome(detail=texts[0]))
        store.write_rewards(run.run_id, "s", rewards)
        assert copy(store, place / "x.jsonl", place / "two.db") == everything(store)
        kept = store.run(run.run_id).turns[0].logprobs
    with TraceStore(place / "two.db") as other:
        assert [struct.pack("<f", value) for value in other.run(run.run_id).turns[0].logprobs] == [
            struct.pack("<f", value) for value in kept
        ]
    assert np.array_equal(np.float32(kept), np.float32(logprobs), equal_nan=True)


def test_importing_again_changes_nothing(full: TraceStore, tmp_path: Path) -> None:
    export_jsonl(full, tmp_path / "x.jsonl")
    with TraceStore(tmp_path / "other.db") as other:
        first = import_jsonl(other, tmp_path / "x.jsonl")
        pin_runs(other, [RUN], pinned=False)  # whoever reads it decides what to keep
        was = everything(other)
        second = import_jsonl(other, tmp_path / "x.jsonl")
        assert (first.imported, first.known, second.imported, second.known) == (3, 0, 0, 3)
        assert everything(other) == was


def test_a_run_with_other_content_is_reported_and_stays(store: TraceStore, tmp_path: Path, make: Any) -> None:
    a, b = make.write(store), make.write(store)
    export_jsonl(store, tmp_path / "x.jsonl")
    with TraceStore(tmp_path / "other.db") as other:
        import_jsonl(other, tmp_path / "x.jsonl")
        other.write_rewards(a, "list", {"hit": 0.5})
        was = everything(other)
        report = import_jsonl(other, tmp_path / "x.jsonl")
        assert (report.imported, report.known, report.conflicts) == (0, 1, (a,))
        assert everything(other) == was
    assert b != a


def test_what_was_redacted_since_does_not_come_back(full: TraceStore, tmp_path: Path) -> None:
    export_jsonl(full, tmp_path / "x.jsonl")
    redact_person(full, "12", dry_run=False)
    was = everything(full)
    assert import_jsonl(full, tmp_path / "x.jsonl").conflicts == (RUN,)
    assert everything(full) == was


def test_a_filter_says_which_runs(store: TraceStore, tmp_path: Path, make: Any) -> None:
    for split in ("train", "test", "train"):
        make.write(store, make.run(split=split))
    assert export_jsonl(store, tmp_path / "x.jsonl", RunFilter(split="train")).runs == 2
    assert [json.loads(line)["run"]["split"] for line in (tmp_path / "x.jsonl").read_text().splitlines()[1:-1]] == [
        "train"
    ] * 2


def test_every_batch_is_written(store: TraceStore, tmp_path: Path, make: Any) -> None:
    for _ in range(230):
        store.start_run(make.run())
    assert len(copy(store, tmp_path / "x.jsonl", tmp_path / "other.db")) == 230


def lines_of(store: TraceStore, path: Path) -> list[dict[str, Any]]:
    export_jsonl(store, path)
    return [json.loads(line) for line in path.read_text().splitlines()]


def put(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty"),
        (b"hello\n", "line 1: this is not a file of exported runs"),
        (b'{"run": {}}\n', "line 1: this is not a file of exported runs"),
        (b"PAR1\x00\xff\n", "line 1: this is not a file of exported runs"),
        (
            b'{"deeprec": "traces", "format": 4}\n',
            "line 1: the file has format 4, and this version .* reads up to 3; upgrade",
        ),
        (b'{"deeprec": "traces", "format": 1}\n', "line 2: the file is cut off"),
        (
            b'{"deeprec": "traces", "format": 1}\n{"end": true, "runs": 3}\n',
            "line 2: the file had 3 runs and has 0 now",
        ),
        (b'{"deeprec": "traces", "format": 1}\n{"end": true, "runs": 0}\n{}\n', "line 3: something follows"),
        (b'{"deeprec": "traces", "format": 1}\n' + b"[" * 100_000 + b"\n", "line 2: it is no"),
        (b'{"deeprec": "traces", "format": 1}\n[1]\n', "line 2: it is not a run"),
    ],
)
def test_another_file_is_refused(store: TraceStore, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.jsonl, {message}.*Nothing was imported") as caught:
        import_jsonl(store, tmp_path / "x.jsonl")
    assert "\n" not in str(caught.value)
    assert store.runs() == []


@pytest.mark.slow
def test_a_file_that_was_cut_anywhere_is_refused_and_what_came_is_whole(full: TraceStore, tmp_path: Path) -> None:
    export_jsonl(full, tmp_path / "x.jsonl")
    whole, wanted = (tmp_path / "x.jsonl").read_bytes(), everything(full)
    for at in [*range(1, len(whole) - 1, len(whole) // 8), *(n + 1 for n, c in enumerate(whole[:-1]) if c == 10)]:
        (tmp_path / "cut.jsonl").write_bytes(whole[:at])
        with TraceStore(tmp_path / f"{at}.db") as other:
            with pytest.raises(DataError, match=r"cut\.jsonl, line \d: "):
                import_jsonl(other, tmp_path / "cut.jsonl")
            assert everything(other) == wanted[: len(everything(other))]
            assert import_jsonl(other, tmp_path / "x.jsonl").conflicts == ()
            assert everything(other) == wanted


def test_a_packed_file_that_was_cut_or_damaged_is_refused(full: TraceStore, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    export_jsonl(full, path)
    whole = path.read_bytes()
    for content, why in (
        (whole[: len(whole) // 2], "cut off"),
        (whole[:-4], "cut off"),
        (whole[:200] + b"\xff" * 20 + whole[220:], "damaged|no JSON"),
        (b"\x1f\x8b" + b"nonsense" * 4, "damaged|cut off"),
        (b"not packed", "damaged"),
        (gzip.compress(b"hello\n"), "not a file of exported runs"),
    ):
        path.write_bytes(content)
        with TraceStore(tmp_path / "other.db") as other, pytest.raises(DataError, match=why):
            import_jsonl(other, path)


def set_in(line: Any, keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        line = line[key]
    line[keys[-1]] = value


@pytest.mark.parametrize(
    ("keys", "value", "why"),
    [
        (("run", "run_id"), "abc", "column 'run_id' of runs is 'abc', not a run id"),
        (("run", "run_id"), None, "not there to be left out"),
        (("run", "status"), "done", "not one of running, finished"),
        (("run", "history"), "50", "not a list"),
        (("run", "history"), [50], "not a list of text"),
        (("run", "config"), [], "not an object"),
        (("run", "seed"), 2**63, "not a whole number of 64 bits"),
        (("run", "k"), 2**31, "not a whole number of 32 bits"),
        (("run", "k"), True, "not a whole number"),
        (("run", "guided"), 1, "not true or false"),
        (("run", "started_at"), "2026-01-01T00:00:00", "not a time with its zone"),
        (("run", "started_at"), 7, "not a time with its zone"),
        (("run", "latency_ms"), "long", "not a number"),
        (("run", "latency_ms"), 10**400, "not a number"),
        (("run", "mood"), 1, "runs has no column 'mood' in this version; a newer one wrote it"),
        (("turns", 0, "completion_ids"), [2**32], "not a list of token ids"),
        (("turns", 0, "completion_ids"), [1.0], "not a list of token ids"),
        (("turns", 0, "logprobs"), [None], "not a list of numbers"),
        (("turns", 0, "text"), 5, "column 'text' of turns is 5, not text"),
        (("turns", 1, "position"), 0, "turns names one position twice"),
        (("turns", 0, "run_id"), str(RUN), "turns has no column 'run_id'"),
        (("turns", 0), [], "a row of turns is not an object"),
        (("turns",), {}, "turns is not a list"),
        (("retrieved_items", 0, "position"), 9, "a retrieval that is not there"),
        (("moods",), [], "a run has no part 'moods' in this version"),
    ],
)
def test_a_damaged_run_is_named_and_the_runs_before_it_are_whole(
    store: TraceStore, tmp_path: Path, make: Any, keys: tuple[Any, ...], value: Any, why: str
) -> None:
    make.write(store)
    make.write(store)
    lines = lines_of(store, tmp_path / "x.jsonl")
    set_in(lines[2], keys, value)
    with TraceStore(tmp_path / "other.db") as other:
        with pytest.raises(DataError) as caught:
            import_jsonl(other, put(tmp_path / "y.jsonl", lines))
        assert why in str(caught.value)
        assert "line 3: " in str(caught.value)
        assert "The 1 runs before it were read (1 of them new)" in str(caught.value)
        assert everything(other) == everything(store)[:1]


def test_a_lacking_column_is_named_or_empty(store: TraceStore, tmp_path: Path, make: Any) -> None:
    make.write(store)
    lines = lines_of(store, tmp_path / "x.jsonl")
    for name in ("fork", "pinned", "message"):
        del lines[1]["run"][name]
    with TraceStore(tmp_path / "other.db") as other:
        import_jsonl(other, put(tmp_path / "y.jsonl", lines))
        trace = other.runs()[0]
        assert (trace.message, other.run(trace.run_id).pinned) == (None, False)
    del lines[1]["run"]["protocol"]
    with pytest.raises(DataError, match="line 2: runs lacks the column 'protocol'"):
        import_jsonl(store, put(tmp_path / "y.jsonl", lines))


def test_a_failing_store_takes_no_half_runs(full: TraceStore, tmp_path: Path) -> None:
    export_jsonl(full, tmp_path / "x.jsonl")
    with TraceStore(tmp_path / "other.db") as other:
        raw = sqlite3.connect(tmp_path / "other.db")
        raw.execute("CREATE TRIGGER no BEFORE INSERT ON rewards BEGIN SELECT RAISE(ABORT, 'broken'); END")
        raw.close()
        with pytest.raises(Exception, match="cannot be written: broken"):
            import_jsonl(other, tmp_path / "x.jsonl")
        assert everything(other) == []


def test_another_file_is_not_overwritten(store: TraceStore, tmp_path: Path, make: Any) -> None:
    make.write(store)
    for name, content in (
        ("a.jsonl", b"notes\n"),
        ("b.jsonl", b""),
        ("c.jsonl.gz", b"notes"),
        ("d.jsonl", b"\x00" * 5000),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match="is there and is not a file of exported runs, so it stays"):
            export_jsonl(store, tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    with pytest.raises(ConfigError, match="so it stays"):
        export_jsonl(store, tmp_path)
    for _ in range(2):
        assert export_jsonl(store, tmp_path / "new" / "x.jsonl").runs == 1
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["x.jsonl"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_runs(tmp_path: Path, make: Any) -> None:
    peaks = []
    for count in (500, 1500):
        with TraceStore(tmp_path / f"{count}.db") as store, TraceStore(tmp_path / f"{count}-b.db") as other:
            for _ in range(count):
                store.start_run(make.run(message="x" * 3000))
            tracemalloc.start()
            export_jsonl(store, tmp_path / "x.jsonl")
            import_jsonl(other, tmp_path / "x.jsonl")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.3


def test_times_keep_their_microseconds(store: TraceStore, tmp_path: Path, make: Any) -> None:
    make.write(store)
    line = lines_of(store, tmp_path / "x.jsonl")[1]
    assert datetime.fromisoformat(line["run"]["started_at"]) == store.runs()[0].started_at
    assert datetime.fromisoformat(line["run"]["started_at"]).tzinfo == UTC


def test_turns_of_conversations_come_along(store: TraceStore, tmp_path: Path, make: Any) -> None:
    odd = make.conversation_turn(2, thread_id="NUL \x00 \udc80", tenant=None, user_id=None, run_id=None, question=None)
    for turn in (make.conversation_turn(), odd, make.conversation_turn(1, user_id="gone", thread_id="gone")):
        store.record_conversation_turn(turn)
    redact_person(store, "gone", dry_run=False)
    path = tmp_path / "x.jsonl"
    assert export_jsonl(store, path).conversation_turns == 3
    with TraceStore(tmp_path / "other.db") as other:
        assert import_jsonl(other, path).conversation_turns == 3
        assert list(other.conversation_traces()) == list(store.conversation_traces())
        assert import_jsonl(other, path).conversation_turns == 0
    assert export_jsonl(store, path, RunFilter(tenant="camping", user_id="12")).conversation_turns == 1
    assert export_jsonl(store, path, RunFilter(status="finished")).conversation_turns == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": None}, "column 'kind' of conversation_turns is None, not there to be left out"),
        ({"shown": [1]}, r"column 'shown' of conversation_turns is \[1\], not a list of text"),
        ({"extra": 1}, "conversation_turns has no column 'extra' in this version"),
        ({"turn": -1}, "A turn of a conversation has the thread 'thread-1' and the number -1"),
        ({"thread_id": "t" * 600}, "The thread_id of turn 1 of a conversation has 600 characters"),
    ],
)
def test_a_turn_that_makes_no_sense_is_refused(
    store: TraceStore, tmp_path: Path, make: Any, change: dict[str, Any], why: str
) -> None:
    store.record_conversation_turn(make.conversation_turn())
    lines = lines_of(store, tmp_path / "x.jsonl")
    lines[1]["conversation_turn"] |= change
    with TraceStore(tmp_path / "other.db") as other:
        with pytest.raises(DataError, match=f"line 2: {why}"):
            import_jsonl(other, put(tmp_path / "y.jsonl", lines))
        with pytest.raises(DataError, match=r"line 2: the file had 1 turns of conversations and has 0 now"):
            import_jsonl(other, put(tmp_path / "y.jsonl", [lines[0], lines[2]]))
        with pytest.raises(DataError, match="line 2: it is not a turn of a conversation"):
            import_jsonl(other, put(tmp_path / "y.jsonl", [lines[0], {"conversation_turn": [1]}, lines[2]]))
        assert other.conversations() == []
