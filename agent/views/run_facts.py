"""Facts of a run that no single record holds, in the words that the terminal and the page share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deeprec.agent.traces.records import RecommendationRecord, RetrievalRecord, RunRecord, RunTrace, TurnRecord, listed


class Titles(Protocol):
    """Where the words for an item id come from; a `Catalogue`, usually."""

    def __contains__(self, item_id: object, /) -> bool:
        """Whether the item is known."""

    def summary(self, item_id: str, /) -> str:
        """The item in one short line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """One item that a retrieval returned, and whether the run had found it before."""

    rank: int
    """1-based within the retrieval."""
    item_id: str
    score: float
    seen_in: int | None
    """Number, from 1, of the turn whose retrieval returned it before; None where it is found for the first time."""
    in_history: bool
    is_target: bool

    @property
    def is_new(self) -> bool:
        """Whether it was neither found before nor is in the person's history."""
        return self.seen_in is None and not self.in_history

    @property
    def note(self) -> str:
        """Whether it is new, in words."""
        if self.seen_in is not None:
            return f"seen in turn {self.seen_in}"
        return "in the history" if self.in_history else "new"


def found_items(trace: RunTrace) -> dict[int, list[FoundItem]]:
    """Return what each retrieval returned, best first, by the retrieval's position."""
    history, first_turn = set(trace.run.history), dict[str, int]()
    found: dict[int, list[FoundItem]] = {}
    for retrieval in trace.retrievals:
        found[retrieval.position] = []
        for rank, item in enumerate(retrieval.items, start=1):
            found[retrieval.position].append(
                FoundItem(
                    rank=rank,
                    item_id=item.id,
                    score=item.score,
                    seen_in=first_turn.get(item.id),
                    in_history=item.id in history,
                    is_target=item.id == trace.run.target_id,
                )
            )
            first_turn.setdefault(item.id, retrieval.turn + 1)
    return found


def retrievals_of(trace: RunTrace, turn: TurnRecord) -> list[RetrievalRecord]:
    """Return the retrievals that one turn asked for."""
    return [retrieval for retrieval in trace.retrievals if retrieval.turn == turn.position]


def origin(line: RecommendationRecord, trace: RunTrace) -> str:
    """Return the turn whose retrieval found an item of a list first, in words; empty where none did."""
    if line.retrieval is None:
        return ""
    turn = next((found.turn for found in trace.retrievals if found.position == line.retrieval), None)
    return f"retrieval {line.retrieval + 1}" if turn is None else f"turn {turn + 1}"


def shown_history(run: RunRecord, at_most: int | None = None) -> tuple[Sequence[str], Sequence[str]]:
    """Return the item ids of the history, oldest first: those that the model was not shown, and those that it was.

    Args:
        run: the run.
        at_most: the items that count as shown where the run logs no limit, as one without a model; None counts all.
    """
    limit = run.config.get("max_history", at_most)
    hidden = max(0, len(run.history) - limit) if isinstance(limit, int) and limit > 0 else 0
    return run.history[:hidden], run.history[hidden:]


def turn_cost(turn: TurnRecord) -> str:
    """Return what a turn took, in words: tokens and time, and what ended it where that is unusual."""
    facts = [f"{turn.prompt_tokens:,} tokens read", f"{turn.completion_tokens:,} written", duration(turn.latency_ms)]
    ended = None if turn.finish_reason in (None, "stop") else f"ended by {turn.finish_reason}"
    return ", ".join(filter(None, [*facts, ended]))


def retrieval_facts(retrieval: RetrievalRecord, items: Sequence[FoundItem], trace: RunTrace) -> list[str]:
    """Return what a retrieval returned, in words.

    Args:
        retrieval: one of `trace`.
        items: those of `found_items` at its position.
        trace: the run.
    """
    facts = [f"{len(items)} items", f"{sum(item.is_new for item in items)} new"]
    if time := duration(retrieval.latency_ms):
        facts.append(time)
    if trace.run.target_id is not None and items:
        is_here = any(item.is_target for item in items)
        facts.append(f"the held-out item is {'' if is_here else 'not '}among them")
    return facts


