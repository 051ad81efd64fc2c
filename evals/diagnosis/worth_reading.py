"""The runs that a person should read: for each reason the runs that show it most, taken in turns."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from uuid import UUID

from deeprec.agent import visible
from deeprec.evals.diagnosis.records import WorthReading
from deeprec.evals.diagnosis.run_facts import RunFacts

Shown = tuple[float, str]
"""How strongly a run shows a reason, and what it shows, in words."""


def found_but_not_listed(facts: RunFacts) -> Shown | None:
    """The target came in the first retrieval, and the model left it out of its list. The better its rank, the more."""
    if facts.found_at is None or facts.run.run.target_id in facts.listed or not facts.entries:
        return None
    if facts.found_at[0] != facts.run.retrievals[0].turn + 1:
        return None
    rank = facts.found_at[1]
    return -rank, f"the first retrieval had the target at rank {rank}, and the model's list leaves it out"


def found_after_refining(facts: RunFacts) -> Shown | None:
    """Only a later preference found the target. The later, the more."""
    if facts.found_at is None or facts.found_at[0] == facts.run.retrievals[0].turn + 1:
        return None
    turn, rank = facts.found_at
    preference = next((one.preference for one in facts.run.turns if one.position == turn - 1), None)
    words = f" with “{visible(preference, 80)}”" if preference else ""
    return turn, f"the target was found only in turn {turn}{words}, at rank {rank}"


def gained_rank(facts: RunFacts) -> Shown | None:
    """The model ranked the target above where its first retrieval had it."""
    target = facts.run.run.target_id
    if target is None or target not in facts.first_order or target not in facts.listed:
        return None
    before, after = facts.first_order.index(target) + 1, facts.listed.index(target) + 1
    return (before - after, f"the target rose from rank {before} to {after} in the list") if after < before else None


def repeated_one_preference(facts: RunFacts) -> Shown | None:
    """Every retrieval had the same preference."""
    preferences = facts.preferences
    if len(preferences) < 2 or len(set(preferences)) > 1:
        return None
    return len(preferences), f"all {len(preferences)} retrievals had the preference “{visible(preferences[0], 80)}”"


def copied(facts: RunFacts) -> Shown | None:
    """The list is the first retrieval, item by item, whatever the later ones found."""
    if len(facts.listed) < 2 or len(facts.run.retrievals) < 2:
        return None
    if facts.first_order[: len(facts.listed)] != facts.listed:
        return None
    later = len(facts.candidates) - len(facts.first_order)
    return later, f"the list is the first retrieval in its order; {later} items found later have no place in it"


def ungrounded(facts: RunFacts) -> Shown | None:
    """The list names things that no retrieval found."""
    bad = facts.ungrounded
    return (bad, f"{bad} of {facts.entries} entries of the list name nothing that was found") if bad else None


def malformed(facts: RunFacts) -> Shown | None:
    """The run ended because the model did not keep the format."""
    if facts.run.status != "malformed":
        return None
    bad = sum(turn.action == "malformed" for turn in facts.run.turns)
    return bad, visible(facts.run.detail or f"{bad} malformed outputs", 160)


def fell_back(facts: RunFacts) -> Shown | None:
    """The recommender's own list was shown. The further the run had come, the more."""
    if facts.run.status != "fallback":
        return None
    return len(facts.run.turns), visible(facts.run.detail or "the run fell back", 160)


def wrote_most(facts: RunFacts) -> Shown | None:
    """Most tokens."""
    tokens = sum(turn.completion_tokens for turn in facts.run.turns)
    return (tokens, f"{tokens:,} tokens written in {len(facts.run.turns)} turns") if tokens else None


MOST_OF_A_REASON = 3
"""Runs that are named for one reason: there is always one that wrote the most tokens, and a fourth."""
REASONS: dict[str, Callable[[RunFacts], Shown | None]] = {
    "found at once, not listed": found_but_not_listed,
    "found after refining": found_after_refining,
    "biggest gain in rank": gained_rank,
    "searched for the same": repeated_one_preference,
    "copied the recommender": copied,
    "ungrounded items": ungrounded,
    "malformed": malformed,
    "fell back": fell_back,
    "most tokens": wrote_most,
}
"""What makes a run worth reading, in the order in which the reasons take turns."""


class WorthReadingRuns:
    """Keeps the best runs of each reason."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._best: dict[str, list[tuple[float, int, UUID, str]]] = {reason: [] for reason in REASONS}

    def add(self, facts: RunFacts) -> None:
        """Look at one run."""
        for reason, shows in REASONS.items():
            shown = shows(facts)
            if shown is not None:
                best = self._best[reason]
                heapq.heappush(best, (shown[0], -facts.run.run.run_id.int, facts.run.run.run_id, shown[1]))
                if len(best) > self._most:
                    heapq.heappop(best)

    def chosen(self) -> tuple[WorthReading, ...]:
        """Return as many runs as requested, each once: the best of every reason, the second of each, the third."""
        waiting = {reason: sorted(best, reverse=True) for reason, best in self._best.items()}
        taken: dict[UUID, WorthReading] = {}
        for _ in range(MOST_OF_A_REASON):
            for reason, best in waiting.items():
                while best and best[0][2] in taken:
                    best.pop(0)
                if best and len(taken) < self._most:
                    _, _, run_id, why = best.pop(0)
                    taken[run_id] = WorthReading(run_id=run_id, reason=reason, why=why)
        return tuple(taken.values())
