"""Validation of a loop's policy: a suite on validation targets, run by the evaluation's own harness."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deeprec.agent import CompletionPolicy, TraceStore
from deeprec.agent.serving.shipped_adapter import find_shipped_adapter
from deeprec.evals import SuiteResults, load_results, run_suite
from deeprec.evals.metrics.ranking import paired_interval
from deeprec.evals.metrics.statistics import smallest_difference
from deeprec.evals.requests.request_cases import MADE_TEST
from deeprec.evals.suites.comparison import paired_values
from deeprec.evals.suites.suite import Entry, Suite
from deeprec.training.loop.config import LoopConfig
from deeprec.training.loop.messages import measures_line, report_tenths
from deeprec.trm_tool import Dataset, Encoder, Recommender

UNTRAINED = "untrained"
"""The name in validation of the policy without an adapter."""
RECOMMENDER = "trm"
"""The name in validation of the recommender alone, which a policy has to beat; it gets the words of requests too."""

Measures = dict[str, float | None]
"""Measure -> its mean over the validation targets; None where no run has a value."""


def validate_policy(
    name: str,
    adapter: str | None,
    *,
    best: str | None,
    label: str,
    config: LoopConfig,
    store: TraceStore,
    dataset: Dataset,
    recommender: Recommender,
    encoder: Encoder | None,
    base_url: str,
    say: Callable[[str], None],
) -> tuple[dict[str, Measures], str]:
    """Measure a version of the policy, and the recommender alone, on validation targets, and choose the best version.

    Args:
        name: the version's name in the results.
        adapter: the version's name on the server; None for the model without an adapter.
        best: the best version so far; None where nothing was validated before.
        label: the start of the names of the loop's suites.
        config: the loop's settings.
        store: the store that logs the runs.
        dataset: people and targets.
        recommender: the recommender.
        encoder: compares preferences in the diversity measure of a recommender other than the TRM.
        base_url: the server that has the adapter loaded.
        say: called with a line at each tenth of the version's runs, and with the measures.

    Returns:
        `name` and `RECOMMENDER` -> their measures; and the best version from now on, `name` or `best`.
    """
    plan, k = config.validation, config.agent_config(guided=False).k
    agent = {setting: value for setting, value in config.agent.items() if setting != "k"}
    suite = Suite(
        name=f"{label}-valid",
        data=config.data,
        split="valid",
        users=plan.people,
        k=k,
        requests=None if config.requests is None else config.path_of(config.validation_requests or MADE_TEST),
        agent=agent | {"temperature": plan.temperature},
        baseline=RECOMMENDER,
        systems=(
            Entry(system="trm" if config.requests is None else "words-history", name=RECOMMENDER),
            Entry(system="deeprec-free", name=name, model=adapter or asyncio.run(_base_by_name(base_url, config))),
        ),
    )
    report = report_tenths(say, f"validation of {name}")
    stored_under = run_suite(
        suite,
        store,
        dataset=dataset,
        artifact=recommender,
        encoder=encoder,
        base_url=base_url,
        max_concurrency=config.concurrency,
        on_progress=lambda progress: report(progress.done, progress.total) if progress.system == name else None,
    )
    results = load_results(store, stored_under)
    measures: dict[str, Measures] = {}
    for system in (name, RECOMMENDER):
        found = results.system(system).measures
        measures[system] = {measure: _mean(found[measure]) for measure in _kept_measures(k)}
    say(f"{name} on {len(results.system(name).users)} validation targets: {measures_line(measures[name])}")
    if best is None:
        return measures, name
    better, why = is_better(results, name, best, measure=_kept_measures(k)[0], difference=plan.difference)
    say(why)
    return measures, name if better else best


async def _base_by_name(base_url: str, config: LoopConfig) -> str | None:
    """The name of the base model where an entry without one would get the adapter that ships; else None."""
    if config.agent_config(guided=False).prompts != "words" or await find_shipped_adapter(base_url, None) is None:
        return None
    async with CompletionPolicy(base_url) as policy:
        return (await policy.connect()).name


def is_better(results: SuiteResults, name: str, best: str, *, measure: str, difference: float) -> tuple[bool, str]:
    """Decide whether a version takes the place of the best one: where the interval of their difference is above 0.

    Args:
        results: of the validation.
        name: the new version.
        best: the best version so far.
        measure: what is compared, person by person.
        difference: the smallest difference that the choice is to see.

    Returns:
        whether it does, and a sentence with the paired interval and what this number of people can show.
    """
    if best not in {system.name for system in results.systems}:
        return False, f"{name} cannot be compared with {best}, whose runs are not in the store any more: {best} is kept"
    one, other, clusters = paired_values(results.system(name), results.system(best), measure)
    found = paired_interval(one, other, clusters)
    smallest = smallest_difference(one, other, clusters)
    if math.isnan(found.low):
        return False, f"{name} and {best} are alike in {measure} for {found.n} people: {best} is kept"
    better = found.low > 0
    shown = f"{name} is {found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}) from {best} in {measure}"
    verdict = f"{name} is the best now" if better else f"{best} is kept"
    needed = math.ceil(found.n * (smallest / difference) ** 2)
    power = f"{found.n} people show a difference of {smallest:.3f} four times out of five"
    more = f", and {difference:g} would need {needed}" if needed > found.n else ""
    return better, f"{shown}: {verdict}; {power}{more}"


def _kept_measures(k: int) -> tuple[str, ...]:
    """Measures of a validation that are kept; the first decides which version is best."""
    at = min(k, 10)
    lists = [f"{metric}@{at} {listing}" for metric in ("ndcg", "recall") for listing in ("written", "filled")]
    return (*lists, "found", "valid", "calls", "new_per_call", "tokens")


def _mean(values: NDArray[np.float64]) -> float | None:
    kept = np.asarray(values)[~np.isnan(values)]
    return float(kept.mean()) if kept.size else None
