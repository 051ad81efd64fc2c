"""Two runs beside one another as self-contained HTML."""

from __future__ import annotations

from dataclasses import dataclass

from deeprec.agent.traces.records import RunTrace, TurnRecord
from deeprec.agent.views.comparison import RunComparison, TurnComparison, compare_runs
from deeprec.agent.views.comparison_words import move_text, verdict, warning
from deeprec.agent.views.html.environment import render_page
from deeprec.agent.views.html.run_page import Badge, ItemRow, RunView, found_row
from deeprec.agent.views.run_facts import FoundItem, Titles, found_items, retrievals_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two runs."""

    name: str
    """A or B."""
    view: RunView
    found: dict[int, list[FoundItem]]
    listed: list[ItemRow]
    """The list as shown, with what became of each item in the other one."""

    @property
    def found_in(self) -> dict[str, int]:
        """Item id -> number, from 1, of the turn whose retrieval returned it first."""
        turns = {retrieval.position: retrieval.turn + 1 for retrieval in self.view.trace.retrievals}
        return {item.item_id: turns[at] for at, items in reversed(self.found.items()) for item in items}


def compare_html(left: RunTrace, right: RunTrace, titles: Titles | None = None) -> str:
    """Return two runs as one whole document, `left` called A and `right` B. It fetches nothing and runs nothing.

    Args:
        left: the run to compare with: the original, or the older policy.
        right: the other one.
        titles: what the items are called; without it ids stand alone.
    """
    return _render(left, right, titles, is_fragment=False)


def compare_fragment(left: RunTrace, right: RunTrace, titles: Titles | None = None) -> str:
    """Return `compare_html` as a part of a page, for a notebook's rich display."""
    return _render(left, right, titles, is_fragment=True)


def _render(left: RunTrace, right: RunTrace, titles: Titles | None, *, is_fragment: bool) -> str:
    comparison = compare_runs(left, right)
    sides = [
        Side(name=name, view=view, found=found_items(view.trace), listed=_listed(name, view, comparison))
        for name, view in (("A", RunView(trace=left, titles=titles)), ("B", RunView(trace=right, titles=titles)))
    ]
    return render_page(
        "comparison.html.j2",
        is_fragment=is_fragment,
        level=3 if is_fragment else 1,
        comparison=comparison,
        warning=warning(comparison),
        verdict=verdict(comparison),
        sides=sides,
        turns=[
            {
                "number": turn.position + 1,
                "badges": _badges(turn),
                "sides": [
                    (side, record, [] if record is None else _retrievals(record, side, other))
                    for side, other, record in zip(sides, reversed(sides), (turn.left, turn.right), strict=True)
                ],
            }
            for turn in comparison.turns
        ],
    )


def _badges(turn: TurnComparison) -> list[Badge]:
    if turn.same_tokens:
        return [("the same text in both", "")]
    if not turn.left or not turn.right:
        return [("only in A" if turn.left else "only in B", "warn")]
    parts = (("thought", turn.same_thought), ("preference", turn.same_preference))
    return [(f"another {words}", "warn") for words, is_same in parts if not is_same] or [("another text", "warn")]


def _retrievals(turn: TurnRecord, side: Side, other: Side) -> list[tuple[str, list[ItemRow]]]:
    """Caption and items of each retrieval of a turn, with the turn in which the other run found each item."""
    tables, found_in = [], other.found_in
    for retrieval in retrievals_of(side.view.trace, turn):
        items = side.found[retrieval.position]
        alone = sum(item.item_id not in found_in for item in items)
        rows = []
        for item in items:
            number = found_in.get(item.item_id)
            if number is None:
                mark = ("only here", "warn")
            else:
                mark = ("in both" if number == turn.position + 1 else f"{other.name}: turn {number}", "")
            rows.append(found_row(item, mark))
        tables.append((f"{len(items)} items, {alone} of them in this run alone", rows))
    return tables


def _listed(name: str, view: RunView, comparison: RunComparison) -> list[ItemRow]:
    moves = {move.item_id: move for move in comparison.moves}
    rows = []
    for line in view.trace.recommended:
        move = moves[line.item_id]
        is_in_both = move.left is not None and move.right is not None
        has_moved = move.left != move.right
        # A's list says where an item went, B's where it came from.
        text = f"position {move.right} in B" if name == "A" and is_in_both and has_moved else move_text(move)
        rows.append(view.list_row(line, [(text, "warn" if not is_in_both else "call" if has_moved else "")]))
    return rows
