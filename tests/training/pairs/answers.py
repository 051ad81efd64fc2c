"""Runs of one turn, of given tokens and text."""

from __future__ import annotations

from typing import Any

from deeprec.agent.traces import RunTrace, TurnRecord
from tests.made_runs import made_run


def answered(
    group: str,
    answer: tuple[int, ...],
    *,
    text: str,
    prompt: tuple[int, ...] = (1, 2, 3),
    run: dict[str, Any] | None = None,
    **changes: Any,
) -> RunTrace:
    """A finished run that answers a prompt in one turn; its recommender was trained without the target."""
    turn = TurnRecord(
        position=0,
        node="rank",
        action="recommend",
        prompt_ids=prompt,
        completion_ids=answer,
        logprobs=(-0.5,) * len(answer),
        chained=True,
        prompt_tokens=len(prompt),
        completion_tokens=len(answer),
        latency_ms=1.0,
        text=text,
    )
    return made_run(group=group, run={"trm_holdout": 3, **(run or {})}, turns=(turn,), retrievals=(), **changes)
