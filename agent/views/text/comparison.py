"""A comparison in words, and in a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deeprec.agent.traces.records import RunTrace, TurnRecord
from deeprec.agent.views.comparison import ListMove, RunComparison, TurnComparison, compare_runs
from deeprec.agent.views.run_facts import model_name, reward_text
from deeprec.agent.views.text.run import Titles, visible

_REQUEST_WORDS = {"user_id": "another user", "history": "another history", "message": "another message"}
_RELATIONS = {
    "replay": "One is a replay of the other.",
    "fork": "One is a fork of the other: the preference of one turn was edited.",
    "siblings": "Both were made from the same run.",
}


def warning(comparison: RunComparison) -> str | None:
    """What makes the two hard to compare; None where they were asked the same."""
    if not comparison.request:
        return None
    words = [_REQUEST_WORDS.get(part.name, "another held-out item") for part in comparison.request]
    return (
        f"The two were asked different things ({', '.join(words)}): what differs below may come from that rather than "
        "from the policies."
    )


def verdict(comparison: RunComparison) -> list[str]:
    """Where the two part, in a few sentences."""
    lines = [_RELATIONS[comparison.relation]] if comparison.relation else []
    if comparison.is_same:
        lines.append("They went the same way: the same turns, the same items found, the same list.")
    elif comparison.first_turn is None:
        lines.append("Every turn is the same; the lists differ.")
    else:
        parted = [f"They part in turn {comparison.first_turn + 1}"]
        for what, first in (("thought", comparison.first_thought), ("preference", comparison.first_preference)):
            if first is not None:
                parted.append(f"the {what} first differs in turn {first + 1}")
        lines.append("; ".join(parted) + ".")
    if token := comparison.first_token:
        by = "the policy wrote" if token.by == "policy" else "the prompt or the tool put there"
        lines.append(
            f"The first token that differs is at place {token.position:,} (counted from 0), in turn {token.turn + 1}; "
            f"{by} {_token(token.left)} in A, {_token(token.right)} in B."
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
    """What became of an item from list A to list B."""
    if move.left is None:
        return "only in B"
    if move.right is None:
        return "only in A"
    by = move.left - move.right
    if by == 0:
        return "same place"
    return f"{'up' if by > 0 else 'down'} {abs(by)} from place {move.left}"


def setting_text(value: Any) -> str:
    """A value of the setting in words."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def render_comparison(left: RunTrace, right: RunTrace, titles: Titles | None = None) -> RenderableType:
    """Two runs in a terminal: what differs in the setting, then turn by turn, then the lists and rewards."""
    comparison = compare_runs(left, right)
    parts: list[RenderableType] = []
    for side, trace in (("A", left), ("B", right)):
        name = f"{trace.run.run_id}  {trace.status}  {model_name(trace)}"
        parts.append(Text.assemble((f"{side}  ", "bold"), visible(name, 300)))
    if told := warning(comparison):
        parts.append(Text(told, style="yellow"))
    parts += [Text(line) for line in verdict(comparison)]
    if comparison.setting:
        parts.append(_heading("Different in the setting"))
        rows = [(part.name, setting_text(part.left), setting_text(part.right)) for part in comparison.setting]
        parts.append(_table(("", "A", "B"), rows))
    for turn in comparison.turns:
        parts += _turn(turn, titles)
    if comparison.moves:
        parts.append(_heading("The lists as shown, in B's order"))
        moves = [
            (_rank(move.left), _rank(move.right), _item(move.item_id, titles), move_text(move))
            for move in comparison.moves
        ]
        parts.append(_table(("A", "B", "item", ""), moves))
    if comparison.rewards:
        parts.append(_heading("Rewards"))
        rewards = [
            (f"{r.scheme} {r.component}", reward_text(r.left), reward_text(r.right), difference_text(r.difference))
            for r in comparison.rewards
        ]
        parts.append(_table(("", "A", "B", "B − A"), rewards))
    return Group(*parts)


def difference_text(value: float) -> str:
    """A difference with its sign; that of a missing score is missing."""
    return "–" if math.isnan(value) else f"{value:+.4g}" if value else "0"


def _turn(turn: TurnComparison, titles: Titles | None) -> list[RenderableType]:
    same = "the same in both" if turn.same_tokens else "differs"
    parts: list[RenderableType] = [_heading(f"Turn {turn.position + 1}: {same}")]
    sides = [("A, B", turn.left)] if turn.same_tokens else [("A", turn.left), ("B", turn.right)]
    for name, side in sides:
        parts.append(Padding(Text(f"{name}: {_said(side)}"), (0, 0, 0, 2)))
    for items, words in (
        (turn.both, "both found"),
        (turn.only_left, "only A found"),
        (turn.only_right, "only B found"),
    ):
        if items:
            named = "; ".join(_item(item, titles) for item in items)
            parts.append(Padding(Text(f"{words}: {named}"), (0, 0, 0, 2)))
    return parts


def _said(turn: TurnRecord | None) -> str:
    if turn is None:
        return "no such turn"
    told = [turn.action, turn.thought, turn.preference and f"preference: {turn.preference}", turn.detail]
    return visible(" | ".join(part for part in told if part))


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Padding:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    for name in headers:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell, 300)) for cell in row))
    return Padding(table, (0, 0, 0, 2))


def _heading(text: str) -> Padding:
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))


def _item(item_id: str, titles: Titles | None) -> str:
    known = titles is not None and item_id in titles
    return visible(titles.summary(item_id), 100) if titles is not None and known else visible(item_id, 40)


def _rank(rank: int | None) -> str:
    return "–" if rank is None else str(rank)


def _token(token: int | None) -> str:
    return "nothing" if token is None else f"token {token}"
