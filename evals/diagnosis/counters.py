"""The figures of a diagnosis, each counted up run by run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from deeprec.agent import fuse_rankings
from deeprec.agent.traces.store.run_outlines import RunOutline
from deeprec.evals.diagnosis.records import (
    CeilingPoint,
    CopyFigures,
    CostFigures,
    Ending,
    ListFigures,
    PositionFigures,
    PreferenceFigures,
    TargetFigures,
)
from deeprec.evals.metrics.streaming import Commonest, Proportion, Quantiles, Ratio, proportion_interval
from deeprec.trm_tool.encoders.text_encoder import Encoder

STATUSES = ("finished", "malformed", "budget", "fallback", "running")
FIRST = 5
"""Candidates that count as first."""
BINS = 10
MAX_COMPARED = 20
"""Preferences of one run that are compared with one another."""
_DETAILS, _COMMONEST = 5, 10
_ENCODED_AT_ONCE = 256
_WORDS = re.compile(r"\w+")
_PHRASES = re.compile(r"[;,\n]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True)
class Facts:
    """What several figures need of one run."""

    run: RunOutline

    @cached_property
    def preferences(self) -> tuple[str, ...]:
        """What the policy searched with, in order; case and white space made alike."""
        asked = (turn.preference for turn in self.run.turns if turn.action == "retrieve")
        return tuple(" ".join(text.casefold().split()) for text in asked if text is not None)

    @cached_property
    def candidates(self) -> dict[str, int]:
        """Item id -> number, from 1, in the order in which they were found."""
        found = dict.fromkeys(item for call in self.run.retrievals for item in call.items)
        return {item: number for number, item in enumerate(found, start=1)}

    @cached_property
    def first_order(self) -> tuple[str, ...]:
        """The first retrieval, best first."""
        return self.run.retrievals[0].items if self.run.retrievals else ()

    @cached_property
    def fused_order(self) -> tuple[str, ...]:
        """All candidates by the sum of their reciprocal ranks, equal ones as found: what fills short lists."""
        return tuple(fuse_rankings(call.items for call in self.run.retrievals))

    @cached_property
    def listed(self) -> tuple[str, ...]:
        """The different found items that the model wrote, in its order."""
        return tuple(dict.fromkeys(place.item_id for place in self.run.written if place.item_id in self.candidates))

    @cached_property
    def ungrounded(self) -> int:
        """Entries of the written list that name nothing found."""
        return self.run.ungrounded + sum(place.item_id not in self.candidates for place in self.run.written)

    @property
    def entries(self) -> int:
        """Entries of the written list, of every kind."""
        return len(self.run.written) + self.run.ungrounded

    @cached_property
    def found_at(self) -> tuple[int, int] | None:
        """Number of the turn, from 1, that first retrieved the target, and the rank there; None if none did."""
        for call in self.run.retrievals:
            if self.run.target_id in call.items:
                return call.turn + 1, call.items.index(self.run.target_id) + 1
        return None


class EndingTally:
    """How runs end."""

    def __init__(self) -> None:
        self._details: dict[str, Commonest] = {status: Commonest() for status in STATUSES}
        self._runs: Counter[str] = Counter()
        self._incomplete = Proportion()

    def add(self, run: RunOutline) -> None:
        """Count one run."""
        self._runs[run.status] += 1
        self._incomplete.add(run.incomplete)
        if run.detail:
            shape = _QUOTED.sub("'…'", _NUMBER.sub("N", run.detail))
            self._details.setdefault(run.status, Commonest()).add(shape)

    def endings(self) -> tuple[Ending, ...]:
        """One for each status, those that no run has included."""
        n = self._incomplete.n
        return tuple(
            Ending(
                status=status,
                share=proportion_interval(self._runs[status], n),
                runs=self._runs[status],
                details=self._details[status].top(_DETAILS) if status in self._details else (),
            )
            for status in dict.fromkeys((*STATUSES, *sorted(self._runs)))
        )

    @property
    def incomplete(self) -> Proportion:
        """In how many the store failed."""
        return self._incomplete


class TargetTally:
    """Whether targets were found, and listed."""

    def __init__(self) -> None:
        self._first: Counter[int] = Counter()
        self._turns: set[int] = set()
        self._found, self._written, self._shown, self._kept = Proportion(), Proportion(), Proportion(), Proportion()

    def add(self, facts: Facts) -> None:
        """Count one run, if it has a target."""
        target = facts.run.target_id
        if target is None:
            return
        self._turns.update(call.turn + 1 for call in facts.run.retrievals)
        self._found.add(facts.found_at is not None)
        is_written = target in facts.listed
        self._written.add(is_written)
        self._shown.add(any(place.item_id == target for place in facts.run.recommended))
        if facts.found_at is not None:
            self._first[facts.found_at[0]] += 1
            self._kept.add(is_written)

    def figures(self) -> TargetFigures:
        """Over the runs so far."""
        found, points = 0, []
        for turn in sorted(self._turns):
            found += self._first[turn]
            share = proportion_interval(found, self._found.n)
            points.append(CeilingPoint(turn=turn, first_found=self._first[turn], found=share))
        return TargetFigures(
            ceiling=tuple(points),
            found=self._found.interval(),
            written=self._written.interval(),
            shown=self._shown.interval(),
            written_of_found=self._kept.interval(),
        )


class PreferenceTally:
    """What the policy searched with."""

    def __init__(self, encoder: Encoder | None = None) -> None:
        self._encoder = encoder
        self._waiting: list[tuple[str, ...]] = []
        self._texts = Commonest()
        self._phrases, self._words, self._cosine = Ratio(0, 1), Ratio(0, 1), Ratio(0, 2)
        self._repeated, self._seen = Ratio(0, 1), Ratio(0, 1)

    def add(self, facts: Facts) -> None:
        """Count one run."""
        said = facts.preferences
        for text in said:
            self._texts.add(text)
        self._repeated.add(len(said) - len(set(said)), max(0, len(said) - 1))
        compared = said[:MAX_COMPARED]
        self._phrases.add(_mean_distance([{part.strip() for part in _PHRASES.split(t)} - {""} for t in compared]))
        self._words.add(_mean_distance([set(_WORDS.findall(text)) for text in compared]))
        if self._encoder is not None and len(compared) > 1:
            self._waiting.append(compared)
            if len(self._waiting) >= _ENCODED_AT_ONCE:
                self._encode()
        known: set[str] = set()
        again = later = 0
        for call in facts.run.retrievals:
            if known:
                later += len(call.items)
                again += sum(item in known for item in call.items)
            known.update(call.items)
        self._seen.add(again, later)

    def figures(self) -> PreferenceFigures:
        """Over the runs so far."""
        self._encode()
        return PreferenceFigures(
            searches=self._texts.n,
            distinct=self._texts.distinct,
            distinct_is_floor=self._texts.is_floor,
            commonest=self._texts.top(_COMMONEST),
            phrase_distance=self._phrases.interval(),
            word_distance=self._words.interval(),
            cosine_distance=self._cosine.interval(),
            repeated=self._repeated.interval(),
            items_seen=self._seen.interval(),
        )

    def _encode(self) -> None:
        if self._encoder is None or not self._waiting:
            return
        texts = list(dict.fromkeys(text for said in self._waiting for text in said))
        vectors = dict(zip(texts, self._encoder.encode(texts, role="preference").astype(np.float64), strict=True))
        for said in self._waiting:
            known = [vectors[text] for text in said if vectors[text].any()]  # one with nothing to read is all zeros
            pairs = [1 - float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in combinations(known, 2)]
            if pairs:
                self._cosine.add(max(0.0, float(np.mean(pairs))))
        self._waiting.clear()


class CopyTally:
    """How far the written list is the recommender's own order."""

    def __init__(self) -> None:
        self._overlaps = (Ratio(0, 1), Ratio(0, 1))
        self._same = (Proportion(), Proportion())

    def add(self, facts: Facts) -> None:
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
        """Over the runs so far."""
        first, fused = (overlap.interval() for overlap in self._overlaps)
        same_first, same_fused = (same.interval() for same in self._same)
        return CopyFigures(overlap_first=first, same_first=same_first, overlap_fused=fused, same_fused=same_fused)


