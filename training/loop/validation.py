"""Validation of a loop's policy: a suite on validation targets, run by the evaluation's own harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from deeprec.agent import TraceStore
from deeprec.evals import load_results, run_suite
from deeprec.evals.requests.request_cases import MADE_TEST
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
    label: str,
    config: LoopConfig,
    store: TraceStore,
    dataset: Dataset,
    recommender: Recommender,
    encoder: Encoder | None,
    base_url: str,
    say: Callable[[str], None],
) -> dict[str, Measures]:
    """Measure a version of the policy, and the recommender alone, on validation targets.

    Args:
        name: the version's name in the results.
        adapter: the version's name on the server; None for the model without an adapter.
        label: the start of the names of the loop's suites.
        config: the loop's settings.
        store: the store that logs the runs.
        dataset: people and targets.
        recommender: the recommender.
        encoder: compares preferences in the diversity measure of a recommender other than the TRM.
        base_url: the server that has the adapter loaded.
        say: called with a line at each tenth of the version's runs, and with the measures.

    Returns:
        `name` and `RECOMMENDER` -> their measures.
    """
    plan, k = config.validation, config.agent_config(guided=False).k
    agent = {setting: value for setting, value in config.agent.items() if setting != "k"}
    suite = Suite(
        name=f"{label}-valid",
        data=config.data,
        split="valid",
        users=plan.users,
        k=k,
        requests=None if config.requests is None else config.path_of(config.validation_requests or MADE_TEST),
        agent=agent | {"temperature": plan.temperature},
        baseline=RECOMMENDER,
        systems=(
            Entry(system="trm" if config.requests is None else "words-history", name=RECOMMENDER),
            Entry(system="deeprec-free", name=name, model=adapter),
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
    return measures


def best_policy(validation: Mapping[str, Measures], k: int) -> str:
    """The policy with the highest NDCG of the list as written; the recommender alone does not count.

    Args:
        validation: name -> measures of what was validated, at least of one policy.
        k: length of the lists.
    """
    first = _kept_measures(k)[0]
    policies = {name: measures[first] or 0.0 for name, measures in validation.items() if name != RECOMMENDER}
    return max(policies, key=lambda name: policies[name])


def _kept_measures(k: int) -> tuple[str, ...]:
    """Measures of a validation that are kept; the first decides which version is best."""
    at = min(k, 10)
    lists = [f"{metric}@{at} {listing}" for metric in ("ndcg", "recall") for listing in ("written", "filled")]
    return (*lists, "found", "valid", "calls", "new_per_call", "tokens")


def _mean(values: NDArray[np.float64]) -> float | None:
    kept = np.asarray(values)[~np.isnan(values)]
    return float(kept.mean()) if kept.size else None
