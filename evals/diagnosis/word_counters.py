"""What preferences hold of the messages that runs were given: counted run by run."""

from __future__ import annotations

import math
from collections import Counter

from deeprec.agent.traces.records import listed
from deeprec.evals.diagnosis.records import MisheardPhrase, WordFigures
from deeprec.evals.diagnosis.run_facts import RunFacts
from deeprec.evals.metrics.heard_words import HeardWords, compare_with_words, written_preferences
from deeprec.evals.metrics.streaming import MAX_DISTINCT, Ratio

MAX_WORDS_CHARS = 160
_MOST = 10


class WordCounter:
    """Counts how well preferences hold messages, and which phrases are wrong or missing most often."""

    def __init__(self) -> None:
        self._runs = 0
        self._precision, self._recall = Ratio(0, 1), Ratio(0, 1)
        self._wrong, self._missed = _Phrases(), _Phrases()

    def add(self, facts: RunFacts) -> None:
        """Count one run; one that was not measured, or has no message or preference, is left out."""
        measures, message = facts.run.metrics, facts.run.run.message
        if not message or "words_precision" not in measures:
            return
        self._runs += 1
        self._precision.add(measures["words_precision"])
        self._recall.add(measures["words_recall"])
        heard = _heard(facts)
        if heard is not None:
            for segment in heard.wrong:
                self._wrong.add(segment, heard.missed, message)
            for phrase in heard.missed:
                self._missed.add(phrase, heard.wrong, message)

    def figures(self) -> WordFigures | None:
        """Return the figures over the runs so far; None where no run has a message and measures of it."""
        if not self._runs:
            return None
        return WordFigures(
            runs=self._runs,
            precision=self._precision.interval(),
            recall=self._recall.interval(),
            misheard=self._wrong.commonest(),
            missed=self._missed.commonest(),
        )


def _heard(facts: RunFacts) -> HeardWords | None:
    """The preferences of a run against what its message expresses; None where that is not known.

    A system that was given another conversation's words keeps the case of its own. Its measures do not follow from what
    the case's message expresses.
    """
    case, measures = facts.run.case, facts.run.metrics
    if case is None or case.said is None:
        return None
    said = {name: list(map(str, listed(case.said, name))) for name in ("wanted", "unwanted", "where")}
    heard = compare_with_words(written_preferences(facts.run), said)
    is_measured = _same(heard.precision, measures["words_precision"]) and _same(heard.recall, measures["words_recall"])
    return heard if is_measured else None


def _same(value: float, stored: float) -> bool:
    return (math.isnan(value) and math.isnan(stored)) or math.isclose(value, stored)


class _Phrases:
    """How many runs show each phrase, what stands on the other side in those runs, and one of their messages."""

    def __init__(self) -> None:
        self._runs = Counter[str]()
        self._others: dict[str, Counter[str]] = {}
        self._words: dict[str, str] = {}

    def add(self, phrase: str, others: tuple[str, ...], message: str) -> None:
        if phrase not in self._words and len(self._words) >= MAX_DISTINCT:
            return
        self._runs[phrase] += 1
        self._others.setdefault(phrase, Counter()).update(others)
        self._words.setdefault(phrase, message[:MAX_WORDS_CHARS])

    def commonest(self) -> tuple[MisheardPhrase, ...]:
        most = sorted(self._runs.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST]
        return tuple(
            MisheardPhrase(
                phrase=phrase,
                runs=runs,
                others=tuple(self._others[phrase].most_common(3)),
                words=self._words[phrase],
            )
            for phrase, runs in most
        )
