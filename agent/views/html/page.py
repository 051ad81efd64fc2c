"""A run, or several, as one self-contained HTML document, and a run as a part of a notebook.

The documents fetch nothing and run nothing: their Content-Security-Policy lets in their own style sheet, by its hash,
and no script, image, font, frame or form.
"""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.agent.traces.records import RunTrace
from deeprec.agent.views.html.lists import lineage_section, lists_section, rewards_section
from deeprec.agent.views.html.markup import Html, Part, element, said
from deeprec.agent.views.html.parts import (
    Outline,
    RunView,
    headline,
    request_section,
    status_badges,
    turn_sections,
)
from deeprec.agent.views.html.style import PAGE_STYLE, STYLE, style_source
from deeprec.agent.views.html.tokens import TokenTexts
from deeprec.agent.views.run_facts import held_out_line, model_name
from deeprec.agent.views.text.run import Titles
from deeprec.trm_tool.errors import ConfigError


def run_html(trace: RunTrace, titles: Titles | None = None, tokens: TokenTexts | None = None) -> str:
    """A run as one whole document: open it from disk, mail it, keep it. It needs no network.

    Args:
        trace: the run.
        titles: what the items are called; a `Catalogue`, usually. Without it ids stand alone.
        tokens: the texts of token ids, from `read_tokenizer`; without it the ids are shown.
    """
    return runs_html([RunView(trace=trace, titles=titles, tokens=tokens)])


def runs_html(views: Sequence[RunView]) -> str:
    """Some runs as one document, with a table of contents where there are several.

    Raises:
        ConfigError: no run, or the same one twice.
    """
    names = [view.trace.run.run_id for view in views]
    if not names or len(set(names)) < len(names):
        raise ConfigError("A page needs one run at least, and each of them once.")
    if len(views) == 1:
        return document(f"DeepRec run {views[0].name}", _article(views[0], Outline()))
    outline = Outline(level=2)
    head = element("h1", f"{len(views)} runs", class_="title")
    return document(
        f"{len(views)} DeepRec runs", head, _contents(views, outline), [_article(v, outline) for v in views]
    )


def run_fragment(trace: RunTrace, titles: Titles | None = None, tokens: TokenTexts | None = None) -> str:
    """A run as a part of a page, for a notebook's rich display: `run_html` without what only a document needs.

    Its styles reach nothing outside it, it has no script and no ids, and it follows the notebook's light or dark theme.
    """
    body = _article(RunView(trace=trace, titles=titles, tokens=tokens), Outline(level=3, anchors=False))
    return fragment(body)


def document(title: str, *parts: Part) -> str:
    """A whole document around `parts`."""
    policy = f"default-src 'none'; style-src {style_source(PAGE_STYLE)}; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Html(f"<style>{PAGE_STYLE}</style>"),
    )
    skip = element("a", "Skip to the content", class_="skip", href="#main")
    main = element("main", *parts, id="main", class_="run", tabindex="-1")
    return "<!DOCTYPE html>\n" + element("html", head, element("body", skip, main, class_="deeprec"), lang="en") + "\n"


def fragment(*parts: Part) -> str:
    """`parts` with their styles, as a part of another page."""
    inside = element("div", *parts, class_="run")
    return element("div", Html(f"<style>{STYLE}</style>"), inside, class_="deeprec part", lang="en")


def _article(view: RunView, outline: Outline) -> Html:
    return element(
        "article",
        headline(view, outline),
        _jumps(view, outline) if outline.anchors else None,
        request_section(view, outline),
        turn_sections(view, outline),
        lists_section(view, outline),
        rewards_section(view, outline),
        lineage_section(view, outline),
        id=outline.anchor(view, "run"),
        aria_label=f"Run {view.name}",
    )


def _jumps(view: RunView, outline: Outline) -> Html:
    trace = view.trace
    places = [("request", "Request")]
    places += [(f"turn-{turn.position + 1}", f"Turn {turn.position + 1}") for turn in trace.turns]
    places += [("list", "List")] if trace.recommended or trace.written else []
    places += [("rewards", "Rewards")] if trace.rewards else []
    places += [("lineage", "Lineage")]
    links = [element("li", element("a", words, href=f"#{outline.anchor(view, name)}")) for name, words in places]
    return element("nav", element("ul", links, class_="jump"), aria_label=f"Parts of run {view.name}")


def _contents(views: Sequence[RunView], outline: Outline) -> Html:
    heads = [element("th", name, scope="col") for name in ("run", "status", "user", "model", "held-out item")]
    rows = []
    for view in views:
        trace = view.trace
        link = element("a", view.name, href=f"#{outline.anchor(view, 'run')}")
        cells = (said(trace.run.user_id or "", 40), said(model_name(trace), 80), held_out_line(trace) or "")
        rows.append(
            element(
                "tr",
                element("th", element("code", link), scope="row"),
                element("td", status_badges(trace)),
                [element("td", cell) for cell in cells],
            )
        )
    table = element("table", element("thead", element("tr", heads)), element("tbody", rows))
    return element("nav", table, class_="card", aria_label="Runs on this page")
