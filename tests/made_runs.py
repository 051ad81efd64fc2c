"""Runs that were never run. Records have every field filled, runs are whole; a test changes what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from deeprec.agent.traces import (
    ConversationTurn,
    RecommendationRecord,
    RetrievalRecord,
    RunOutcome,
    RunRecord,
    RunTrace,
    TraceStore,
    TurnRecord,
)
from deeprec.trm_tool import ScoredItem

FOUND = ("900", "893", "886", "879", "872", "865")
"""What every search finds; the catalogue of the tests calls 900 and 886 "Toy Story", 893 "Toy Story 2"."""
START = datetime(2026, 11, 20, 9, tzinfo=UTC)


def made_record(run_id: UUID | None = None, **changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": run_id or uuid4(),
        "user_id": "12",
        "thread_id": "thread-1",
        "caller_run_id": "5f0c",
        "tags": ("web", 'say "hi"'),
        "caller_metadata": {"page": "checkout", "visits": "1"},
        "history": ("50", "181"),
        "message": "something lighter",
        "target_id": "1",
        "protocol": "tagged",
        "protocol_version": "1",
        "prompt_version": "1",
        "guided": False,
        "k": 3,
        "policy_model": "SmolLM2-135M-Instruct",
        "adapter": "deeprec",
        "adapter_version": "4",
        "trm_fingerprint": "ab" * 8,
        "sampling": {"temperature": 1.0, "top_p": 0.9, "max_tokens": 64},
        "config": {"max_turns": 3, "names": ["a"]},
        "seed": 2**40,
        "split": "test",
        "suite": "demo",
        "group_id": "g1",
        "parent_id": uuid4(),
        "versions": {"vllm": "0.32.0"},
    }
    return RunRecord(**values | changes)


def made_turn(position: int, **changes: Any) -> TurnRecord:
    """A turn of 5 + 3 tokens that searches; the last action of a run has to be set to "recommend"."""
    values: dict[str, Any] = {
        "position": position,
        "node": "reason",
        "prompt_ids": tuple(range(10 * position, 10 * position + 5)),
        "completion_ids": (100_000 + position, 7, 2),
        "logprobs": (-0.5, -0.25, -2.0),
        "chained": True,
        "text": "<think>They like space.</think>",
        "thought": "They like space.",
        "action": "retrieve",
        "preference": "sci-fi; 1980s",
        "finish_reason": "stop",
        "prompt_tokens": 8 * position + 5,
        "completion_tokens": 3,
        "latency_ms": 120.5,
    }
    return TurnRecord(**values | changes)


def made_retrieval(position: int, **changes: Any) -> RetrievalRecord:
    values: dict[str, Any] = {
        "position": position,
        "turn": position,
        "preference": "sci-fi; 1980s",
        "k": 3,
        "items": (ScoredItem("9", 0.9), ScoredItem(str(20 + position), 0.5), ScoredItem("1", 0.25)),
        "unenforced": ("colour",),
        "latency_ms": 3.5,
    }
    return RetrievalRecord(**values | changes)


def made_place(
    rank: int, item_id: str, retrieval: int | None = 0, source: Any = "written", score: float | None = 0.5
) -> RecommendationRecord:
    return RecommendationRecord(rank=rank, item_id=item_id, retrieval=retrieval, score=score, source=source)


def made_outcome(**changes: Any) -> RunOutcome:
    values: dict[str, Any] = {
        "status": "finished",
        "written": (
            made_place(1, "9", 0, "written", 0.9),
            made_place(2, "9", 0, "written", 0.9),
            made_place(3, "77", None, "written", None),
        ),
        "recommended": (made_place(1, "9", 0, "written", 0.9), made_place(2, "1", 0, "filled", 0.25)),
        "ungrounded": 1,
        "latency_ms": 900.0,
    }
    return RunOutcome(**values | changes)


def write_run(store: TraceStore, run: RunRecord | None = None, turns: int = 3, **ending: Any) -> UUID:
    run = run or made_record()
    store.start_run(run)
    for position in range(turns - 1):
        store.record_turn(run.run_id, made_turn(position))
        store.record_retrieval(run.run_id, made_retrieval(position))
    store.record_turn(run.run_id, made_turn(turns - 1, node="rank", action="recommend", items=("9",)))
    store.finish_run(run.run_id, made_outcome(**ending))
    return run.run_id


def made_trace(run: RunRecord, **changes: Any) -> RunTrace:
    """A finished run without steps and lists."""
    values: dict[str, Any] = {
        "run": run,
        "status": "finished",
        "incomplete": False,
        "detail": None,
        "started_at": START,
        "finished_at": START + timedelta(seconds=5),
        "latency_ms": 5000.0,
        "ungrounded": 0,
        "pinned": False,
        "redacted_at": None,
        "turns": (),
        "retrievals": (),
        "written": (),
        "recommended": (),
        "rewards": (),
    }
    return RunTrace(**values | changes)


def made_run(
    written: Sequence[str] = ("900", "893", "886"),
    *,
    group: str | None = "g",
    target: str | None = "900",
    searches: Sequence[str] = ("Comedy",),
    tokens: int = 3,
    prompt: int | None = None,
    minute: int = 0,
    run: dict[str, Any] | None = None,
    **changes: Any,
) -> RunTrace:
    """A finished run that names `written` after `searches`; each of its turns adds and writes `tokens` tokens.

    The first one adds `prompt` tokens where that is given.
    """
    first = tokens if prompt is None else prompt
    record: dict[str, Any] = {
        "run_id": uuid4(),
        "user_id": "u1",
        "history": ("851",),
        "target_id": target,
        "protocol": "tagged",
        "protocol_version": "1",
        "prompt_version": "1",
        "guided": False,
        "k": 3,
        "policy_model": "tiny",
        "trm_fingerprint": "f",
        "split": "train",
        "group_id": group,
    }
    actions = ("retrieve",) * len(searches) + ("recommend",)
    values: dict[str, Any] = {
        "started_at": START + timedelta(minutes=minute),
        "finished_at": START + timedelta(minutes=minute, seconds=5),
        "turns": tuple(
            TurnRecord(
                position=turn,
                node="rank" if action == "recommend" else "reason",
                action=action,  # type: ignore[arg-type]
                preference=searches[turn] if turn < len(searches) else None,
                prompt_ids=tuple(range(1, (tokens if turn else first) + 1)),
                completion_ids=tuple(range(11, tokens + 11)),
                logprobs=(-0.5,) * tokens,
                chained=True,
                prompt_tokens=first + 2 * turn * tokens,
                completion_tokens=tokens,
                latency_ms=1.0,
            )
            for turn, action in enumerate(actions)
        ),
        "retrievals": tuple(
            RetrievalRecord(
                position=turn,
                turn=turn,
                preference=preference,
                k=6,
                items=tuple(ScoredItem(id=item, score=0.5) for item in FOUND),
                latency_ms=1.0,
            )
            for turn, preference in enumerate(searches)
        ),
        "written": tuple(made_place(rank, item) for rank, item in enumerate(written, start=1)),
    }
    return made_trace(RunRecord(**record | (run or {})), **values | changes)


def store_runs(store: TraceStore, *traces: RunTrace) -> list[RunTrace]:
    """Write whole runs and give them back."""
    store.write_runs(traces)
    return list(traces)


def made_conversation_turn(turn: int = 1, **changes: Any) -> ConversationTurn:
    """A turn with every field filled: of a person who asked for red tents, was shown "9" and "1", and liked "9"."""
    red = {"attribute": "colour", "values": ["red"], "turn": 1, "words": "red"}
    values: dict[str, Any] = {
        "thread_id": "thread-1",
        "turn": turn,
        "message_id": f"message-{turn}",
        "tenant": "camping",
        "user_id": "12",
        "history": ("50", "181"),
        "message": "a red tent",
        "delta": {"changes": [{"kind": "set", "attribute": "colour", "values": ["red"]}]},
        "state_before": {"turn": turn - 1},
        "state_after": {
            "turn": turn,
            "required": [red],
            "feedback": [{"item_id": "9", "kind": "liked", "turn": turn}] if turn > 1 else [],
        },
        "kind": "list",
        "reply": "Two red tents.",
        "problems": ("No prices are known here.",),
        "shown": ("9", "1"),
        "question": {"attribute": "size", "text": "Which size?", "options": ["2", "4"]},
        "actions": ({"kind": "add_to_cart", "item_id": "9"},),
        "run_id": UUID(int=turn),
        "created_at": START + timedelta(minutes=turn),
    }
    return ConversationTurn(**values | changes)
