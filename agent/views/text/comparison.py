"""Two runs beside one another, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deeprec.agent.traces.records import RunTrace, TurnRecord
from deeprec.agent.views.comparison import TurnComparison, compare_runs
from deeprec.agent.views.comparison_words import difference_text, move_text, setting_text, verdict, warning
from deeprec.agent.views.run_facts import Titles, model_name, reward_text
from deeprec.agent.views.text.run import heading, line
from deeprec.agent.views.visible_text import visible


def render_comparison(left: RunTrace, right: RunTrace, titles: Titles | None = None) -> RenderableType:
    """Return two runs for a terminal: what differs in the settings, then turn by turn, then the lists and rewards."""
    comparison = compare_runs(left, right)
    parts: list[RenderableType] = []
    for side, trace in (("A", left), ("B", right)):
        name = f"{trace.run.run_id}  {trace.status}  {model_name(trace)}"
        parts.append(Text.assemble((f"{side}  ", "bold"), visible(name, 300)))
    if words := warning(comparison):
        parts.append(Text(words, style="yellow"))
    parts += [Text(sentence) for sentence in verdict(comparison)]
    if comparison.setting:
        parts.append(heading("Different in the settings"))
        rows = [(part.name, setting_text(part.left), setting_text(part.right)) for part in comparison.setting]
        parts.append(_table(("", "A", "B"), rows))
    for turn in comparison.turns:
        parts += _turn(turn, titles)
    if comparison.moves:
        parts.append(heading("The lists as shown, in B's order"))
        moves = [
            (_rank(move.left), _rank(move.right), _item(move.item_id, titles), move_text(move))
            for move in comparison.moves
        ]
        parts.append(_table(("A", "B", "item", ""), moves))
    if comparison.rewards:
        parts.append(heading("Rewards"))
        rewards = [
            (f"{r.scheme} {r.component}", reward_text(r.left), reward_text(r.right), difference_text(r.difference))
            for r in comparison.rewards
        ]
        parts.append(_table(("", "A", "B", "B − A"), rewards))
    return Group(*parts)


def _turn(turn: TurnComparison, titles: Titles | None) -> list[RenderableType]:
    same = "the same in both" if turn.same_tokens else "differs"
    parts: list[RenderableType] = [heading(f"Turn {turn.position + 1}: {same}")]
    sides = [("A, B", turn.left)] if turn.same_tokens else [("A", turn.left), ("B", turn.right)]
    for name, side in sides:
        parts.append(line(f"{name}: {_words(side)}"))
    for items, words in (
        (turn.both, "both found"),
        (turn.only_left, "only A found"),
        (turn.only_right, "only B found"),
    ):
        if items:
            named = "; ".join(_item(item, titles) for item in items)
            parts.append(line(f"{words}: {named}"))
    return parts


def _words(turn: TurnRecord | None) -> str:
    if turn is None:
        return "no such turn"
    words = [turn.action, turn.thought, turn.preference and f"preference: {turn.preference}", turn.detail]
    return visible(" | ".join(part for part in words if part))


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Padding:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    for name in headers:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell, 300)) for cell in row))
    return Padding(table, (0, 0, 0, 2))


def _item(item_id: str, titles: Titles | None) -> str:
    known = titles is not None and item_id in titles
    return visible(titles.summary(item_id), 100) if titles is not None and known else visible(item_id, 40)


def _rank(rank: int | None) -> str:
    return "–" if rank is None else str(rank)
