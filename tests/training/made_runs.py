"""Runs of the tiny catalogue as a store has them: searches, a list, tokens that chain, and a group."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from deeprec.agent.traces import RecommendationRecord, RetrievalRecord, RunRecord, RunTrace, TraceStore, TurnRecord
from deeprec.trm_tool import ScoredItem

FOUND = ("900", "893", "886", "879", "872", "865")
"""What every search finds; the catalogue of the tests calls 900 and 886 "Toy Story", 893 "Toy Story 2"."""
START = datetime(2026, 11, 20, 9, tzinfo=UTC)


def made_run(
    written: Sequence[str] = ("900", "893", "886"),
    *,
    group: str | None = "g",
    target: str | None = "900",
    searches: Sequence[str] = ("Comedy",),
    tokens: int = 3,
    minute: int = 0,
    run: dict[str, Any] | None = None,
    **changes: Any,
) -> RunTrace:
    """A finished run that names `written` after `searches`; each of its turns adds and writes `tokens` tokens."""
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
        "run": RunRecord(**record | (run or {})),
        "status": "finished",
        "incomplete": False,
        "detail": None,
        "started_at": START + timedelta(minutes=minute),
        "finished_at": START + timedelta(minutes=minute, seconds=5),
        "latency_ms": 5000.0,
        "ungrounded": 0,
        "pinned": False,
        "redacted_at": None,
        "turns": tuple(
            TurnRecord(
                position=turn,
                node="rank" if action == "recommend" else "reason",
                action=action,  # type: ignore[arg-type]
                preference=searches[turn] if turn < len(searches) else None,
                prompt_ids=tuple(range(1, tokens + 1)),
                completion_ids=tuple(range(11, tokens + 11)),
                logprobs=(-0.5,) * tokens,
                chained=True,
                prompt_tokens=tokens * (2 * turn + 1),
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
        "written": tuple(
            RecommendationRecord(rank=rank, item_id=item, retrieval=0, score=0.5, source="written")
            for rank, item in enumerate(written, start=1)
        ),
        "recommended": (),
        "rewards": (),
    }
    return RunTrace(**values | changes)


def store_runs(store: TraceStore, *traces: RunTrace) -> list[RunTrace]:
    """Write whole runs and give them back."""
    store.write_runs(traces)
    return list(traces)
