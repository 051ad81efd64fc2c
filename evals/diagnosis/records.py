"""Records of a diagnosis: every share with its interval and the number that it is taken over."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from deeprec.evals.metrics.ranking import Interval
from deeprec.evals.metrics.streaming import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One way for runs to end."""

    status: str
    share: Interval
    """The share of all runs, those still running included."""
    runs: int
    details: tuple[tuple[str, int], ...]
    """The details that runs logged, the commonest first; numbers in them are written N, quoted text '…'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CeilingPoint:
    """How far the target was found after one turn."""

    turn: int
    """Number of the policy call whose retrieval it is, from 1."""
    first_found: int
    """Runs whose target was retrieved in this turn for the first time."""
    found: Interval
    """Share of the runs with a target in which it had been retrieved by then: no ranking can list more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFigures:
    """Whether targets were found and listed, over the runs that have one."""

    ceiling: tuple[CeilingPoint, ...]
    found: Interval
    """The target was retrieved at all."""
    written: Interval
    """The target is in the list that the model wrote."""
    shown: Interval
    """The target is in the list as it was filled and shown."""
    written_of_found: Interval
    """The target is in the written list, over the runs in which it was retrieved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceFigures:
    """Preferences of the retrievals. Two preferences are the same if they differ in case and white space only."""

    searches: int
    """Preferences written."""
    distinct: int
    """Different ones over all runs."""
    distinct_is_floor: bool
    """There are more than were counted apart."""
    commonest: tuple[tuple[str, int], ...]
    phrase_distance: Interval
    """Mean pairwise Jaccard distance, within a run, of the sets of phrases (split at ; , and line breaks), over runs
    with two preferences or more: 0 is always the same, 1 nothing in common."""
    word_distance: Interval
    """The same of the sets of words."""
    cosine_distance: Interval
    """Mean pairwise 1 - cosine of the embeddings; NaN without an encoder."""
    repeated: Interval
    """Share of the preferences after a run's first that repeat an earlier one of the run."""
    items_seen: Interval
    """Share of the items of the second and later retrievals that an earlier one of the run had found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MisheardPhrase:
    """A phrase that preferences have wrongly, or that they miss, and what goes with it."""

    phrase: str
    """As it was written, or as the message expresses it: `comedy`, `not horror`, the attribute of a bound."""
    runs: int
    others: tuple[tuple[str, int], ...]
    """Phrases of the same runs, with counts: those missed beside a wrong one, or wrong beside a missed one."""
    words: str
    """The message of the first such run, cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordFigures:
    """How well preferences hold the messages, over the measured runs of suites that have a message and a preference."""

    runs: int
    precision: Interval
    """The share of a preference that the words support; mean over runs."""
    recall: Interval
    """The share of what the words express that a preference has; mean over runs."""
    misheard: tuple[MisheardPhrase, ...]
    """Phrases that were written and that the words do not support, in the most runs first; where it is known what the
    messages express."""
    missed: tuple[MisheardPhrase, ...]
    """What the words express and no preference of the run has, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFigures:
    """How far the written list is the recommender's own order, over runs that wrote two different found items or more.

    With n different items written, repeats counted once: `overlap` is the share of them that is among the first n of
    the recommender's order, `same` whether they are exactly these, in this order.
    """

    overlap_first: Interval
    """Overlap with the first retrieval's order; mean over runs."""
    same_first: Interval
    overlap_fused: Interval
    """Overlap with the fused order of all retrievals, which also fills short lists; mean over runs."""
    same_fused: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFigures:
    """The lists as the model wrote them. An entry is ungrounded if it names nothing that the run's retrievals found."""

    wrote: Interval
    """Runs that wrote a list at all."""
    length: Spread
    """Entries a list, ungrounded and repeated ones included."""
    full: Interval
    """Lists with as many different found items as the request demands, or as had been found if those were fewer."""
    ungrounded: Interval
    """The share of all entries."""
    lists_ungrounded: Interval
    """Lists with one such entry or more."""
    repeated: Interval
    """The share of the grounded entries that name an item again."""
    lists_repeated: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionFigures:
    """Positions of the chosen items among the candidates, numbered as the model was shown them, first found first.

    Over runs with two candidates or more. The normalised position of candidate c of n is (c - 1) / (n - 1).
    """

    mean: Interval
    """Mean normalised position of the different items written; 0.5 where position decides nothing."""
    first_choice: Interval
    """Mean normalised position of the item at the top of the list."""
    first_five: Interval
    """Share of the items written that were among the first five candidates."""
    first_five_by_chance: float
    """That share if items were drawn at random from the same candidates."""
    histogram: tuple[int, ...]
    """Items written by tenth of the normalised position."""
    retrieval_rank: Spread
    """Rank of the items written in the retrieval that found them first, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFigures:
    """The cost of runs. Tokens written are the policy's, tokens read are all prompts as the server counted them."""

    run_tokens: Spread
    run_tokens_read: Spread
    run_ms: Spread
    run_turns: Spread
    run_retrievals: Spread
    turn_tokens: Spread
    turn_ms: Spread
    tokens_per_second: Interval
    """Tokens written over the time of the calls that wrote them, all turns together."""
    turn_tokens_per_second: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class WorthReading:
    """A run that a person should read, and the reason."""

    run_id: UUID
    reason: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """How logged runs went. Endings count all but forks; everything else counts whole runs that have ended."""

    runs: int
    """Runs read."""
    counted: int
    """Whole runs that have ended and are no forks."""
    left_out: Mapping[str, int]
    """`forks`, `knowledge`, `running`, `incomplete` -> runs that are not among `counted`."""
    systems: Mapping[str, int]
    """System -> its runs, forks left out; "" for runs that name none."""
    endings: tuple[Ending, ...]
    incomplete: Interval
    """Share of all but forks in which the store failed. It does not decide how a run ended."""
    target: TargetFigures
    preferences: PreferenceFigures
    copying: CopyFigures
    lists: ListFigures
    positions: PositionFigures
    cost: CostFigures
    worth_reading: tuple[WorthReading, ...]
    words: WordFigures | None = None
    """None where no run has a message and was measured."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; a missing number is None. `words` is there only where a run has a message."""
        plain: dict[str, Any] = _plain(self)
        return {name: value for name, value in plain.items() if name != "words" or value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return value.to_dict()
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, UUID):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
