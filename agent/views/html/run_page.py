"""Runs as self-contained HTML: one or several as a document, one as a part of a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from deeprec.agent.traces.records import Action, RecommendationRecord, RetrievalRecord, RunTrace, TurnRecord
from deeprec.agent.views.html.environment import render_page
from deeprec.agent.views.run_facts import (
    FoundItem,
    Titles,
    found_items,
    lineage,
    origin,
    retrieval_facts,
    retrievals_of,
    shown_history,
)
from deeprec.agent.views.tokens import LEVELS, TokenTexts, least_likely, level, percent, token_texts, written_tokens
from deeprec.trm_tool.errors import ConfigError

Badge = tuple[str, str]
"""A word in a frame, and the kind of its colour: good, warn, bad, aim, call, or "" for none."""

_ACTIONS: dict[Action, Badge] = {
    "retrieve": ("retrieved", "call"),
    "recommend": ("ranked", "good"),
    "knowledge": ("knowledge", "good"),
    "malformed": ("malformed", "warn"),
    "unavailable": ("no answer", "bad"),
}
_SOURCES = {"written": ("written", "good"), "filled": ("filled in", ""), "fallback": ("the recommender's own", "warn")}


class ItemRow(NamedTuple):
    """One item of a table."""

    rank: int
    """Position of the row, counted from 1."""
    item_id: str
    marks: Sequence[Badge]
    is_target: bool
    is_known: bool = False
    """Found before or in the person's history; shown in a muted colour."""
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTokens:
    """The tokens of a turn: what it added to the prompt, and what the policy wrote."""

    summary: str
    given: str
    """The text that the turn added to the prompt."""
    written: list[tuple[str, str | None, str | None]]
    """Text, colour of the style sheet and words of each token that the policy wrote."""
    least_likely: list[tuple[int, str, tuple[str, str]]]
    """Position from 1, text, logprob and probability; empty where no logprob was logged."""
    start: int | None
    """Where the first prompt token stands in the run's chain, from 0; None for a run without a chain."""
    end: int | None
    """Where the last token that was written stands in it."""

    @property
    def colours(self) -> list[tuple[str, str]]:
        """Colour and words of each level of probability."""
        return [(f"k{number}", words) for number, (_, words) in enumerate(LEVELS)]


class RetrievalView(NamedTuple):
    """What one retrieval returned."""

    record: RetrievalRecord
    caption: str
    rows: list[ItemRow]


