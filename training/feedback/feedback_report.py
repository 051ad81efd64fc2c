"""The report on recommender feedback: what knowledge is worth in ranking again, and how far its scores agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import Interval, clustered_interval, reciprocal_from_ranks, without_leading_zero
from deeprec.training.feedback.feedback_config import FeedbackConfig
from deeprec.training.feedback.knowledge_runs import KnowledgeRun, knowledge_ranks
from deeprec.training.feedback.reranking import (
    DEPTHS,
    METRICS,
    RerankedRow,
    best_of_each,
    choose_trust,
    first_items,
    measure_rows,
    pairwise_agreement,
    reranked_ranks,
)
from deeprec.training.rollouts.instances import SPLIT
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.recommender import BatchRecommender

ALONE, OTHERS, BEST = "backbone alone", "untuned knowledge of another person", "best of N (knows the target)"
UNTUNED, TUNED, REALIGNED = "untuned knowledge", "tuned knowledge", "re-aligned on tuned knowledge"
_KNOWLEDGE = {"untuned": UNTUNED, "tuned": TUNED}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneReport:
    """What knowledge is worth to one recommender."""

    backbone: str
    trusts: Mapping[str, float]
    """Row -> the trust in knowledge that was chosen on validation."""
    rows: tuple[RerankedRow, ...]
    agreement: Mapping[str, Interval]
    """What the score by the target of `train` is compared with -> share of pairs of pieces that both order alike: the
    gain of the same person's next item, which no score sees, and the score of each other recommender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackReport:
    """All that was measured."""

    people: int
    """People of the test."""
    valid: Mapping[str, Interval]
    """Policy -> share of its answers about the test people that are knowledge."""
    distinct: Mapping[str, int]
    """Policy -> different pieces of knowledge among these answers."""
    backbones: tuple[BackboneReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON: a missing number is None."""
        return {
            "people": self.people,
            "valid": {policy: share.to_dict() for policy, share in self.valid.items()},
            "distinct": dict(self.distinct),
            "backbones": [
                {
                    "backbone": each.backbone,
                    "trusts": dict(each.trusts),
                    "rows": [row.to_dict() for row in each.rows],
                    "agreement": {name: share.to_dict() for name, share in each.agreement.items()},
                }
                for each in self.backbones
            ],
        }


def measure_feedback(
    dataset: Dataset,
    config: FeedbackConfig,
    recommenders: Mapping[str, BatchRecommender],
    runs: Mapping[tuple[str, str], Sequence[KnowledgeRun]],
) -> FeedbackReport:
    """Measure every row for every backbone, on the test people, each paired with the backbone alone.

    Args:
        dataset: For the items that follow the targets of `train`.
        config: The backbones.
        recommenders: `untuned trm` and the like: policy and backbone -> the recommender that learned its knowledge.
        runs: Policy and split -> its knowledge runs.
    """
    test = {policy: list(runs[policy, "test"]) for policy in _KNOWLEDGE}
    return FeedbackReport(
        people=len({run.user for run in test["untuned"]}),
        valid={policy: _valid(own) for policy, own in test.items()},
        distinct={policy: len({run.knowledge for run in own if run.knowledge}) for policy, own in test.items()},
        backbones=tuple(_backbone(dataset, each, config, recommenders, runs) for each in config.backbones),
    )


def report_lines(report: FeedbackReport) -> list[str]:
    """The report as lines of text."""
    lines = [f"{report.people} people. Valid knowledge: " + "; ".join(_shares(report))]
    for each in report.backbones:
        for depth in DEPTHS:
            lines += ["", f"{each.backbone}, its first {depth} ranked again: difference to the backbone alone (95%)"]
            for row in each.rows:
                if row.depth == depth:
                    lines.append(f"  {row.row:36} " + "  ".join(_cell(row, name) for name in METRICS))
                if row.depth == depth and row.row in (TUNED, REALIGNED):
                    added = (f"{name} {shown(each, 4, signed=True)}" for name, each in row.above_untuned.items())
                    lines.append(f"  {'  less untuned knowledge':36} {'  '.join(added)}")
        lines += [f"  The score agrees with {name}: {_agreeing(share)}" for name, share in each.agreement.items()]
    return lines


def shown(found: Interval, digits: int, *, signed: bool) -> str:
    """A mean with its interval, or what is missing of them."""
    if math.isnan(found.mean):
        return "nothing to measure"
    reason = " (no interval: one person, or all alike)" if math.isnan(found.low) else ""
    return found.text(digits, signed=signed) + reason


def _backbone(
    dataset: Dataset,
    backbone: str,
    config: FeedbackConfig,
    recommenders: Mapping[str, BatchRecommender],
    runs: Mapping[tuple[str, str], Sequence[KnowledgeRun]],
) -> BackboneReport:
    augmented, realigned = recommenders[f"untuned {backbone}"], recommenders[f"tuned {backbone}"]
    untuned = list(runs["untuned", "test"])
    pieces = {run.key: run for run in reversed(untuned)}  # the first one of each person
    one = list(pieces.values())
    tuned = {run.key: run for run in runs["tuned", "test"]}
    written = [tuned[key] for key in pieces]
    others = [replace(run, query=replace(run.query, preference=other.knowledge)) for run, other in _neighbours(one)]
    trusts = {
        UNTUNED: choose_trust(augmented, runs["untuned", "valid"]),
        TUNED: choose_trust(augmented, runs["tuned", "valid"]),
        REALIGNED: choose_trust(realigned, runs["tuned", "valid"]),
    }
    rows: list[RerankedRow] = []
    for depth in DEPTHS:
        first = first_items(augmented, one, depth)
        every = dict(zip(pieces, first, strict=True))
        all_ranks = reranked_ranks(
            augmented,
            untuned,
            [every[run.key] for run in untuned],
            trust=trusts[UNTUNED],
        )
        best = best_of_each(all_ranks, untuned)
        ranks: dict[str, NDArray[np.float64]] = {
            ALONE: np.array([_place(run.target, items) for run, items in zip(one, first, strict=True)]),
            UNTUNED: reranked_ranks(augmented, one, first, trust=trusts[UNTUNED]),
            **({OTHERS: reranked_ranks(augmented, others, first, trust=trusts[UNTUNED])} if others else {}),
            BEST: np.array([best[run.group_id] for run in one]),
            TUNED: reranked_ranks(augmented, written, first, trust=trusts[TUNED]),
            REALIGNED: reranked_ranks(realigned, written, first, trust=trusts[REALIGNED]),
        }
        rows += measure_rows(ranks, depth, [run.user for run in one], alone=ALONE, untuned=UNTUNED)
    others_of = {name: each for name, each in recommenders.items() if each is not augmented}
    return BackboneReport(
        backbone=backbone,
        trusts=trusts,
        rows=tuple(rows),
        agreement=_agreement(dataset, augmented, others_of, runs["untuned", SPLIT], trusts[UNTUNED]),
    )


def _agreement(
    dataset: Dataset,
    reward_model: BatchRecommender,
    others: Mapping[str, BatchRecommender],
    runs: Sequence[KnowledgeRun],
    trust: float,
) -> dict[str, Interval]:
    """How often the score of `train` orders two pieces of a person as something does that it has not seen."""
    known = [run for run in runs if run.knowledge is not None]

    def scores(recommender: BatchRecommender, of: Sequence[KnowledgeRun]) -> list[float]:
        return list(reciprocal_from_ranks(knowledge_ranks(recommender, of, trust=trust)).tolist())

    def agreement(other: Sequence[float]) -> Interval:
        own = scores(reward_model, known)
        return pairwise_agreement([run.group_id for run in known], own, other, [run.user for run in known])

    later = [_about_next_item(run, dataset) for run in known]
    return {"the next item of the person": agreement(scores(reward_model, later))} | {
        f"the recommender {name}": agreement(scores(each, known)) for name, each in others.items()
    }


def _about_next_item(run: KnowledgeRun, dataset: Dataset) -> KnowledgeRun:
    """The same knowledge, about the item that followed: the target of validation."""
    sequence = dataset.sequences[run.user]
    at = len(run.history) + 1
    history = tuple(sequence[:at])
    query = replace(run.query, history=history, words=None)  # what was said was about the item before
    return replace(run, history=history, target=sequence[at], message=None, query=query)


def _neighbours(runs: Sequence[KnowledgeRun]) -> list[tuple[KnowledgeRun, KnowledgeRun]]:
    """Each run with the one of another person; none where there is one person alone."""
    return [(run, runs[(at + 1) % len(runs)]) for at, run in enumerate(runs)] if len(runs) > 1 else []


def _place(target: str, items: Sequence[str]) -> float:
    return 1.0 + items.index(target) if target in items else math.inf


def _valid(runs: Sequence[KnowledgeRun]) -> Interval:
    return clustered_interval([run.knowledge is not None for run in runs], [run.user for run in runs])


def _shares(report: FeedbackReport) -> list[str]:
    return [
        f"{policy} no answers"
        if math.isnan(share.mean)
        else f"{policy} {share.mean:.1%} ({report.distinct[policy]} different pieces)"
        for policy, share in report.valid.items()
    ]


def _cell(row: RerankedRow, name: str) -> str:
    own, above = row.metrics[name], row.above_alone[name]
    if math.isnan(own.mean):
        return f"{name} –"
    return f"{name} {without_leading_zero(f'{own.mean:.4f}')} {above.text(4, signed=True)}"


def _agreeing(share: Interval) -> str:
    if not share.n:
        return "nothing to measure: no two pieces of a person differ in both"
    return f"{shown(share, 3, signed=False)} of {share.n} pairs; chance is 0.5"
