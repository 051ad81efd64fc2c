"""Differences of two systems on the same users: paired, tested, and by slice of the users."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.traces import CaseRecord
from deeprec.agent.traces.records import listed
from deeprec.evals.metrics.ranking import Interval, paired_interval
from deeprec.evals.metrics.statistics import FEW_USERS, holm, randomisation_test, smallest_difference
from deeprec.evals.suites.results import SuiteResults, SystemResults
from deeprec.trm_tool.errors import ConfigError

MIN_SLICE = 20
"""Users of a slice that is reported."""
MAX_PHRASES = 8
WORD_SLICES = (
    "words with one attribute",
    "words with two attributes or more",
    "words with a negation",
    "words with a bound",
    "no words",
)
"""Slices of the cases of requests, by what their messages express."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One measure of two systems, paired by user."""

    first: str
    second: str
    measure: str
    first_mean: float
    second_mean: float
    interval: Interval
    """How far the first is above the second; `n` counts users for whom both have a value."""
    p_value: float
    corrected_p: float
    """Corrected after Holm, over the comparisons that were made together."""
    smallest: float
    """The difference that this sample would have shown four times out of five."""
    slice: str = "all"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; a missing number is None."""
        values = {
            name: getattr(self, name)
            for name in ("first", "second", "measure", "slice", "first_mean", "second_mean", "p_value", "corrected_p")
        }
        values |= {"smallest_difference": self.smallest, "few_users": self.interval.n < FEW_USERS}
        shown = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}
        return shown | {"difference": self.interval.to_dict()}


def compare_systems(
    first: SystemResults, second: SystemResults, measures: Sequence[str], *, seed: int = 0
) -> list[Difference]:
    """Pair two systems by user, on the users that both ran for. The p-values are corrected over the measures.

    Raises:
        ConfigError: they share no user, a user has another target in one than in the other, one of them lacks a
            measure, or one masks seen items and the other does not.
    """
    return _corrected([_difference(first, second, measure, seed=seed) for measure in measures])


def compare_all(results: SuiteResults, baseline: str, measure: str, *, seed: int = 0) -> list[Difference]:
    """Compare every system of a suite with one of them, on one measure; the p-values are corrected over all of them.

    Systems that mask seen items otherwise than the baseline are left out.
    """
    against = results.system(baseline)
    others = [
        system
        for system in results.systems
        if system.name != baseline and measure in system.measures and masks_alike(system, against)
    ]
    return _corrected([_difference(system, against, measure, seed=seed) for system in others])


def compare_slices(results: SuiteResults, first: str, second: str, measure: str, *, seed: int = 0) -> list[Difference]:
    """Compare two systems in each slice of at least 20 users; p-values are corrected over the slices."""
    one, other = results.system(first), results.system(second)
    found = []
    for name, users in slices(results).items():
        held = users & set(one.users) & set(other.users)
        if len(held) >= MIN_SLICE:
            found.append(_difference(one, other, measure, seed=seed, users=held, slice_name=name))
    return _corrected(found)


def lists_seen(system: SystemResults) -> bool:
    """Whether a list of the system holds an item of the user's history: then nothing masked it."""
    return bool(np.nansum(system.measures.get("seen", np.zeros(1))) > 0)


def masks_alike(first: SystemResults, second: SystemResults) -> bool:
    """Whether seen items are masked for both or for neither: a list that may hold them has less room for the target."""
    return lists_seen(first) == lists_seen(second)


