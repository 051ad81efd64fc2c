"""Leaks of targets in stored runs: targets that a recommender has learned, or that policies are evaluated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from deeprec.agent.traces import RunFilter, RunRecord, TraceStore
from deeprec.evals.requests.cases import SPLITS
from deeprec.training.rollouts.instances import SPLIT
from deeprec.training.store_report.records import RecommenderRuns
from deeprec.trm_tool.data.atomic_files import embedded_ml100k, read_atomic_files
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

_READ = ("run_id", "user_id", "target_id", "split", "trm_holdout", "dataset_fingerprint")


def find_leaks(store: TraceStore, where: RunFilter | None = None, dataset: Dataset | None = None) -> list[str]:
    """Find reasons why figures of a policy that learns from some runs could not be trusted, in full sentences.

    The pair of person and target of each run is looked up in the data that its recommender was trained on, where that
    is at hand; the split that a run is labelled with decides alone where it is not.

    Args:
        store: the store of the runs.
        where: which runs; None for all.
        dataset: the data of the runs; None takes the embedded ml-100k for the runs that are of it.
    """
    with store.snapshot() as snapshot:
        if dataset is None:
            dataset = _embedded({count.values[0] for count in snapshot.count_runs("dataset_fingerprint", where=where)})
        targets = list(_target_leaks(snapshot.runs(_READ, where), dataset))
    return [*leaks(recommender_runs(store, where)), *targets]


def find_run_leaks(runs: Sequence[RunRecord], dataset: Dataset | None = None) -> list[str]:
    """Find the same reasons for runs that are at hand; the data is as for `find_leaks`."""
    if dataset is None:
        dataset = _embedded({run.dataset_fingerprint for run in runs})
    counted = Counter((run.trm_fingerprint, run.trm_holdout, run.split) for run in runs)
    recommenders = [
        RecommenderRuns(fingerprint=fingerprint, holdout=holdout, split=split, runs=count)
        for (fingerprint, holdout, split), count in counted.most_common()
    ]
    return [*leaks(recommenders), *_target_leaks(runs, dataset)]


def recommender_runs(store: TraceStore, where: RunFilter | None = None) -> tuple[RecommenderRuns, ...]:
    """Count runs by their recommender and split, the most frequent first."""
    with store.snapshot() as snapshot:
        found = snapshot.count_runs("trm_fingerprint", "trm_holdout", "split", where=where)
    return tuple(
        RecommenderRuns(fingerprint=fingerprint, holdout=holdout, split=split, runs=count.runs)
        for count in sorted(found, key=lambda count: -count.runs)
        for fingerprint, holdout, split in [count.values]
    )


def leaks(recommenders: Iterable[RecommenderRuns]) -> Iterator[str]:
    """Find reasons why figures of a policy that learns from some runs could not be trusted, in full sentences."""
    found = list(recommenders)
    leaking = [each for each in found if each.split == SPLIT and each.holdout != SPLITS[SPLIT]]
    if leaking:
        yield (
            f"{sum(each.runs for each in leaking)} runs of the split {SPLIT} used a recommender of holdout "
            f"{leaking[0].holdout} (such as {leaking[0].fingerprint[:12]}), which has learned their targets, or may "
            f"have. Collect with one of `deeprec trm train --holdout {SPLITS[SPLIT]}`."
        )
    held_out = [each for each in found if each.split in SPLITS and each.split != SPLIT]
    if held_out:
        splits = " and ".join(sorted({str(each.split) for each in held_out}))
        yield (
            f"{sum(each.runs for each in held_out)} runs are of the split {splits}: a policy that learns from them "
            f"cannot be evaluated there. Choose --split {SPLIT}."
        )


def _target_leaks(runs: Iterable[Any], dataset: Dataset | None) -> Iterator[str]:
    """Look the targets of runs up; a run has the columns that `_READ` names."""
    learned: list[UUID] = []
    evaluated: list[UUID] = []
    unlabelled: list[UUID] = []
    for run in runs:
        if run.target_id is None:
            continue
        is_known = dataset is not None and run.dataset_fingerprint == dataset.fingerprint
        if dataset is None or not is_known or run.user_id not in dataset.sequences:
            if run.split is None:
                unlabelled.append(run.run_id)
        elif run.target_id in dataset.sequences[run.user_id][1 - SPLITS[SPLIT] :]:
            evaluated.append(run.run_id)
        elif run.trm_holdout is None or run.target_id in dataset.history(run.user_id, run.trm_holdout):
            learned.append(run.run_id)
    if learned:
        yield (
            f"{len(learned)} runs (such as {learned[0]}) have targets that their recommender has learned, or may have, "
            f"whatever their split says. Collect with one of `deeprec trm train --holdout {SPLITS[SPLIT]}`."
        )
    if evaluated:
        yield (
            f"{len(evaluated)} runs (such as {evaluated[0]}) are about targets of the splits valid or test, whatever "
            "their own says: a policy that learns from them cannot be evaluated there. Choose others."
        )
    if unlabelled:
        yield (
            f"{len(unlabelled)} runs (such as {unlabelled[0]}) have a target and no split, so that nothing shows that "
            "their recommender did not learn it. Collect with `collect_groups`, or name the data of the runs with "
            "--data, by which it is checked."
        )


def _embedded(fingerprints: set[str | None]) -> Dataset | None:
    """The embedded data, where runs are of data at all and it is installed."""
    if fingerprints <= {None}:
        return None
    try:
        return read_atomic_files(embedded_ml100k())
    except ConfigError:
        return None
