"""Runs to inspect: one that has everything a page can show, one that is nothing but attacks."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from deeprec.agent.traces import (
    RecommendationRecord,
    RetrievalRecord,
    RewardRecord,
    RunTrace,
    TurnRecord,
)
from deeprec.trm_tool import ScoredItem
from tests import made_runs

RUN = UUID("7c1e93aa-4d0b-4c5e-9f65-2b0c6b1f4a11")
HISTORY = ("900", "893", "886")
TARGET = "851"
FOUND = (("872", "865", "900"), ("872", TARGET, "844"))

MARKUP = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<svg onload=document.title='owned'></svg><style>*{display:none}</style><b id=planted>planted</b>"
    "\"' onmouseover=document.title='owned' autofocus onfocus=document.title='owned' x='"
    "--></style></title></textarea></details></bdi></table></main>&#60;script&#62;"
    "[x](javascript:document.title='owned') javascript:document.title='owned' **md** ${1} {{1}} "
)
STEERING = "\u202egnp.exe\u202c \u2066\u2067 \u200b\u200d\ufeff \x1b[2J\x1b]0;owned\x07 \x00 \ud800 \u2028 "
STEERING_CHARS = frozenset("\u202e\u2066\u200b\x1b\x00\ud800\u2028")
"""Characters of `STEERING` that must not reach a terminal or a page."""
PILED = "Z" + "\u0335\u0300" * 400
HOSTILE = MARKUP + STEERING + PILED + " مرحبا " + "W" * 10_000


class Named:
    """One title for every item."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __contains__(self, item_id: object) -> bool:
        return True

    def summary(self, item_id: str) -> str:
        return f"{self.title} {item_id[:5]}"


CONSTRAINTS: dict[str, Any] = {
    "hard": [{"text": "not horror", "where": {}, "source": "message", "words": "no horror"}],
    "guessed": [{"text": "only 1980s", "where": {}, "why": "the person's words do not say so"}],
    "unenforceable": ["not scary"],
}


def place(rank: int, item_id: str, retrieval: int | None, source: Any) -> RecommendationRecord:
    return made_runs.made_place(rank, item_id, retrieval, source, None if retrieval is None else 0.5)


def made_turn(position: int, **changes: Any) -> TurnRecord:
    """A turn of 4 + 3 tokens that searches."""
    values: dict[str, Any] = {
        "prompt_ids": tuple(range(10 * position, 10 * position + 4)),
        "completion_ids": (100 + position, 7, 2),
        "logprobs": (-0.01, -0.7, -4.0),
        "text": f"<think>Thought {position + 1}.</think>",
        "thought": f"Thought {position + 1}.",
        "preference": ("sci-fi; 1980s", "comedy; paris")[position % 2],
        "prompt_tokens": 7 * position + 4,
        "latency_ms": 1830.0,
    }
    return made_runs.made_turn(position, **values | changes)


def made_retrieval(position: int, **changes: Any) -> RetrievalRecord:
    values: dict[str, Any] = {
        "preference": "sci-fi",
        "items": tuple(ScoredItem(item, 0.9 - rank / 10) for rank, item in enumerate(FOUND[position % 2])),
        "unenforced": (),
        "latency_ms": 31.0,
    }
    return made_runs.made_retrieval(position, **values | changes)


def made_run(run: dict[str, Any] | None = None, **changes: Any) -> RunTrace:
    """Two searches and a list, of the tiny catalogue; `run` changes its record, the rest the trace."""
    record: dict[str, Any] = {
        "run_id": RUN,
        "user_id": "u3",
        "history": HISTORY,
        "target_id": TARGET,
        "policy_model": "SmolLM2",
        "sampling": {"temperature": 1.0},
        "config": {"max_turns": 3},
        "seed": 7,
        "versions": {"deeprec-agent": "0.1.0"},
        "split": None,
        "suite": None,
        "group_id": None,
        "parent_id": None,
    }
    values: dict[str, Any] = {
        "started_at": datetime(2026, 11, 21, 9, 14, 3, tzinfo=UTC),
        "finished_at": datetime(2026, 11, 21, 9, 14, 10, tzinfo=UTC),
        "latency_ms": 7420.0,
        "ungrounded": 1,
        "turns": (
            made_turn(0),
            made_turn(1),
            made_turn(2, node="rank", action="recommend", preference=None, items=("872", "900")),
        ),
        "retrievals": (made_retrieval(0), made_retrieval(1, unenforced=("runtime",), constraints=CONSTRAINTS)),
        "written": (
            place(1, "872", 0, "written"),
            place(2, "900", 0, "written"),
            place(3, "872", 0, "written"),
            place(4, "777", None, "written"),
        ),
        "recommended": (
            place(1, "872", 0, "written"),
            place(2, "900", 0, "written"),
            place(3, TARGET, 1, "filled"),
        ),
        "rewards": (
            RewardRecord(scheme="paper", component="format", value=1.0),
            RewardRecord(scheme="paper", component="judge", value=math.nan),
        ),
    }
    return made_runs.made_trace(made_runs.made_record(**record | (run or {})), **values | changes)


def hostile_run(text: str = HOSTILE) -> RunTrace:
    """A run with an attack in every place that holds text."""
    base = made_run(
        {
            "user_id": text,
            "history": (text, f"{text} 2"),
            "message": text,
            "target_id": text,
            "protocol": text,
            "protocol_version": text,
            "prompt_version": text,
            "policy_model": text,
            "adapter": text,
            "adapter_version": text,
            "trm_fingerprint": text,
            "dataset_fingerprint": text,
            "sampling": {text: text},
            "config": {text: [text]},
            "versions": {text: text},
            "split": text,
            "suite": text,
            "group_id": text,
            "parent_id": UUID(int=5),
            "fork": {"turn": 1, "preference": text},
        }
    )
    texts = {"text": text, "thought": text, "preference": text, "detail": text, "finish_reason": text, "items": (text,)}
    return replace(
        base,
        status="budget",
        detail=text,
        turns=(
            made_turn(0, messages=[{"role": text, text: text}], **texts),
            made_turn(1, action="malformed", **texts),
            made_turn(2, action="recommend", node="rank", **texts),
        ),
        retrievals=(
            made_retrieval(
                0,
                items=(ScoredItem(text, 1.0), ScoredItem(f"{text} 3", 0.5)),
                unenforced=(text,),
                constraints={"hard": [{"text": text, "words": text}], "guessed": text, "unenforceable": [text, 7]},
            ),
            made_retrieval(1, items=(ScoredItem(text, 1.0),), detail=text, preference=text),
        ),
        written=(place(1, text, 0, "written"), place(2, text, None, "written")),
        recommended=(place(1, text, 0, "written"), place(2, f"{text} 3", 0, "filled")),
        rewards=(RewardRecord(scheme=text, component=text, value=math.nan),),
    )