def slices(results: SuiteResults) -> dict[str, set[str]]:
    """Group users by their case: the words of their request, the target's popularity, the history's length, and so on.

    What a message expresses is known of made requests, and of files of requests that have it.
    """
    cases = results.cases
    found = _word_slices(results.cases) if results.of_requests else {}
    for key, words in (("target_popularity", "target"), ("history_length", "history")):
        values = {user: float(getattr(case, key)) for user, case in cases.items()}
        values = {user: value for user, value in values.items() if not math.isnan(value)}
        if not values:
            continue
        low, high = (float(bound) for bound in np.quantile(list(values.values()), [1 / 3, 2 / 3]))
        unit = "interactions" if key == "target_popularity" else "items"
        thirds = {
            f"{words} up to {low:g} {unit}": (-math.inf, low),
            f"{words} of more than {low:g}, up to {high:g} {unit}": (low, high),
            f"{words} above {high:g} {unit}": (high, math.inf),
        }
        for name, (above, up_to) in thirds.items():
            found[name] = {user for user, value in values.items() if above < value <= up_to}
    found["cold target (no interaction in training)"] = {
        user for user, case in cases.items() if case.target_popularity == 0
    }
    phrases: dict[str, set[str]] = {}
    for user, case in cases.items():
        for phrase in case.phrases:
            phrases.setdefault(phrase, set()).add(user)
    commonest = sorted(phrases.items(), key=lambda entry: (-len(entry[1]), entry[0]))[:MAX_PHRASES]
    return found | {f"target is {phrase}": users for phrase, users in commonest}


def _word_slices(cases: Mapping[str, CaseRecord]) -> dict[str, set[str]]:
    """Group the cases of requests by what their messages express."""
    said = {key: case.said for key, case in cases.items() if case.said is not None and case.words}
    groups = (
        {key for key, each in said.items() if len(listed(each, "wanted")) == 1},
        {key for key, each in said.items() if len(listed(each, "wanted")) > 1},
        {key for key, each in said.items() if listed(each, "unwanted")},
        {key for key, each in said.items() if listed(each, "where")},
        {key for key, case in cases.items() if case.words == 0},
    )
    return dict(zip(WORD_SLICES, groups, strict=True))


def paired_values(
    first: SystemResults, second: SystemResults, measure: str, users: set[str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
    """Return a measure of two systems on the users that both have, in one order, and their clusters: each (n,).

    Raises:
        ConfigError: as `compare_systems`.
    """
    for system in (first, second):
        if measure not in system.measures:
            known = ", ".join(name for name in system.measures if "@" in name)
            raise ConfigError(f"{system.name} has no measure {measure!r}. Choose one of {known}.")
    if not masks_alike(first, second):
        unmasked, masked = (first, second) if lists_seen(first) else (second, first)
        raise ConfigError(
            f"{unmasked.name} lists items of the history and {masked.name} does not: seen items are masked for one of "
            "them only, so their figures do not compare. Mask them in both."
        )
    of_first = {user: row for row, user in enumerate(first.users)}
    of_second = {user: row for row, user in enumerate(second.users)}
    both = [user for user in first.users if user in of_second and (users is None or user in users)]
    if not both:
        raise ConfigError(f"{first.name} and {second.name} share no user, so nothing can be paired.")
    for user in both:
        one, other = first.targets[of_first[user]], second.targets[of_second[user]]
        if one != other:
            raise ConfigError(
                f"User {user} has the target {one!r} in {first.name} and {other!r} in {second.name}. "
                "Compare systems of one suite."
            )
    left = first.measures[measure][[of_first[user] for user in both]]
    right = second.measures[measure][[of_second[user] for user in both]]
    return left, right, np.array(first.clusters)[[of_first[user] for user in both]]


def _difference(
    first: SystemResults,
    second: SystemResults,
    measure: str,
    *,
    seed: int,
    users: set[str] | None = None,
    slice_name: str = "all",
) -> Difference:
    left, right, owners = paired_values(first, second, measure, users)
    both = ~(np.isnan(left) | np.isnan(right))
    left, right = left[both], right[both]
    # People are independent of each other; the requests of a conversation are not.
    clusters = None if first.clusters == first.users else owners[both]
    p_value = randomisation_test(left, right, clusters, seed=seed)
    return Difference(
        first=first.name,
        second=second.name,
        measure=measure,
        slice=slice_name,
        first_mean=float(left.mean()) if len(left) else math.nan,
        second_mean=float(right.mean()) if len(right) else math.nan,
        interval=paired_interval(left, right, clusters, seed=seed),
        p_value=p_value,
        corrected_p=p_value,
        smallest=smallest_difference(left, right, clusters),
    )


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    corrected = holm({str(index): difference.p_value for index, difference in enumerate(differences)})
    return [replace(found, corrected_p=corrected[str(index)]) for index, found in enumerate(differences)]
