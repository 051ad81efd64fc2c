"""Two runs beside one another as one self-contained HTML document."""

from __future__ import annotations

from deeprec.agent.traces.records import RunTrace, TurnRecord
from deeprec.agent.views.comparison import RunComparison, TurnComparison, compare_runs
from deeprec.agent.views.html.lists import list_row, list_table
from deeprec.agent.views.html.markup import Html, as_written, element, join, said
from deeprec.agent.views.html.page import document, fragment
from deeprec.agent.views.html.parts import (
    RunView,
    badge,
    facts,
    found_row,
    found_table,
    long_text,
    preference,
    status_badges,
    thought,
)
from deeprec.agent.views.run_facts import (
    FoundItem,
    duration,
    found_by_turn,
    found_items,
    held_out_line,
    model_name,
    reward_text,
)
from deeprec.agent.views.text.comparison import difference_text, move_text, setting_text, verdict, warning
from deeprec.agent.views.text.run import Titles

_SIDES = ("A", "B")


def compare_html(left: RunTrace, right: RunTrace, titles: Titles | None = None) -> str:
    """Two runs as one whole document, `left` called A and `right` B. It fetches nothing and runs nothing.

    Args:
        left: the run to compare with: the original, or the older policy.
        right: the other one.
        titles: what the items are called; without it ids stand alone.
    """
    views = [RunView(trace=trace, titles=titles) for trace in (left, right)]
    return document(f"DeepRec runs {views[0].name} and {views[1].name}", _body(views, level=1))


def compare_fragment(left: RunTrace, right: RunTrace, titles: Titles | None = None) -> str:
    """`compare_html` as a part of a page, for a notebook's rich display."""
    return fragment(_body([RunView(trace=trace, titles=titles) for trace in (left, right)], level=3))


def _body(views: list[RunView], level: int) -> Html:
    left, right = (view.trace for view in views)
    comparison = compare_runs(left, right)
    head, sub = f"h{level}", f"h{level + 1}"
    told = warning(comparison)
    found = [found_items(view.trace) for view in views]
    return element(
        "article",
        element(head, "Two runs, side by side", class_="title"),
        element("p", told, class_="warn") if told else None,
        _card(
            "The two runs",
            element(
                "div", [_side(name, _run(view)) for name, view in zip(_SIDES, views, strict=True)], class_="two even"
            ),
        ),
        _card(
            "Where they part",
            element(sub, "Where they part", class_="head"),
            [element("p", line) for line in verdict(comparison)],
            _settings(comparison),
        ),
        [_turn(turn, views, found, sub) for turn in comparison.turns],
        _lists(comparison, views, sub),
        _rewards(comparison, sub),
        aria_label="Comparison of two runs",
    )


def _card(label: str, *parts: Html | list[Html] | None) -> Html:
    return element("section", *parts, class_="card", aria_label=label)


def _side(name: str, *parts: Html | list[Html] | None) -> Html:
    return element("div", element("span", f"run {name}", class_="label"), *parts, class_="side")


def _run(view: RunView) -> list[Html]:
    trace = view.trace
    held_out = held_out_line(trace)
    return [
        element("p", element("strong", element("code", view.name)), " ", status_badges(trace)),
        facts(
            [
                ("model", said(model_name(trace), 120)),
                ("user", None if trace.run.user_id is None else said(trace.run.user_id, 80)),
                ("seed", None if trace.run.seed is None else str(trace.run.seed)),
                ("took", duration(trace.latency_ms)),
                ("tokens written", f"{sum(turn.completion_tokens for turn in trace.turns):,}"),
            ]
        ),
        element("p", f"★ Held out: {held_out}.", class_="aim") if held_out else Html(""),
    ]


def _settings(comparison: RunComparison) -> Html:
    if not comparison.setting:
        return element("p", "Nothing differs in the setting: policy, prompts, recommender and seed are the same.")
    rows = [
        element(
            "tr",
            element("th", said(part.name, 80), scope="row"),
            [element("td", said(setting_text(value), 300)) for value in (part.left, part.right)],
        )
        for part in comparison.setting
    ]
    heads = [element("th", name, scope="col") for name in ("setting", "run A", "run B")]
    return element(
        "table",
        element("caption", "What differs in the setting"),
        element("thead", element("tr", heads)),
        element("tbody", rows),
        class_="small",
    )


