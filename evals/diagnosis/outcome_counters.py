"""How runs end, what becomes of their targets, and what they take: counted run by run."""

from __future__ import annotations

import re
from collections import Counter

from deeprec.agent.traces import RunTrace
from deeprec.evals.diagnosis.records import CeilingPoint, CostFigures, Ending, TargetFigures
from deeprec.evals.diagnosis.run_facts import RunFacts
from deeprec.evals.metrics.streaming import Commonest, Proportion, Quantiles, Ratio, proportion_interval

STATUSES = ("finished", "malformed", "budget", "fallback", "running")
_DETAILS = 5
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
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


class EndingCounter:
    """Counts how runs end."""

    def __init__(self) -> None:
        self._details: dict[str, Commonest] = {status: Commonest() for status in STATUSES}
        self._runs: Counter[str] = Counter()
        self._incomplete = Proportion()

    def add(self, run: RunTrace) -> None:
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
        """The share of runs in which the store failed."""
        return self._incomplete


class TargetCounter:
    """Counts targets that were found, and listed."""

    def __init__(self) -> None:
        self._first: Counter[int] = Counter()
        self._turns: set[int] = set()
        self._found, self._written, self._shown, self._kept = Proportion(), Proportion(), Proportion(), Proportion()

    def add(self, facts: RunFacts) -> None:
        """Count one run, if it has a target."""
        target = facts.run.run.target_id
        if target is None:
            return
        self._turns.update(call.turn + 1 for call in facts.run.retrievals)
        self._found.add(facts.found_at is not None)
        is_written = target in facts.listed
        self._written.add(is_written)
        self._shown.add(any(entry.item_id == target for entry in facts.run.recommended))
        if facts.found_at is not None:
            self._first[facts.found_at[0]] += 1
            self._kept.add(is_written)

    def figures(self) -> TargetFigures:
        """Return the figures over the runs so far."""
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


class CostCounter:
    """Counts tokens, time, turns and retrievals of runs."""

    def __init__(self) -> None:
        self._spreads = {name: Quantiles() for name in _COSTS}
        self._speed = Ratio(0)

    def add(self, facts: RunFacts) -> None:
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
        """Return the figures over the runs so far."""
        return CostFigures(
            **{name: quantiles.spread() for name, quantiles in self._spreads.items()},
            tokens_per_second=self._speed.interval(),
        )
