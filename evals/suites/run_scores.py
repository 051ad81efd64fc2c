"""What is stored beside each run of a suite: its measures, its rewards, and what its case is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from deeprec.agent import RunTrace, TraceStore
from deeprec.agent.traces import CaseRecord
from deeprec.evals.metrics import rewards
from deeprec.evals.metrics.heard_words import make_word_support, measure_heard
from deeprec.evals.metrics.rewards import make_rewards, score_run
from deeprec.evals.metrics.run_metrics import make_list_measures, measure_run, names_target
from deeprec.evals.requests.cases import Case
from deeprec.evals.requests.leaks import weak_points
from deeprec.evals.systems.baselines import count_interactions
from deeprec.evals.systems.setting import Setting
from deeprec.trm_tool.data import Said
from deeprec.trm_tool.encoders.text_encoder import Encoder

PAID_BY_SOURCE = ("tokens", "prompt_tokens")
"""Measures that a derived run takes over from the run that it was read out of: that run's cost is its own too."""


class RunScorer:
    """Scores the runs of one suite.

    What needs the TRM's weights, such as the similarity reward, is left out where the recommender is another.

    Args:
        setting: The suite, its data and its recommender.
        encoder: Compares preferences for the diversity reward; None leaves that reward out.
    """

    def __init__(self, setting: Setting, encoder: Encoder | None) -> None:
        weights = setting.weights
        self._catalogue = setting.recommender.catalogue
        self._rewards = make_rewards(weights, encoder)
        self._measure_list = None if weights is None else make_list_measures(weights)
        self._weak_points = weak_points(weights or setting.recommender, setting.dataset, setting.cases)
        counts = (
            count_interactions(setting.dataset, setting.holdout, self._catalogue)
            if weights is None
            else weights.popularity
        )
        self._support = make_word_support(setting.recommender)
        self._popularity: Mapping[str, float] = dict(zip(self._catalogue.ids, counts.tolist(), strict=True))

    def store_scores(self, store: TraceStore, trace: RunTrace, case: Case) -> None:
        """Score a run that an agent ended, and store the scores. The measures come last: they mark the run as done."""
        run_id = trace.run.run_id
        store.write_rewards(run_id, rewards.REWARD_SCHEME, score_run(trace, self._rewards))
        store.write_case(run_id, self._facts(case))
        store.write_metrics(run_id, self._measures(trace) | self._heard(trace, case))

    def with_scores(self, trace: RunTrace, case: Case, source: RunTrace | None) -> RunTrace:
        """A run without a language model, with its measures in it. `source` is the run that it was read out of."""
        measures = self._measures(trace)
        if source is not None:
            of_source = measure_run(source)
            measures |= self._heard(source, case)
            measures |= {name: of_source[name] for name in PAID_BY_SOURCE}
        return replace(trace, metrics=measures, case=self._facts(case))

    def _measures(self, trace: RunTrace) -> dict[str, float]:
        return measure_run(trace, self._measure_list) | {"names_target": names_target(trace, self._catalogue)}

    def _heard(self, trace: RunTrace, case: Case) -> dict[str, float]:
        """How well the preferences hold the message; what a message expresses is known of the case's own one alone."""
        said = case.said if trace.run.message == case.message else None
        return measure_heard(trace, None if said is None else _said(said), self._support)

    def _facts(self, case: Case) -> CaseRecord:
        return CaseRecord(
            target_popularity=self._popularity[case.target],
            history_length=len(case.history),
            other_data=bool(self._weak_points["other_data"]),
            chosen_on=bool(self._weak_points.get("chosen_on")),
            phrases=tuple(self._catalogue.phrases_of(case.target)),
            **_facts_of_request(case),
        )


def _facts_of_request(case: Case) -> dict[str, Any]:
    """The fields of a `CaseRecord` that a request adds; none where the case is of no request."""
    if case.conversation is None:
        return {}
    return {
        "conversation": case.conversation,
        "turn": case.turn,
        "words": len((case.message or "").split()),
        "said": None if case.said is None else _said(case.said),
    }


def _said(wishes: Sequence[Said]) -> dict[str, list[str]]:
    """What all wishes of a message express together, as JSON."""
    return {
        "wanted": list(dict.fromkeys(phrase for wish in wishes for phrase in wish.wanted)),
        "unwanted": list(dict.fromkeys(phrase for wish in wishes for phrase in wish.unwanted)),
        "where": list(dict.fromkeys(name for wish in wishes for name in wish.where or ())),
    }
