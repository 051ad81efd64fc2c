"""One run in a terminal. Text of a model, a catalogue or a person is shown without markup and without control codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deeprec.agent.traces.records import RecommendationRecord, RetrievalRecord, RunTrace, TurnRecord
from deeprec.agent.views.run_facts import (
    FoundItem,
    Titles,
    constraint_lines,
    duration,
    fork_line,
    found_items,
    held_out_line,
    lineage,
    model_name,
    origin,
    retrieval_facts,
    retrievals_of,
    reward_text,
    score_text,
    shown_history,
    turn_cost,
)
from deeprec.agent.views.tokens import LEVELS, TokenTexts, least_likely, level, percent, written_tokens
from deeprec.agent.views.visible_text import visible

_STATUS_STYLES = {"finished": "green", "running": "cyan"}
_HELD_OUT = " ★"
_MAX_HISTORY = 20
"""Items of the history that are listed for a run without a model, which logs no limit of its own."""
# The likeliest first; black on light, which reads on a dark and on a light terminal.
_TOKEN_STYLES = ("", "black on #fdecd2", "black on #f8cd92", "black on #f0a457", "bold black on #e0782c")


def render_run(
    trace: RunTrace,
    titles: Titles | None = None,
    tokens: TokenTexts | None = None,
    *,
    show_tokens: bool = False,
) -> RenderableType:
    """Return a run for a terminal: the request, each turn with its retrievals, and the ranked list with its origins.

    Args:
        trace: the run.
        titles: what the items are called; without it (and for items it lacks) ids stand alone.
        tokens: token ids to one text each, from `read_tokenizer`; without it the ids are shown.
        show_tokens: show what the policy wrote token by token, coloured by logprob.
    """
    parts: list[RenderableType] = [_headline(trace), *_request(trace, titles)]
    if trace.run.history:
        earlier, shown = shown_history(trace.run, _MAX_HISTORY)
        left_out = f" ({len(earlier)} earlier items left out)" if earlier else ""
        parts.append(heading(f"History, oldest first{left_out}"))
        history = _table("item", "", header=False)
        for item_id in shown:
            history.add_row(_id(item_id), _title(item_id, titles))
        parts.append(Padding(history, (0, 0, 0, 2)))
    found = found_items(trace)
    for turn in trace.turns:
        parts += _turn(turn, len(trace.turns))
        if show_tokens and turn.completion_ids:
            parts += _tokens(turn, tokens)
        for retrieval in retrievals_of(trace, turn):
            parts += _retrieval(retrieval, found[retrieval.position], trace, titles)
    parts += _lists(trace, titles)
    if trace.scores:
        parts.append(heading("Rewards"))
        parts += [line(f"{reward.scheme} {reward.component}: {reward_text(reward.value)}") for reward in trace.scores]
    parts.append(heading("Lineage"))
    parts += [line(f"{name}: {value}", style="dim") for name, value in lineage(trace)]
    return Group(*parts)


def _headline(trace: RunTrace) -> Text:
    status = Text(visible(trace.status, 40), style=_STATUS_STYLES.get(trace.status, "yellow"))
    if trace.incomplete:
        status.append(" (incomplete: the trace store failed, steps may be missing)", style="red")
    for is_so, word in ((trace.pinned, "pinned"), (trace.redacted_at, "redacted")):
        status.append(f", {word}" if is_so else "")
    started = trace.started_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Text.assemble(("Run ", "bold"), (str(trace.run.run_id), "bold"), "  ", status, f"  {started}")


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _request(trace: RunTrace, titles: Titles | None) -> Iterable[RenderableType]:
    run = trace.run
    tokens = sum(turn.completion_tokens for turn in trace.turns)
    took = "" if (time := duration(trace.latency_ms)) is None else f", {time}"
    trust = run.config.get("trust")
    trusted = "" if trust is None else f"; preferences trusted {visible(str(trust), 20)}"
    yield line(
        f"{run.protocol} protocol, {'guided' if run.guided else 'free'}, {model_name(trace)}; "
        f"{_counted(len(trace.turns), 'turn')}, {_counted(len(trace.retrievals), 'retrieval')}, "
        f"{_counted(tokens, 'token')} written{took}{trusted}"
    )
    if run.user_id is not None:
        yield line(f"user {run.user_id}")
    if run.message:
        yield line(f"message: {run.message}")
    if run.target_id is not None:
        held_out = Text("★ held out: ").append_text(_id(run.target_id)).append("  ")
        yield Padding(held_out.append_text(_title(run.target_id, titles)), (0, 0, 0, 2))
        yield line(f"  {held_out_line(trace)}")
    if fork := fork_line(trace):
        yield line(fork, style="cyan")
    if trace.detail:
        yield line(f"note: {trace.detail}", style="yellow")


def _turn(turn: TurnRecord, turns: int) -> Iterable[RenderableType]:
    yield heading(f"Turn {turn.position + 1} of {turns}: {turn.action}")
    yield line(turn_cost(turn), style="dim")
    if turn.thought:
        yield line(turn.thought, style="italic")
    if turn.preference is not None:
        asked = turn.preference or "none, for the recommender's own list"
        yield line(f"preference: {asked}", style="cyan")
    if turn.action in ("malformed", "unavailable") and turn.text and turn.text.strip() != turn.thought:
        yield line(f"wrote: {turn.text}")
    if turn.detail:
        yield line(f"note: {turn.detail}", style="yellow")


def _tokens(turn: TurnRecord, tokens: TokenTexts | None) -> Iterable[RenderableType]:
    """What the policy wrote, token by token; the least likely in words too, for a terminal without colours."""
    texts, logprobs = written_tokens(turn, tokens)
    legend = Text("probability: ", style="dim")
    for (_, words), style in zip(LEVELS, _TOKEN_STYLES, strict=True):
        legend.append(words, style=style).append("  ")
    yield Padding(legend, (0, 0, 0, 2))
    written = Text()
    for text, logprob in zip(texts, logprobs, strict=True):
        style = "" if (number := level(logprob)) is None else _TOKEN_STYLES[number]
        written.append(visible(text.replace("\n", "↵"), 200), style=style)
    yield Padding(written, (0, 0, 0, 2))
    worst = [f"{texts[at].strip()!r} {percent(logprobs[at])} at position {at + 1}" for at in least_likely(logprobs)]
    if worst:
        yield line(f"least likely: {', '.join(worst)}", style="dim")


def _retrieval(
    retrieval: RetrievalRecord, items: Sequence[FoundItem], trace: RunTrace, titles: Titles | None
) -> Iterable[RenderableType]:
    table = _table("", "item", "", "score", "")
    for item in items:
        note = Text(item.note, style="green" if item.is_new else "dim")
        if item.is_target:
            note.append(_HELD_OUT, style="bold magenta")
        table.add_row(str(item.rank), _id(item.item_id), _title(item.item_id, titles), score_text(item.score), note)
    yield line(f"retrieval {retrieval.position + 1}: {', '.join(retrieval_facts(retrieval, items, trace))}")
    for stated in constraint_lines(retrieval.constraints):
        yield line(stated, style="yellow" if not stated.startswith("kept") else "green")
    if retrieval.unenforced:
        yield line(f"not enforceable: {', '.join(retrieval.unenforced)}", style="yellow")
    if retrieval.detail:
        yield line(f"note: {retrieval.detail}", style="yellow")
    if retrieval.items:
        yield Padding(table, (0, 0, 0, 4))


def _lists(trace: RunTrace, titles: Titles | None) -> Iterable[RenderableType]:
    if not trace.recommended and not trace.written:
        return
    yield heading("Ranked list, as shown, beside what the model wrote")
    table = _table("", "item", "", "score", "from", "", "model wrote")
    shown = {entry.rank: entry for entry in trace.recommended}
    written = {entry.rank: entry for entry in trace.written}
    for rank in sorted({*shown, *written}):
        cells: list[str | Text] = [""] * 5
        if entry := shown.get(rank):
            source = Text(entry.source)
            if entry.item_id == trace.run.target_id:
                source.append(_HELD_OUT, style="bold magenta")
            came = Text(origin(entry, trace)) if entry.retrieval is not None else Text("–", style="dim")
            cells = [_id(entry.item_id), _title(entry.item_id, titles), score_text(entry.score), came, source]
        table.add_row(str(rank), *cells, _written(written.get(rank)))
    yield Padding(table, (0, 0, 0, 2))
    if trace.ungrounded:
        yield line(f"Entries of the model's list that name no candidate: {trace.ungrounded}", style="yellow")


def _written(entry: RecommendationRecord | None) -> Text:
    if entry is None:
        return Text("–", style="dim")
    text = Text(visible(entry.item_id))
    return text if entry.retrieval is not None else text.append(" (not retrieved)", style="yellow")


def _id(item_id: str) -> Text:
    return Text(visible(item_id, 40), style="bold")


def _title(item_id: str, titles: Titles | None) -> Text:
    title = visible(titles.summary(item_id), 100) if titles is not None and item_id in titles else ""
    return Text(title, no_wrap=True, overflow="ellipsis")


def _table(*headers: str, header: bool = True) -> Table:
    """Columns by their headings; the one after "item" holds titles and is the one that shrinks."""
    table = Table(
        box=box.SIMPLE_HEAD if header else None,
        pad_edge=False,
        show_edge=False,
        show_header=header,
        collapse_padding=True,
    )
    for position, name in enumerate(headers):
        right = name == "score" or (name == "" and position == 0)
        title = position > 0 and headers[position - 1] == "item"
        table.add_column(name, justify="right" if right else "left", no_wrap=not title, overflow="fold")
    return table


def heading(text: str) -> Padding:
    """Return a heading, with an empty line before it."""
    return Padding(Text(visible(text), style="bold"), (1, 0, 0, 0))


def line(text: str, style: str = "") -> Padding:
    """Return a paragraph, indented under its heading."""
    return Padding(Text(visible(text), style=style), (0, 0, 0, 2))
