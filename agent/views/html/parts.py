"""The parts of a run's page, from its headline to its lineage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.agent.traces.records import Action, RetrievalRecord, RunTrace, TurnRecord
from deeprec.agent.views.html.markup import Html, Part, as_written, element, join, said
from deeprec.agent.views.html.tokens import TokenTexts, tokens_section
from deeprec.agent.views.run_facts import (
    FoundItem,
    duration,
    fork_line,
    found_by_turn,
    found_items,
    held_out_line,
    model_name,
    score_text,
)
from deeprec.agent.views.text.run import Titles

MAX_TITLE_CHARS = 160
MAX_ID_CHARS = 60
MAX_TEXT_CHARS = 1_200
"""What is shown of a thought, a message or a note before the rest is folded away."""
LONG_HISTORY = 20
"""From how many items on a history is folded away."""

STATUS = {"finished": ("✓ ", "good"), "running": ("… ", "call"), "fallback": ("↩ ", "bad")}
_ACTIONS: dict[Action, tuple[str, str]] = {
    "retrieve": ("searched", "call"),
    "recommend": ("ranked", "good"),
    "malformed": ("malformed", "warn"),
    "unavailable": ("no answer", "bad"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run, with what helps to read it."""

    trace: RunTrace
    titles: Titles | None = None
    """What the items are called; without it, and for items it lacks, ids stand alone."""
    tokens: TokenTexts | None = None
    """The texts of token ids; without it the ids are shown."""

    @property
    def name(self) -> str:
        """The first digits of the run's id."""
        return str(self.trace.run.run_id)[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """How deep a run's headings stand, and whether its sections can be jumped to."""

    level: int = 1
    """Of the run's own heading, 1 to 5."""
    anchors: bool = True
    """Off in a notebook, which may show one run twice: an id must be there once."""

    def heading(self, below: int, *parts: Part, class_: str) -> Html:
        """A heading `below` levels under that of the run."""
        return element(f"h{min(6, self.level + below)}", *parts, class_=class_)

    def anchor(self, view: RunView, name: str) -> str | None:
        """The id of one section, unique on the page."""
        return f"r{view.trace.run.run_id.hex}-{name}" if self.anchors else None


def section(view: RunView, outline: Outline, name: str, label: str, *parts: Part) -> Html:
    """A card with a name for those who jump from region to region."""
    named = label if outline.level == 1 else f"{label} of run {view.name}"
    return element("section", *parts, class_="card", id=outline.anchor(view, name), aria_label=named)


def badge(text: str | Html, kind: str = "") -> Html:
    """A word in a frame; `kind` colours it, and the word says the same."""
    return element("span", text, class_=f"badge {kind}".strip())


def status_badges(trace: RunTrace) -> list[Html]:
    """How the run ended, and whatever is out of the ordinary about its record."""
    sign, kind = STATUS.get(trace.status, ("! ", "warn"))
    badges = [badge(join(element("span", sign, aria_hidden="true"), trace.status), kind)]
    badges += [badge("incomplete", "bad")] if trace.incomplete else []
    badges += [badge("pinned")] if trace.pinned else []
    badges += [badge("redacted", "warn")] if trace.redacted_at else []
    return badges


def facts(pairs: Sequence[tuple[str, str | Html | None]]) -> Html:
    """Short values under their names; those that are None are left out."""
    shown = [
        element("div", element("dt", name), element("dd", value), class_="wide" if name == "model" else None)
        for name, value in pairs
        if value
    ]
    return element("dl", shown, class_="facts")


def long_text(value: str, class_: str, label: str | None = None) -> Html:
    """A paragraph of somebody's words; of very long ones the rest is folded away."""
    name = None if label is None else element("span", label, class_="label")
    if len(value) <= MAX_TEXT_CHARS:
        return element("p", name, said(value), class_=class_)
    rest = element("details", element("summary", f"All {len(value):,} characters"), element("pre", as_written(value)))
    return join(element("p", name, said(value, MAX_TEXT_CHARS), class_=class_), rest)


def headline(view: RunView, outline: Outline) -> Html:
    """Which run this is, how it ended, with what it was made and what it cost."""
    trace = view.trace
    run, turns = trace.run, trace.turns
    read, wrote = (sum(getattr(t, f"{kind}_tokens") for t in turns) for kind in ("prompt", "completion"))
    warnings = [
        trace.incomplete and ("The trace store failed during this run: steps may be missing.", "bad"),
        trace.redacted_at
        and (f"The person's history and words were taken out on {trace.redacted_at:%d %B %Y at %H:%M UTC}.", "warn"),
        trace.detail and (trace.detail, "bad" if trace.status == "fallback" else "warn"),
        (departs := fork_line(trace)) and (departs, "call"),
    ]
    held_out = held_out_line(trace)
    return join(
        outline.heading(0, "Run ", element("code", view.name), status_badges(trace), class_="title"),
        [long_text(told[0], told[1]) for told in warnings if told],
        element("p", element("strong", "★ Held out: "), f"{held_out}.", class_="aim") if held_out else None,
        facts(
            [
                ("model", said(model_name(trace), 120)),
                ("protocol", join(said(run.protocol, 40), ", guided" if run.guided else ", free")),
                ("trust in preferences", None if (trust := run.config.get("trust")) is None else said(str(trust), 20)),
                ("seed", None if run.seed is None else str(run.seed)),
                ("started", f"{trace.started_at:%d %b %Y, %H:%M:%S} UTC"),
                ("took", duration(trace.latency_ms)),
                ("turns and searches", f"{len(turns)} and {len(trace.retrievals)}"),
                ("tokens written", f"{wrote:,}"),
                ("tokens read, over all turns", f"{read:,}"),
            ]
        ),
    )


def item_cell(item_id: str, titles: Titles | None) -> list[Html]:
    """What an item is called, and its id."""
    code = element("code", said(item_id, MAX_ID_CHARS))
    if titles is None or item_id not in titles:
        return [code]
    return [said(titles.summary(item_id), MAX_TITLE_CHARS), Html(" "), code]


def request_section(view: RunView, outline: Outline) -> Html:
    """Who asked for what: message, held-out item, history."""
    run, titles = view.trace.run, view.titles
    told: list[Html] = []
    if run.user_id is not None:
        told.append(element("p", element("span", "user", class_="label"), said(run.user_id, 120)))
    if run.message:
        told.append(long_text(run.message, "thought", "message"))
    if run.target_id is not None:
        star = element("span", "★ held out: what the person chose next, unknown to the model", class_="label")
        told.append(element("p", star, element("span", item_cell(run.target_id, titles), class_="item")))
    if not told:
        told.append(element("p", "No message, no known user.", class_="muted"))
    return section(
        view,
        outline,
        "request",
        "Request",
        outline.heading(1, "Request", class_="head"),
        element("div", element("div", told), element("div", _history(view, outline)), class_="two"),
    )


def _history(view: RunView, outline: Outline) -> list[Html]:
    run = view.trace.run
    if not run.history:
        return [element("p", "Nothing is known of what the person chose before.", class_="muted")]
    limit = run.config.get("max_history")
    shown = len(run.history) if not isinstance(limit, int) or limit < 1 else min(limit, len(run.history))
    hidden = run.history[: len(run.history) - shown]
    line = f"History: {len(run.history)} items, oldest first"
    listed = _listed(run.history[len(hidden) :], view.titles, start=len(hidden) + 1)
    parts = [outline.heading(2, line, class_="sub")]
    if hidden:
        summary = element("summary", f"The {len(hidden)} oldest, which the model was not shown")
        parts.append(element("details", summary, _listed(hidden, view.titles, start=1)))
    if shown > LONG_HISTORY:
        return [*parts, element("details", element("summary", f"The {shown} that the model was shown"), listed)]
    return [*parts, listed]


def _listed(item_ids: Sequence[str], titles: Titles | None, start: int) -> Html:
    lines = [element("li", item_cell(item_id, titles), class_="item") for item_id in item_ids]
    return element("ol", lines, class_="history", start=start)


def turn_sections(view: RunView, outline: Outline) -> list[Html]:
    """Each turn: what the model thought and asked for, and what came back."""
    found = found_items(view.trace)
    start: int | None = 0
    sections = []
    for turn in view.trace.turns:
        start = start if turn.chained else None
        sections.append(_turn(view, outline, turn, found, start))
        start = None if start is None else start + len(turn.prompt_ids) + len(turn.completion_ids)
    return sections


def _turn(
    view: RunView, outline: Outline, turn: TurnRecord, found: dict[int, list[FoundItem]], start: int | None
) -> Html:
    verb, kind = _ACTIONS.get(turn.action, (turn.action, ""))
    number = f"Turn {turn.position + 1}"
    cost = [
        duration(turn.latency_ms),
        f"{turn.prompt_tokens:,} tokens read",
        f"{turn.completion_tokens:,} written",
        None if turn.finish_reason in (None, "stop") else f"ended by {turn.finish_reason}",
    ]
    told: list[Html | None] = [thought(turn), preference(turn)]
    if turn.detail:
        told.append(long_text(turn.detail, "warn" if turn.action == "malformed" else "bad"))
    if turn.action == "malformed" and turn.text:
        told += [element("p", "What the model wrote, as it was:", class_="note"), element("pre", as_written(turn.text))]
    if turn.action == "recommend":
        line = f"It ranked {len(turn.items)} candidates." if turn.items else "Its list named no candidate."
        told.append(element("p", line, class_="muted"))
    came_back = [_retrieval(r, found[r.position], view) for r in found_by_turn(view.trace, turn)]
    body = element("div", told)
    return section(
        view,
        outline,
        f"turn-{turn.position + 1}",
        f"{number}: {verb}",
        outline.heading(
            1, number, badge(verb, kind), element("small", said(", ".join(filter(None, cost)))), class_="head"
        ),
        element("div", body, element("div", came_back), class_="two") if came_back else body,
        tokens_section(turn, start, view.tokens, guided=view.trace.run.guided),
        _raw(turn),
    )


def thought(turn: TurnRecord) -> Html | None:
    """What the model thought."""
    if not turn.thought:
        return None
    return long_text(turn.thought, "thought", "thought")


def preference(turn: TurnRecord) -> Html | None:
    """What the model asked the recommender for."""
    if turn.preference is None:
        return None
    return long_text(turn.preference, "preference", "preference")


def _raw(turn: TurnRecord) -> Html | None:
    """The turn's text and messages as they were, folded; a malformed text stands open already."""
    parts = []
    if turn.text and turn.action != "malformed":
        parts += [element("summary", "Text as the model wrote it"), element("pre", as_written(turn.text))]
    if turn.messages:
        told = json.dumps(turn.messages, indent=1, ensure_ascii=False, default=str)
        parts += [] if parts else [element("summary", "Messages")]
        parts.append(element("pre", as_written(told)))
    return element("details", parts) if parts else None


def found_table(caption: str | Html, rows: Sequence[Html], last: str) -> Html:
    """Items that a search brought back, with what there is to say of each."""
    heads = [
        element("th", element("span", "place", class_="hidden"), scope="col", class_="n"),
        element("th", "item", scope="col"),
        element("th", "score", scope="col", class_="n"),
        element("th", element("span", last, class_="hidden"), scope="col", class_="marks"),
    ]
    return element("table", element("caption", caption), element("thead", element("tr", heads)), element("tbody", rows))


def found_row(item: FoundItem, titles: Titles | None, marks: Sequence[Html]) -> Html:
    """One of them."""
    kinds = ["hit"] * item.is_target + ["old"] * (not item.is_new)
    return element(
        "tr",
        element("td", str(item.rank), class_="n"),
        element("th", item_cell(item.item_id, titles), scope="row", class_="item"),
        element("td", score_text(item.score), class_="n"),
        element("td", element("span", marks), badge("★ held out", "aim") if item.is_target else None, class_="marks"),
        class_=" ".join(kinds) or None,
    )


def _retrieval(retrieval: RetrievalRecord, items: Sequence[FoundItem], view: RunView) -> Html:
    new = sum(item.is_new for item in items)
    told = [f"{len(items)} items, {new} new", duration(retrieval.latency_ms)]
    if view.trace.run.target_id is not None and items:
        is_here = any(item.is_target for item in items)
        told.append("the held-out item is among them" if is_here else "the held-out item is not among them")
    caption = f"Search {retrieval.position + 1}: {', '.join(filter(None, told))}"
    rows = [found_row(item, view.titles, [badge(item.note, "good" if item.is_new else "")]) for item in items]
    return join(
        found_table(caption, rows, "new or seen before") if items else element("p", caption, class_="note"),
        element("p", "Not enforceable: ", said(", ".join(retrieval.unenforced)), class_="warn")
        if retrieval.unenforced
        else None,
        long_text(retrieval.detail, "bad") if retrieval.detail else None,
    )