class ListTally:
    """What is wrong with the lists that the model wrote."""

    def __init__(self) -> None:
        self._wrote, self._full = Proportion(), Proportion()
        self._any_ungrounded, self._any_repeated = Proportion(), Proportion()
        self._ungrounded, self._repeated = Ratio(0, 1), Ratio(0, 1)
        self._lengths = Quantiles()

    def add(self, facts: Facts) -> None:
        """Count one run."""
        self._wrote.add(facts.entries > 0)
        if not facts.entries:
            return
        grounded = facts.entries - facts.ungrounded
        self._lengths.add(facts.entries)
        self._full.add(len(facts.listed) >= min(facts.run.k, len(facts.candidates)))
        self._ungrounded.add(facts.ungrounded, facts.entries)
        self._any_ungrounded.add(facts.ungrounded > 0)
        self._repeated.add(grounded - len(facts.listed), grounded)
        self._any_repeated.add(grounded > len(facts.listed))

    def figures(self) -> ListFigures:
        """Over the runs so far."""
        return ListFigures(
            wrote=self._wrote.interval(),
            length=self._lengths.spread(),
            full=self._full.interval(),
            ungrounded=self._ungrounded.interval(),
            lists_ungrounded=self._any_ungrounded.interval(),
            repeated=self._repeated.interval(),
            lists_repeated=self._any_repeated.interval(),
        )