def constraint_lines(constraints: Mapping[str, Any] | None) -> list[str]:
    """Return what became of the constraints of a retrieval or a run, a line a kind; none where there are none.

    Args:
        constraints: as `AgentOutput` and `RetrievalRecord` have them.
    """
    kinds = (
        ("kept", "hard"),
        ("only weighed", "guessed"),
        ("not in this catalogue", "unenforceable"),
        ("contradictory", "contradictions"),
    )
    parts = [(name, [_constraint(each) for each in listed(constraints, kind)]) for name, kind in kinds]
    return [f"{name}: {', '.join(found)}" for name, found in parts if found]


def _constraint(constraint: object) -> str:
    if not isinstance(constraint, Mapping):
        return str(constraint)
    because = constraint.get("words") or constraint.get("why")
    return f"{constraint.get('text')}{f' ({because})' if because else ''}"


def held_out_line(trace: RunTrace) -> str | None:
    """Return when the held-out item was found and where it is listed, in words; None where it is not known."""
    target = trace.run.target_id
    if target is None:
        return None
    found_at = [(r.turn + 1, rank) for r in trace.retrievals for rank, i in enumerate(r.items, 1) if i.id == target]
    listed = next((line.rank for line in trace.recommended if line.item_id == target), None)
    found = f"found in turn {found_at[0][0]}, at position {found_at[0][1]}" if found_at else "never found"
    if not trace.recommended:
        return found
    return f"{found}; {'not in the list' if listed is None else f'position {listed} of the list'}"


def model_name(trace: RunTrace) -> str:
    """Return the model, and the adapter on it with its version."""
    run = trace.run
    if run.adapter is None:
        return run.policy_model
    version = "" if run.adapter_version is None else f", version {run.adapter_version}"
    return f"{run.policy_model} + {run.adapter}{version}"


def fork_line(trace: RunTrace) -> str | None:
    """Return how a run departs from its parent, in words; None for a run without a parent."""
    run = trace.run
    if run.parent_id is None:
        return None
    if run.fork is None:
        return f"It has a parent, run {run.parent_id}."
    turn = run.fork.get("turn")
    if not isinstance(turn, int):
        return f"A replay of run {run.parent_id}."
    if "edited" in run.fork:
        edited = ", ".join(map(str, run.fork["edited"]))
        return f"A fork of run {run.parent_id}: edited at turn {turn + 1} were its {edited}."
    return (
        f"A fork of run {run.parent_id}: the preference of turn {turn + 1} was set to “{run.fork.get('preference')}”."
    )


def lineage(trace: RunTrace) -> list[tuple[str, str]]:
    """Return everything that explains a run, as names and values in words; missing values are left out."""
    run = trace.run
    pairs: list[tuple[str, object]] = [
        ("run", run.run_id),
        ("policy", run.policy_model),
        ("adapter", run.adapter),
        ("adapter version", run.adapter_version),
        ("weights of the base model", run.base_fingerprint),
        ("weights of the adapter", run.adapter_fingerprint),
        ("protocol", f"{run.protocol}, version {run.protocol_version}"),
        ("prompts", f"version {run.prompt_version}"),
        ("sampling", ("guided, " if run.guided else "free, ") + _pairs(run.sampling)),
        ("seed", run.seed),
        ("recommender", run.trm_fingerprint),
        ("recommender trained without", None if run.trm_holdout is None else f"the last {run.trm_holdout} of each"),
        ("data", run.dataset_fingerprint),
        ("tenant", run.tenant),
        ("thread", run.thread_id),
        ("tags", ", ".join(run.tags)),
        ("metadata", _pairs(run.caller_metadata)),
        ("split", run.split),
        ("suite", run.suite),
        ("group", run.group_id),
        ("parent run", run.parent_id),
        ("fork", None if run.fork is None else _pairs(run.fork)),
        ("list length", run.k),
        ("settings", _pairs(run.config)),
        ("software", _pairs(run.versions)),
    ]
    return [(name, str(value)) for name, value in pairs if value is not None and value != ""]


def _pairs(values: Mapping[str, object]) -> str:
    def shown(value: object) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def duration(latency_ms: float | None) -> str | None:
    """Return a time in words, `840 ms` or `61.20 s`; None for a missing one."""
    if latency_ms is None or math.isnan(latency_ms):
        return None
    return f"{latency_ms:.0f} ms" if latency_ms < 1000 else f"{latency_ms / 1000:.2f} s"


def score_text(value: float | None) -> str:
    """Return the score of an item in words; "–" for one that is missing or was removed with its person."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def reward_text(value: float) -> str:
    """Return a component of a reward in words; a missing one is not 0."""
    return "not computable" if math.isnan(value) else f"{value:.4g}"
