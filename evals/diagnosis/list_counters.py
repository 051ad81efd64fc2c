"""The lists that the model wrote: their faults, and how far they follow the order of their candidates."""

from __future__ import annotations

from deeprec.evals.diagnosis.records import CopyFigures, ListFigures, PositionFigures
from deeprec.evals.diagnosis.run_facts import RunFacts
from deeprec.evals.metrics.streaming import Proportion, Quantiles, Ratio

FIRST = 5
"""Candidates that count as first."""
BINS = 10
"""Equal parts of the normalised position, of the histogram."""


class CopyCounter:
    """Counts how far the written list is the recommender's own order."""

    def __init__(self) -> None:
        self._overlaps = (Ratio(0, 1), Ratio(0, 1))
        self._same = (Proportion(), Proportion())

    def add(self, facts: RunFacts) -> None:
        """Count one run, if it wrote a list that has an order."""
        if len(facts.listed) < 2:
            return
        for order, overlap, same in zip(
            (facts.first_order, facts.fused_order), self._overlaps, self._same, strict=True
        ):
            top = order[: len(facts.listed)]
            overlap.add(len(set(top).intersection(facts.listed)) / len(facts.listed))
            same.add(top == facts.listed)

    def figures(self) -> CopyFigures:
        """Return the figures over the runs so far."""
        first, fused = (overlap.interval() for overlap in self._overlaps)
        same_first, same_fused = (same.interval() for same in self._same)
        return CopyFigures(overlap_first=first, same_first=same_first, overlap_fused=fused, same_fused=same_fused)


class ListCounter:
    """Counts what is wrong with the lists that the model wrote."""

    def __init__(self) -> None:
        self._wrote, self._full = Proportion(), Proportion()
        self._any_ungrounded, self._any_repeated = Proportion(), Proportion()
        self._ungrounded, self._repeated = Ratio(0, 1), Ratio(0, 1)
        self._lengths = Quantiles()

    def add(self, facts: RunFacts) -> None:
        """Count one run."""
        self._wrote.add(facts.entries > 0)
        if not facts.entries:
            return
        grounded = facts.entries - facts.ungrounded
        self._lengths.add(facts.entries)
        self._full.add(len(facts.listed) >= min(facts.run.run.k, len(facts.candidates)))
        self._ungrounded.add(facts.ungrounded, facts.entries)
        self._any_ungrounded.add(facts.ungrounded > 0)
        self._repeated.add(grounded - len(facts.listed), grounded)
        self._any_repeated.add(grounded > len(facts.listed))

    def figures(self) -> ListFigures:
        """Return the figures over the runs so far."""
        return ListFigures(
            wrote=self._wrote.interval(),
            length=self._lengths.spread(),
            full=self._full.interval(),
            ungrounded=self._ungrounded.interval(),
            lists_ungrounded=self._any_ungrounded.interval(),
            repeated=self._repeated.interval(),
            lists_repeated=self._any_repeated.interval(),
        )


class PositionCounter:
    """Counts the positions of the chosen items among the candidates."""

    def __init__(self) -> None:
        self._positions, self._first_choice, self._early = Ratio(0, 1), Ratio(0, 1), Ratio(0, 1)
        self._by_chance, self._chosen = 0.0, 0
        self._bins = [0] * BINS
        self._ranks = Quantiles()

    def add(self, facts: RunFacts) -> None:
        """Count one run, if there was something to choose."""
        n, chosen = len(facts.candidates), len(facts.listed)
        if n < 2 or not chosen:
            return
        numbers = [facts.candidates[item] for item in facts.listed]
        positions = [(number - 1) / (n - 1) for number in numbers]
        self._positions.add(sum(positions), chosen)
        self._first_choice.add(positions[0])
        self._early.add(sum(number <= FIRST for number in numbers), chosen)
        self._by_chance += chosen * min(1.0, FIRST / n)
        self._chosen += chosen
        for number in numbers:
            self._bins[min(BINS - 1, (number - 1) * BINS // (n - 1))] += 1
        found_at: dict[str, int] = {}
        for items in facts.found:
            for rank, item in enumerate(items, start=1):
                found_at.setdefault(item, rank)
        for item in facts.listed:
            self._ranks.add(found_at[item])

    def figures(self) -> PositionFigures:
        """Return the figures over the runs so far."""
        return PositionFigures(
            mean=self._positions.interval(),
            first_choice=self._first_choice.interval(),
            first_five=self._early.interval(),
            first_five_by_chance=self._by_chance / self._chosen if self._chosen else float("nan"),
            histogram=tuple(self._bins),
            retrieval_rank=self._ranks.spread(),
        )