class PositionTally:
    """Where the chosen items stood among the candidates."""

    def __init__(self) -> None:
        self._places, self._first_choice, self._early = Ratio(0, 1), Ratio(0, 1), Ratio(0, 1)
        self._by_chance, self._chosen = 0.0, 0
        self._bins = [0] * BINS
        self._ranks = Quantiles()

    def add(self, facts: Facts) -> None:
        """Count one run, if there was something to choose."""
        n, chosen = len(facts.candidates), len(facts.listed)
        if n < 2 or not chosen:
            return
        numbers = [facts.candidates[item] for item in facts.listed]
        places = [(number - 1) / (n - 1) for number in numbers]
        self._places.add(sum(places), chosen)
        self._first_choice.add(places[0])
        self._early.add(sum(number <= FIRST for number in numbers), chosen)
        self._by_chance += chosen * min(1.0, FIRST / n)
        self._chosen += chosen
        for number in numbers:
            self._bins[min(BINS - 1, (number - 1) * BINS // (n - 1))] += 1
        found_at: dict[str, int] = {}
        for call in facts.run.retrievals:
            for rank, item in enumerate(call.items, start=1):
                found_at.setdefault(item, rank)
        for item in facts.listed:
            self._ranks.add(found_at[item])

    def figures(self) -> PositionFigures:
        """Over the runs so far."""
        return PositionFigures(
            mean=self._places.interval(),
            first_choice=self._first_choice.interval(),
            first_five=self._early.interval(),
            first_five_by_chance=self._by_chance / self._chosen if self._chosen else float("nan"),
            histogram=tuple(self._bins),
            retrieval_rank=self._ranks.spread(),
        )


class CostTally:
    """What runs take."""

    def __init__(self) -> None:
        self._spreads = {name: Quantiles() for name in _COSTS}
        self._speed = Ratio(0)

    def add(self, facts: Facts) -> None:
        """Count one run."""
        run, spreads = facts.run, self._spreads
        spreads["run_tokens"].add(sum(turn.completion_tokens for turn in run.turns))
        spreads["run_tokens_read"].add(sum(turn.prompt_tokens for turn in run.turns))
        spreads["run_ms"].add(float("nan") if run.latency_ms is None else run.latency_ms)
        spreads["run_turns"].add(len(run.turns))
        spreads["run_retrievals"].add(len(run.retrievals))
        tokens, seconds = 0, 0.0
        for turn in run.turns:
            spreads["turn_ms"].add(turn.latency_ms)
            if turn.action == "unavailable":  # no answer, so no tokens to speak of
                continue
            spreads["turn_tokens"].add(turn.completion_tokens)
            if turn.completion_tokens and turn.latency_ms > 0:
                spreads["turn_tokens_per_second"].add(1000 * turn.completion_tokens / turn.latency_ms)
                tokens += turn.completion_tokens
                seconds += turn.latency_ms / 1000
        self._speed.add(tokens, seconds)

    def figures(self) -> CostFigures:
        """Over the runs so far."""
        return CostFigures(
            **{name: quantiles.spread() for name, quantiles in self._spreads.items()},
            tokens_per_second=self._speed.interval(),
        )


_COSTS = (
    "run_tokens",
    "run_tokens_read",
    "run_ms",
    "run_turns",
    "run_retrievals",
    "turn_tokens",
    "turn_ms",
    "turn_tokens_per_second",
)


def _mean_distance(sets: Sequence[Collection[str]]) -> float:
    """Mean pairwise Jaccard distance; NaN for fewer than two sets that hold something."""
    filled = [frozenset(one) for one in sets if one]
    pairs = [1 - len(a & b) / len(a | b) for a, b in combinations(filled, 2)]
    return sum(pairs) / len(pairs) if pairs else float("nan")
