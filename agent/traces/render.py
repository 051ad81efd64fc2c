"""One run in a terminal. All text of a model, a catalogue or a user is shown as it is: no markup, no control codes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any, Protocol

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deeprec.agent.traces.records import RecommendationRecord, RetrievalRecord, RunTrace, TurnRecord

# Control, format (bidi, zero width), surrogate, private use and unassigned characters; line and paragraph separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_STATUS_STYLES = {"finished": "green", "running": "cyan"}
_MAX_CHARS = 4_000


class Titles(Protocol):
    """Where the words for an item id come from; a `Catalogue`, usually."""

    def __contains__(self, item_id: object, /) -> bool:
        """Whether the item is known."""

    def summary(self, item_id: str, /) -> str:
        """The item in one short line."""


def visible(text: str, max_chars: int = _MAX_CHARS) -> str:
    r"""Text on one line that cannot steer a terminal: invisible characters become escapes (``\x1b``, ``\u202e``)."""
    shown = "".join(
        " " if char in "\n\r\t" else char if unicodedata.category(char) not in _INVISIBLE else _escape(char)
        for char in text[: max_chars + 1]
    )
    return shown if len(shown) <= max_chars else shown[: max_chars - 1] + "…"


def render_run(trace: RunTrace, titles: Titles | None = None) -> RenderableType:
    """A run as one page: the request, each turn with what came back, and the ranked list with where it came from.

    Args:
        trace: the run.
        titles: what the items are called; without it (and for items it lacks) ids stand alone.
    """
    parts: list[RenderableType] = [_headline(trace), *_request(trace, titles)]
    if trace.run.history:
        parts.append(_heading(f"History, oldest first ({len(trace.run.history)} items)"))
        parts += [Padding(_item(item_id, trace, titles), (0, 0, 0, 2)) for item_id in trace.run.history]
    found_in: dict[str, int] = {}
    for turn in trace.turns:
        parts += _turn(turn, len(trace.turns))
        for retrieval in trace.retrievals:
            if retrieval.turn == turn.position:
                parts += _retrieval(retrieval, trace, found_in, titles)
    parts += _lists(trace, titles)
    if trace.rewards:
        parts.append(_heading("Rewards"))
        parts += [_line(f"{reward.scheme} {reward.component}: {reward.value:.4g}") for reward in trace.rewards]
    return Group(*parts)


def _headline(trace: RunTrace) -> Text:
    status = Text(trace.status, style=_STATUS_STYLES.get(trace.status, "yellow"))
    if trace.incomplete:
        status.append(" (incomplete: the trace store failed, steps may be missing)", style="red")
    started = trace.started_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Text.assemble(("Run ", "bold"), (str(trace.run.run_id), "bold"), "  ", status, f"  {started}")


def _request(trace: RunTrace, titles: Titles | None) -> Iterable[RenderableType]:
    run = trace.run
    model = run.policy_model if run.adapter is None else f"{run.policy_model} + {run.adapter}"
    tokens = sum(turn.completion_tokens for turn in trace.turns)
    yield _line(
        f"{run.protocol} protocol, {'guided' if run.guided else 'free'}, {model}; {len(trace.turns)} turns, "
        f"{len(trace.retrievals)} retrievals, {tokens} tokens written{_seconds(trace.latency_ms, ', ')}"
    )
    if run.user_id is not None:
        yield _line(f"user {run.user_id}")
    if run.message:
        yield _line(f"message: {run.message}")
    if run.target_id is not None:
        yield Padding(Text("held out: ").append_text(_item(run.target_id, trace, titles)), (0, 0, 0, 2))
    if trace.detail:
        yield _line(f"note: {trace.detail}", style="yellow")


def _turn(turn: TurnRecord, turns: int) -> Iterable[RenderableType]:
    yield _heading(f"Turn {turn.position + 1} of {turns}: {turn.action}")
    yield _line(
        f"{turn.prompt_tokens} tokens read, {turn.completion_tokens} written{_seconds(turn.latency_ms, ', ')}"
        + ("" if turn.finish_reason in (None, "stop") else f", ended by {turn.finish_reason}"),
        style="dim",
    )
    if turn.thought:
        yield _line(turn.thought, style="italic")
    if turn.preference is not None:
        yield _line(f"preference: {turn.preference}", style="cyan")
    if turn.action in ("malformed", "unavailable") and turn.text:
        yield _line(f"wrote: {turn.text}")
    if turn.detail:
        yield _line(f"note: {turn.detail}", style="yellow")


def _retrieval(
    retrieval: RetrievalRecord, trace: RunTrace, found_in: dict[str, int], titles: Titles | None
) -> Iterable[RenderableType]:
    table = _table("", "item", "score", "")
    for rank, item in enumerate(retrieval.items, start=1):
        if item.id in found_in:
            note = Text(f"seen in retrieval {found_in[item.id]}", style="dim")
        elif item.id in trace.run.history:
            note = Text("in the history", style="dim")
        else:
            note = Text("new", style="green")
        found_in.setdefault(item.id, retrieval.position + 1)
        table.add_row(str(rank), _item(item.id, trace, titles), f"{item.score:.3f}", note)
    target = trace.run.target_id
    if target is None:
        held_out = ""
    elif target in {item.id for item in retrieval.items}:
        held_out = "; the held-out item is among them"
    else:
        held_out = "; the held-out item is not among them"
    heading = f"retrieval {retrieval.position + 1}: {len(retrieval.items)} items{_seconds(retrieval.latency_ms, ', ')}"
    yield _line(heading + held_out)
    if retrieval.unenforced:
        yield _line(f"not enforceable: {', '.join(retrieval.unenforced)}", style="yellow")
    if retrieval.detail:
        yield _line(f"note: {retrieval.detail}", style="yellow")
    if retrieval.items:
        yield Padding(table, (0, 0, 0, 4))


def _lists(trace: RunTrace, titles: Titles | None) -> Iterable[RenderableType]:
    if not trace.recommended and not trace.written:
        return
    yield _heading("Ranked list, as shown, beside what the model wrote")
    table = _table("", "item", "score", "from", "", "model wrote")
    shown = {line.rank: line for line in trace.recommended}
    written = {line.rank: line for line in trace.written}
    for rank in sorted({*shown, *written}):
        cells: list[str | Text] = ["", "", "", ""]
        if line := shown.get(rank):
            score = "" if line.score is None else f"{line.score:.3f}"
            cells = [_item(line.item_id, trace, titles), score, _origin(line, trace), Text(line.source)]
        table.add_row(str(rank), *cells, _written(written.get(rank)))
    yield Padding(table, (0, 0, 0, 2))
    if trace.ungrounded:
        yield _line(f"The model also named {trace.ungrounded} that no retrieval had found.", style="yellow")


def _written(line: RecommendationRecord | None) -> Text:
    if line is None:
        return Text("–", style="dim")
    text = Text(visible(line.item_id))
    return text if line.retrieval is not None else text.append(" (never retrieved)", style="yellow")


def _origin(line: RecommendationRecord, trace: RunTrace) -> Text:
    if line.retrieval is None:
        return Text("–", style="dim")
    turn = next((found.turn for found in trace.retrievals if found.position == line.retrieval), None)
    return Text(f"retrieval {line.retrieval + 1}" if turn is None else f"turn {turn + 1}")


def _item(item_id: str, trace: RunTrace, titles: Titles | None) -> Text:
    text = Text(visible(item_id, 60), style="bold")
    if titles is not None and item_id in titles:
        text.append(f"  {visible(titles.summary(item_id), 100)}", style="not bold")
    if item_id == trace.run.target_id:
        text.append("  ★ held out", style="bold magenta")
    return text


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        right = header in ("", "score") and not (header == "" and table.columns)
        columns: dict[str, Any] = {"justify": "right" if right else "left"}
        table.add_column(header, no_wrap=header != "item", overflow="fold", **columns)
    return table


def _heading(text: str) -> Padding:
    return Padding(Text(visible(text), style="bold"), (1, 0, 0, 0))


def _line(text: str, style: str = "") -> Padding:
    return Padding(Text(visible(text), style=style), (0, 0, 0, 2))


def _seconds(latency_ms: float | None, before: str) -> str:
    return "" if latency_ms is None or latency_ms != latency_ms else f"{before}{latency_ms / 1000:.2f} s"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
