"""The end of a run's page: the ranked list, the rewards, the lineage."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.agent.traces.records import RecommendationRecord, RunTrace
from deeprec.agent.views.html.markup import Html, element, join, said
from deeprec.agent.views.html.parts import Outline, RunView, badge, item_cell, section
from deeprec.agent.views.run_facts import lineage, origin, reward_text
from deeprec.agent.views.text.run import Titles

_REWARD_COLUMNS = (("scheme", None), ("component", None), ("value", "n"))


def lists_section(view: RunView, outline: Outline) -> Html | None:
    """The list as shown to the person, with where each place came from, beside what the model wrote."""
    trace = view.trace
    if not trace.recommended and not trace.written:
        return None
    same = [line.item_id for line in trace.written] == [line.item_id for line in trace.recommended]
    if same and not trace.ungrounded:
        beside: Html = element("p", "The model wrote exactly this list.", class_="note")
    elif not trace.written:
        beside = element("p", "The model wrote no list.", class_="warn")
    else:
        beside = list_table("What the model wrote", _written_rows(view), "remarks")
    lost = trace.ungrounded
    if lost:
        entries = "1 entry of the model's list names" if lost == 1 else f"{lost} entries of the model's list name"
        beside = join(beside, element("p", f"Ungrounded: {entries} no candidate.", class_="warn"))
    rows = [list_row(line, view.titles, trace.run.target_id, shown_marks(line, trace)) for line in trace.recommended]
    shown = list_table("The list as shown to the person", rows, "where it came from")
    return section(
        view,
        outline,
        "list",
        "Ranked list",
        outline.heading(1, "Ranked list", class_="head"),
        element("div", element("div", shown), element("div", beside), class_="two even"),
    )


def list_table(caption: str, rows: Sequence[Html], last: str) -> Html:
    """A ranked list."""
    heads = [
        element("th", element("span", "place", class_="hidden"), scope="col", class_="n"),
        element("th", "item", scope="col"),
        element("th", element("span", last, class_="hidden"), scope="col", class_="marks"),
    ]
    return element("table", element("caption", caption), element("thead", element("tr", heads)), element("tbody", rows))


def list_row(line: RecommendationRecord, titles: Titles | None, target: str | None, marks: Sequence[Html]) -> Html:
    """One place of it."""
    is_target = line.item_id == target
    return element(
        "tr",
        element("td", str(line.rank), class_="n"),
        element("th", item_cell(line.item_id, titles), scope="row", class_="item"),
        element("td", element("span", marks), badge("★ held out", "aim") if is_target else None, class_="marks"),
        class_="hit" if is_target else None,
    )


def shown_marks(line: RecommendationRecord, trace: RunTrace) -> list[Html]:
    """Where a place of the shown list came from, and who put it there."""
    kinds = {"written": ("written", "good"), "filled": ("filled in", ""), "fallback": ("the recommender's own", "warn")}
    words, kind = kinds.get(line.source, (line.source, ""))
    came = origin(line, trace)
    return [badge(words, kind), *([badge(came)] if came else [])]


def _written_rows(view: RunView) -> list[Html]:
    first: dict[str, int] = {}
    rows = []
    for line in view.trace.written:
        marks = [] if line.retrieval is not None else [badge("ungrounded: not retrieved", "warn")]
        if line.item_id in first:
            marks.append(badge(f"repeats place {first[line.item_id]}", "warn"))
        first.setdefault(line.item_id, line.rank)
        rows.append(list_row(line, view.titles, view.trace.run.target_id, marks))
    return rows


def rewards_section(view: RunView, outline: Outline) -> Html | None:
    """The components of each reward scheme."""
    if not view.trace.rewards:
        return None
    heads = [element("th", name, scope="col", class_=n) for name, n in _REWARD_COLUMNS]
    rows = [
        element(
            "tr",
            element("td", said(reward.scheme, 80)),
            element("th", said(reward.component, 80), scope="row"),
            element("td", reward_text(reward.value), class_="n"),
        )
        for reward in view.trace.rewards
    ]
    table = element("table", element("thead", element("tr", heads)), element("tbody", rows), class_="small")
    heading = outline.heading(1, "Rewards", class_="head")
    return section(view, outline, "rewards", "Rewards", heading, table)


def lineage_section(view: RunView, outline: Outline) -> Html:
    """Everything that explains the run, folded."""
    pairs = [[element("dt", name), element("dd", element("code", said(value)))] for name, value in lineage(view.trace)]
    summary = element("summary", "Lineage: versions, fingerprints, sampling, settings")
    return section(
        view, outline, "lineage", "Lineage", element("details", summary, element("dl", pairs), class_="lineage")
    )