class TurnView(NamedTuple):
    """One turn, with what its retrievals returned."""

    record: TurnRecord
    verb: str
    """What the model did."""
    kind: str
    """The colour of the verb."""
    retrievals: list[RetrievalView]
    tokens: TurnTokens | None
    """None where no token ids were logged."""


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

    @property
    def anchor(self) -> str:
        """The beginning of the ids of the run's sections."""
        return f"r{self.trace.run.run_id.hex}"

    @property
    def lineage(self) -> list[tuple[str, str]]:
        """Everything that explains the run, as names and values."""
        return lineage(self.trace)

    @property
    def history(self) -> tuple[Sequence[str], Sequence[str]]:
        """Item ids, oldest first: those that the model was not shown, and those that it was."""
        return shown_history(self.trace.run)

    @property
    def turns(self) -> list[TurnView]:
        """Each turn: what the model thought and asked for, and what the recommender returned."""
        return list(self._turns())

    @property
    def is_as_written(self) -> bool:
        """Whether the person was shown exactly the list that the model wrote."""
        trace = self.trace
        same = [line.item_id for line in trace.written] == [line.item_id for line in trace.recommended]
        return same and not trace.ungrounded

    @property
    def shown(self) -> list[ItemRow]:
        """The list as shown to the person, with who put each item there and which turn found it."""
        rows = []
        for line in self.trace.recommended:
            found = origin(line, self.trace)
            marks = [_SOURCES.get(line.source, (line.source, "")), *([(found, "")] if found else [])]
            rows.append(self.list_row(line, marks))
        return rows

    @property
    def written(self) -> list[ItemRow]:
        """The list that the model wrote, with its repeats and the items that no retrieval returned."""
        first: dict[str, int] = {}
        rows = []
        for line in self.trace.written:
            marks = [] if line.retrieval is not None else [("ungrounded: not retrieved", "warn")]
            if line.item_id in first:
                marks.append((f"repeats position {first[line.item_id]}", "warn"))
            first.setdefault(line.item_id, line.rank)
            rows.append(self.list_row(line, marks))
        return rows

    def list_row(self, line: RecommendationRecord, marks: Sequence[Badge]) -> ItemRow:
        """One position of a ranked list."""
        return ItemRow(line.rank, line.item_id, marks, line.item_id == self.trace.run.target_id)

    def _turns(self) -> Iterator[TurnView]:
        found = found_items(self.trace)
        start: int | None = 0
        for turn in self.trace.turns:
            start = start if turn.chained else None
            verb, kind = _ACTIONS.get(turn.action, (turn.action, ""))
            retrievals = [self._retrieval(r, found[r.position]) for r in retrievals_of(self.trace, turn)]
            yield TurnView(turn, verb, kind, retrievals, self._tokens(turn, start))
            start = None if start is None else start + len(turn.prompt_ids) + len(turn.completion_ids)

    def _retrieval(self, retrieval: RetrievalRecord, items: Sequence[FoundItem]) -> RetrievalView:
        caption = f"Retrieval {retrieval.position + 1}: {', '.join(retrieval_facts(retrieval, items, self.trace))}"
        rows = [found_row(item, (item.note, "good" if item.is_new else "")) for item in items]
        return RetrievalView(retrieval, caption, rows)

    def _tokens(self, turn: TurnRecord, start: int | None) -> TurnTokens | None:
        if not turn.prompt_ids and not turn.completion_ids:
            return None
        texts, logprobs = written_tokens(turn, self.tokens)
        known = [value for value in logprobs if not math.isnan(value)]
        mean = f"; mean logprob {sum(known) / len(known):.2f}" if known else ""
        read, wrote = len(turn.prompt_ids), len(turn.completion_ids)
        return TurnTokens(
            summary=f"Tokens: {read:,} put before the model, {wrote:,} written{mean}",
            given="".join(token_texts(turn.prompt_ids, self.tokens)),
            written=[(text, *_look(value)) for text, value in zip(texts, logprobs, strict=True)],
            least_likely=[
                (at + 1, texts[at].strip() or repr(texts[at]), (f"{logprobs[at]:.3f}", percent(logprobs[at])))
                for at in least_likely(logprobs)
            ],
            start=start,
            end=None if start is None else start + read + wrote - 1,
        )


def run_html(trace: RunTrace, titles: Titles | None = None, tokens: TokenTexts | None = None) -> str:
    """Return a run as one whole document, which can be opened from disk, sent and kept. It needs no network.

    Args:
        trace: the run.
        titles: what the items are called; a `Catalogue`, usually. Without it ids stand alone.
        tokens: the texts of token ids, from `read_tokenizer`; without it the ids are shown.
    """
    return runs_html([RunView(trace=trace, titles=titles, tokens=tokens)])


def runs_html(views: Sequence[RunView]) -> str:
    """Return some runs as one document, with a table of contents where there are several.

    Raises:
        ConfigError: no run, or the same one twice.
    """
    names = [view.trace.run.run_id for view in views]
    if not names or len(set(names)) < len(names):
        raise ConfigError("A page needs one run at least, and each of them once.")
    return render_page("runs.html.j2", runs=views, level=1 if len(views) == 1 else 2)


def run_fragment(trace: RunTrace, titles: Titles | None = None, tokens: TokenTexts | None = None) -> str:
    """Return a run as a part of a page, for a notebook's rich display: `run_html` without what only a document needs.

    Its styles reach nothing outside it, it has no script and no ids, and it follows the notebook's light or dark theme.
    """
    view = RunView(trace=trace, titles=titles, tokens=tokens)
    return render_page("runs.html.j2", is_fragment=True, runs=[view], level=3)


def found_row(item: FoundItem, mark: Badge) -> ItemRow:
    """One item that a retrieval returned."""
    return ItemRow(item.rank, item.item_id, [mark], item.is_target, not item.is_new, item.score)


def _look(logprob: float) -> tuple[str | None, str | None]:
    number = level(logprob)
    return (None, None) if number is None else (f"k{number}", f"{logprob:.3f}, {percent(logprob)}")