def _turn(turn: TurnComparison, views: list[RunView], found: list[dict[int, list[FoundItem]]], sub: str) -> Html:
    differs = [
        words
        for words, is_same in (("thought", turn.same_thought), ("preference", turn.same_preference))
        if not is_same and turn.left and turn.right
    ]
    if turn.same_tokens:
        badges = [badge("the same text in both")]
    elif not turn.left or not turn.right:
        badges = [badge("only in A" if turn.left else "only in B", "warn")]
    else:
        badges = [badge(f"another {words}", "warn") for words in differs] or [badge("another text", "warn")]
    number = f"Turn {turn.position + 1}"
    sides = [
        _side(name, _told(record, view, found[side], found[1 - side], views[1 - side].trace, _SIDES[1 - side]))
        for side, (name, view, record) in enumerate(zip(_SIDES, views, (turn.left, turn.right), strict=True))
    ]
    return _card(number, element(sub, number, badges, class_="head"), element("div", sides, class_="two even"))


def _told(
    turn: TurnRecord | None,
    view: RunView,
    here: dict[int, list[FoundItem]],
    there: dict[int, list[FoundItem]],
    other: RunTrace,
    other_name: str,
) -> list[Html]:
    if turn is None:
        return [element("p", "This run has no such turn.", class_="muted")]
    parts = [part for part in (thought(turn), preference(turn)) if part]
    if turn.detail:
        parts.append(long_text(turn.detail, "warn"))
    if turn.action == "malformed" and turn.text:
        parts.append(element("pre", as_written(turn.text)))
    if turn.action == "recommend":
        parts.append(element("p", f"It ranked {len(turn.items)} candidates.", class_="muted"))
    turn_of = {r.position: r.turn + 1 for r in other.retrievals}
    met = {item.item_id: turn_of[position] for position, items in reversed(there.items()) for item in items}
    for retrieval in found_by_turn(view.trace, turn):
        items = here[retrieval.position]
        rows = []
        for item in items:
            when = met.get(item.item_id)
            if when is None:
                mark = badge("only here", "warn")
            elif when == turn.position + 1:
                mark = badge("in both")
            else:
                mark = badge(f"{other_name}: turn {when}")
            rows.append(found_row(item, view.titles, [mark]))
        alone = sum(item.item_id not in met for item in items)
        parts.append(found_table(f"{len(items)} items, {alone} of them in this run alone", rows, "in the other run"))
    return parts


def _lists(comparison: RunComparison, views: list[RunView], sub: str) -> Html | None:
    if not comparison.moves:
        return None
    words = {move.item_id: (move_text(move), move) for move in comparison.moves}
    sides = []
    for name, view in zip(_SIDES, views, strict=True):
        rows = []
        for line in view.trace.recommended:
            text, move = words[line.item_id]
            alone = move.left is None or move.right is None
            # A's list says where an item went, B's where it came from.
            if name == "A" and not alone:
                text = f"place {move.right} in B" if move.left != move.right else text
            kind = "warn" if alone else "" if move.left == move.right else "call"
            rows.append(list_row(line, view.titles, view.trace.run.target_id, [badge(text, kind)]))
        table = list_table("The list as shown", rows, "in the other run")
        sides.append(_side(name, table if rows else element("p", "No list.", class_="muted")))
    heading = element(sub, "Ranked lists", class_="head")
    return _card("Ranked lists", heading, element("div", sides, class_="two even"))


def _rewards(comparison: RunComparison, sub: str) -> Html | None:
    if not comparison.rewards:
        return None
    rows = [
        element(
            "tr",
            element("th", join(said(part.scheme, 80), " ", said(part.component, 80)), scope="row"),
            [element("td", reward_text(value), class_="n") for value in (part.left, part.right)],
            element("td", difference_text(part.difference), class_="n"),
        )
        for part in comparison.rewards
    ]
    heads = [element("th", "component", scope="col")]
    heads += [element("th", name, scope="col", class_="n") for name in ("run A", "run B", "B − A")]
    table = element("table", element("thead", element("tr", heads)), element("tbody", rows), class_="small")
    return _card("Rewards", element(sub, "Rewards", class_="head"), table)
