"""The diagnosis of many logged runs, from the store alone. No model is called."""

from __future__ import annotations

from collections import Counter

from deeprec.agent import Traces, TraceStore
from deeprec.agent.traces import PARTS, RunFilter
from deeprec.evals.diagnosis.list_counters import CopyCounter, ListCounter, PositionCounter
from deeprec.evals.diagnosis.outcome_counters import CostCounter, EndingCounter, TargetCounter
from deeprec.evals.diagnosis.preference_counters import PreferenceCounter
from deeprec.evals.diagnosis.records import Diagnosis
from deeprec.evals.diagnosis.run_facts import RunFacts
from deeprec.evals.diagnosis.word_counters import WordCounter
from deeprec.evals.diagnosis.worth_reading import WorthReadingRuns
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.errors import ConfigError

_NOT_READ = tuple(part for part in PARTS if part != "scores")


def diagnose(
    source: TraceStore | Traces, where: RunFilter | None = None, *, encoder: Encoder | None = None, worth: int = 20
) -> Diagnosis:
    """Diagnose the runs of a store, read once; of each run only the numbers of its figures stay in memory.

    Forks and replays show what a person tried, not what the policy does, and knowledge runs have no list: both are left
    out altogether. Runs that have not ended, and those of which steps may be missing, count among the endings only.

    Args:
        source: a trace store, or the `Traces` on one.
        where: which runs; None for all.
        encoder: for the distance between preferences by their embeddings; None leaves it NaN.
        worth: most runs to name as worth reading.
    Raises:
        TraceStoreError: the store cannot be read.
    """
    if worth < 0:
        raise ConfigError(f"worth is {worth}. Give the most runs to name, 0 or more.")
    store = source.store if isinstance(source, Traces) else source
    endings, reading = EndingCounter(), WorthReadingRuns(worth)
    target, preferences, copying = TargetCounter(), PreferenceCounter(encoder), CopyCounter()
    lists, positions, cost, words = ListCounter(), PositionCounter(), CostCounter(), WordCounter()
    left_out = Counter({"forks": 0, "running": 0, "incomplete": 0})
    runs, systems = 0, Counter[str | None]()
    for run in store.traces(where, omit=_NOT_READ, batch=256):
        runs += 1
        if run.run.fork is not None:
            left_out["forks"] += 1
            continue
        if run.run.kind == "knowledge":  # it has no list
            left_out["knowledge"] += 1
            continue
        systems[run.run.system] += 1
        endings.add(run)
        if run.status in ("running", "aborted") or run.incomplete:
            left_out[run.status if run.status in ("running", "aborted") else "incomplete"] += 1
            continue
        facts = RunFacts(run)
        for counter in (target, preferences, copying, lists, positions, cost, words, reading):
            counter.add(facts)
    return Diagnosis(
        runs=runs,
        counted=runs - left_out.total(),
        left_out=dict(left_out),
        systems={name or "": count for name, count in systems.most_common()},
        endings=endings.endings(),
        incomplete=endings.incomplete.interval(),
        target=target.figures(),
        preferences=preferences.figures(),
        copying=copying.figures(),
        lists=lists.figures(),
        positions=positions.figures(),
        cost=cost.figures(),
        worth_reading=reading.chosen(),
        words=words.figures(),
    )
