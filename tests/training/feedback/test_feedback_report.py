"""The report of recommender feedback where there is little to measure."""

from __future__ import annotations

import math
from uuid import uuid4

import pytest

from deeprec.evals import Interval
from deeprec.training import FeedbackConfig, report_lines
from deeprec.training.feedback.feedback_report import BackboneReport, FeedbackReport, measure_feedback, shown
from deeprec.training.feedback.knowledge_runs import KnowledgeRun
from deeprec.training.feedback.reranking import METRICS, RerankedRow
from deeprec.trm_tool import Dataset, Query, Retriever

NOTHING = Interval(math.nan, math.nan, math.nan, 0)
ALIKE = Interval(0.25, math.nan, math.nan, 3)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Interval(0.25, -0.1, 0.5, 9), "+.250 (-.100 to .500)"),
        (ALIKE, "+.250 (no interval: one person, or all alike)"),
        (NOTHING, "nothing to measure"),
    ],
)
def test_what_is_missing_of_an_interval_is_named(found: Interval, text: str) -> None:
    assert shown(found, 3, signed=True) == text


@pytest.mark.parametrize("found", [ALIKE, NOTHING])
def test_no_line_has_a_number_that_is_none(found: Interval) -> None:
    row = RerankedRow(
        row="alone",
        depth=20,
        metrics=dict.fromkeys(METRICS, found),
        above_alone=dict.fromkeys(METRICS, found),
        above_untuned=dict.fromkeys(METRICS, found),
    )
    backbone = BackboneReport(backbone="trm", trusts={}, rows=(row,), agreement={"the next item": found})
    report = FeedbackReport(people=1, valid={"untuned": found}, distinct={"untuned": 0}, backbones=(backbone,))
    text = "\n".join(report_lines(report))
    assert "nan" not in text
    assert ("nothing to measure" in text) is (found is NOTHING)


def test_one_person_has_no_other_whose_knowledge_is_measured(dataset: Dataset, retriever: Retriever) -> None:
    user = dataset.users[0]
    history = dataset.history(user, 3)
    run = KnowledgeRun(
        run_id=uuid4(),
        group_id=user,
        key=user,
        user=user,
        history=history,
        message=None,
        target=dataset.target(user, 3),
        split="train",
        knowledge="comedy",
        query=Query(history=history, preference="comedy"),
    )
    runs = {(policy, split): [run] for policy in ("untuned", "tuned") for split in ("train", "valid", "test")}
    recommenders = {"untuned trm": retriever, "tuned trm": retriever}
    report = measure_feedback(dataset, FeedbackConfig(backbones=("trm",)), recommenders, runs)
    [backbone] = report.backbones
    assert len({row.row for row in backbone.rows}) == 5
    assert not any("another person" in row.row for row in backbone.rows)
    assert "nan" not in "\n".join(report_lines(report))
