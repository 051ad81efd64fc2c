"""How well a preference holds what a person said: which of its phrases the words support, and which words it missed.

Where it is known what a message expresses (`Said`), that decides. Else the words themselves do: the phrases that they
name, and those that are more frequent among the items that they find than in the catalogue.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from deeprec.agent.traces import RunTrace
from deeprec.evals.metrics.rewards import Reward, TokenFree
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.recommender import Query, Recommender, retrieve_batch

MESSAGE_ITEMS = 30
"""Items that are retrieved for a message alone, to see which phrases are true of them."""
MAX_MESSAGES = 4_096
"""Messages whose supported phrases are kept."""
SUPPORT = "supported"
"""The component of a reward that scores whether the words support the preference."""
_SEGMENTS = re.compile(r"[;\n]")
_REFUSED = re.compile(r"(?:not|no|without)\s+", re.IGNORECASE)
_ONLY = re.compile(r"only\s+", re.IGNORECASE)
_BOUND = re.compile(r"\s*([^<>=]+?)\s*(?:>=|<=|<|>)\s*\S+\s*")


@dataclass(frozen=True, slots=True)
class HeardWords:
    """The segments of a run's preferences against what a message expresses. Each is counted once."""

    right: tuple[str, ...]
    """Segments that the words support."""
    wrong: tuple[str, ...]
    """Segments that they do not."""
    heard: tuple[str, ...]
    """What the message expresses and a preference has: `comedy`, `not horror`, `price`."""
    missed: tuple[str, ...]
    """What the message expresses and no preference has."""

    @property
    def precision(self) -> float:
        """The share of the segments that the words support; NaN where nothing was written."""
        written = len(self.right) + len(self.wrong)
        return len(self.right) / written if written else math.nan

    @property
    def recall(self) -> float:
        """The share of what the message expresses that a preference has; NaN where it expresses nothing."""
        said = len(self.heard) + len(self.missed)
        return len(self.heard) / said if said else math.nan


def compare_with_words(
    preferences: Iterable[str], said: Mapping[str, Sequence[str]], *, supported: Iterable[str] = ()
) -> HeardWords:
    """Compare the preferences of a run with what its message expresses.

    A preference is read by its segments, separated by `;`: `not PHRASE` refuses, `ATTRIBUTE <= NUMBER` bounds, all else
    wants. A segment is right where it names something of that kind which the message expresses, also in other words
    around it.

    Args:
        preferences: As they were written.
        said: `wanted` and `unwanted` phrases, and `where`, the attributes that are bounded, as `CaseRecord.said`.
        supported: Further phrases that a preference may want; leaving them out is no omission.
    """
    wanted, unwanted = tuple(said.get("wanted", ())), tuple(said.get("unwanted", ()))
    bounded = {_folded(name): name for name in said.get("where", ())}
    spot_wanted, spot_unwanted = _spotter((*wanted, *supported)), _spotter(unwanted)
    right, wrong, heard = dict[str, None](), dict[str, None](), set[str]()
    for segment in dict.fromkeys(part for text in preferences for part in _segments(text)):
        if bound := _BOUND.fullmatch(segment):
            names = [bounded[name] for name in [_folded(bound[1])] if name in bounded]
        elif refusal := _REFUSED.match(segment):
            names = [f"not {phrase}" for phrase in spot_unwanted.spot(segment[refusal.end() :])]
        else:
            names = list(spot_wanted.spot(_ONLY.sub("", segment, count=1)))
        (right if names else wrong)[segment] = None
        heard.update(names)
    expressed = (*wanted, *(f"not {phrase}" for phrase in unwanted), *bounded.values())
    return HeardWords(
        right=tuple(right),
        wrong=tuple(wrong),
        heard=tuple(name for name in expressed if name in heard),
        missed=tuple(name for name in expressed if name not in heard),
    )


def written_preferences(trace: RunTrace) -> list[str]:
    """List the preferences of a run's retrievals."""
    return [retrieval.preference for retrieval in trace.retrievals if retrieval.preference]


def measure_heard(
    trace: RunTrace, said: Mapping[str, Any] | None, support: Callable[[str], WordSupport]
) -> dict[str, float]:
    """Measure the preferences of a run by its message; nothing for a run without a message or a preference.

    Args:
        trace: The run.
        said: What the message expresses; None where that is not known.
        support: What the words alone support (`make_word_support`); it is asked where `said` is None.

    Returns:
        `words_precision` and `words_recall`, NaN as in `HeardWords`.
    """
    preferences = written_preferences(trace)
    if not trace.run.message or not preferences:
        return {}
    if said is None:
        found = support(trace.run.message)
        heard = compare_with_words(preferences, {"wanted": found.named}, supported=found.typical)
    else:
        heard = compare_with_words(preferences, said)
    return {"words_precision": heard.precision, "words_recall": heard.recall}


@dataclass(frozen=True, slots=True)
class WordSupport:
    """The phrases of a catalogue that words support, whatever they mean to say."""

    named: tuple[str, ...]
    """Phrases that stand in the words."""
    typical: tuple[str, ...]
    """Further phrases, more frequent among the items that the words find than in the catalogue."""


def make_word_support(recommender: Recommender) -> Callable[[str], WordSupport]:
    """Build the function from words to the phrases that they support, by what the recommender finds for them alone."""
    catalogue = recommender.catalogue
    known = catalogue.phrases()
    common = {phrase: len(ids) / max(1, len(catalogue)) for phrase, ids in known.items()}
    spotter = PhraseSpotter(known)

    @lru_cache(maxsize=MAX_MESSAGES)
    def support(words: str) -> WordSupport:
        named = spotter.spot(words)
        [found] = retrieve_batch(recommender, [Query(words=words)], k=MESSAGE_ITEMS)
        counts = Counter(phrase for item in found for phrase in catalogue.phrases_of(item.id) if phrase in common)
        typical = [phrase for phrase, count in counts.most_common() if count / len(found) > common[phrase]]
        return WordSupport(named, tuple(phrase for phrase in typical if phrase not in named))

    return support


def make_support_reward(recommender: Recommender) -> Reward:
    """Build the reward for preferences that the person's words support, by what the recommender finds for the words.

    Returns:
        f(trace) -> the share of the segments of the preferences that the words name or typically find, in [0, 1]; NaN
        for a run without a message or without a preference.
    """
    support = make_word_support(recommender)

    def reward(trace: RunTrace) -> float:
        return measure_heard(trace, None, support).get("words_precision", math.nan)

    return TokenFree(reward)


def _segments(text: str) -> list[str]:
    return [folded for part in _SEGMENTS.split(text) if (folded := " ".join(part.casefold().split()))]


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


@lru_cache(maxsize=MAX_MESSAGES)
def _spotter(phrases: tuple[str, ...]) -> PhraseSpotter:
    return PhraseSpotter(phrases)
