"""A comparison of two runs in words, for the terminal and the page alike."""

from __future__ import annotations

import json
import math
from typing import Any

from deeprec.agent.views.comparison import ListMove, RunComparison

_REQUEST_WORDS = {"user_id": "another user", "history": "another history", "message": "another message"}
_RELATIONS = {
    "replay": "One is a replay of the other.",
    "fork": "One is a fork of the other: a preference or the request was edited.",
    "siblings": "Both were made from the same run.",
}


def warning(comparison: RunComparison) -> str | None:
    """Return what makes the two hard to compare; None where both had the same request."""
    if not comparison.request:
        return None
    words = [_REQUEST_WORDS.get(part.name, "another held-out item") for part in comparison.request]
    return (
        f"The two had different requests ({', '.join(words)}): what differs below may come from that rather than "
        "from the policies."
    )


def verdict(comparison: RunComparison) -> list[str]:
    """Return where the two differ, in a few sentences."""
    lines = [_RELATIONS[comparison.relation]] if comparison.relation else []
    if comparison.is_same:
        lines.append("They went the same way: the same turns, the same items found, the same list.")
    elif comparison.first_turn is None:
        lines.append("Every turn is the same; the lists differ.")
    else:
        parts = [f"They first differ in turn {comparison.first_turn + 1}"]
        for what, first in (("thought", comparison.first_thought), ("preference", comparison.first_preference)):
            if first is not None:
                parts.append(f"the {what} first differs in turn {first + 1}")
        lines.append("; ".join(parts) + ".")
    if token := comparison.first_token:
        by = "the policy wrote" if token.by == "policy" else "the prompt or the tool put there"
        lines.append(
            f"The first token that differs is at position {token.position:,} (counted from 0), in turn "
            f"{token.turn + 1}; {by} {_token(token.left)} in A, {_token(token.right)} in B."
        )
    elif not math.isnan(comparison.largest_logprob_difference):
        lines.append("All tokens are the same.")
    if not math.isnan(comparison.largest_logprob_difference):
        lines.append(
            f"Up to there, logprobs of the same token differ by at most {comparison.largest_logprob_difference:.2g}."
        )
    if not math.isnan(comparison.overlap):
        lines.append(
            f"Both found {len(comparison.both)} items, only A {len(comparison.only_left)}, only B "
            f"{len(comparison.only_right)}: {comparison.overlap:.0%} in common."
        )
    return lines


def move_text(move: ListMove) -> str:
    """Return what became of an item from list A to list B."""
    if move.left is None:
        return "only in B"
    if move.right is None:
        return "only in A"
    by = move.left - move.right
    if by == 0:
        return "same position"
    return f"{'up' if by > 0 else 'down'} {abs(by)} from position {move.left}"


def setting_text(value: Any) -> str:
    """Return a value of the settings in words; "–" for a missing one."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def difference_text(value: float) -> str:
    """Return a difference with its sign; "–" where one of the two scores is missing."""
    return "–" if math.isnan(value) else f"{value:+.4g}" if value else "0"


def _token(token: int | None) -> str:
    return "nothing" if token is None else f"token {token}"
