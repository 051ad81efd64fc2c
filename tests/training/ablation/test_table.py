"""The sentences of an ablation's table: what pays by its interval, and what does not."""

import math

import pytest

from deeprec.evals import Difference, Interval
from deeprec.training import AblatedRow, AblationResult, AblationRow, AblationTable

NDCG, RECALL = "ndcg@10 filled", "recall@10 filled"


def make_row(name: str, mean: float, low: float, high: float, *, adds: bool = False) -> AblatedRow:
    difference = Difference(
        first=name,
        second="full",
        measure=NDCG,
        first_mean=0.2 + mean,
        second_mean=0.2,
        interval=Interval(mean=mean, low=low, high=high, n=300),
        p_value=0.5,
        corrected_p=0.5,
        smallest=0.021,
    )
    own = Interval(mean=0.2 + mean, low=0.1, high=0.3, n=300)
    return AblatedRow(
        name=name,
        row=AblationRow(piece=f"The piece {name}", adds=adds),
        result=AblationResult(suite="s@1", policy="rec-v1", seconds=3),
        means={NDCG: own, RECALL: own},
        in_format=0.9,
        differences={} if name == "full" else {"full": difference},
    )


def sentences(*rows: AblatedRow, **changes: object) -> list[str]:
    table = AblationTable(
        name="plan", size="cpu", measures=(NDCG, RECALL), rows=(make_row("full", 0, 0, 0), *rows), failed={}, missing=()
    )
    return AblationTable(**{**{name: getattr(table, name) for name in table.__slots__}, **changes}).sentences()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (make_row("a", -0.02, -0.03, -0.01), []),
        (
            make_row("b", -0.01, -0.03, 0.01),
            [
                "The piece b does not pay by its interval: without it (b) NDCG@10 is -.010 (-.030 to .010) from full; "
                "300 people show a difference of 0.021 four times out of five."
            ],
        ),
        (
            make_row("c", 0.02, 0.01, 0.03),
            [
                "The piece c does not pay by its interval: without it (c) NDCG@10 is +.020 (.010 to .030) from full; "
                "it costs."
            ],
        ),
        (make_row("d", 0.02, 0.01, 0.03, adds=True), []),
        (
            make_row("e", -0.02, -0.03, -0.01, adds=True),
            [
                "The piece e does not pay by its interval: with it NDCG@10 is -.020 (-.030 to -.010) from full; it "
                "costs."
            ],
        ),
        (
            make_row("f", 0.0, math.nan, math.nan),
            ["The piece f makes no difference here: f and full have the same NDCG@10 for each of 300 people."],
        ),
    ],
)
def test_what_does_not_pay_by_its_interval_is_said(row: AblatedRow, said: list[str]) -> None:
    assert sentences(row) == said


def test_what_has_no_figures_is_said() -> None:
    assert sentences(failed={"dpo": "No pair."}, missing=("x", "y")) == [
        "The row dpo failed and has no figures: No pair.",
        "Not measured yet: x, y.",
    ]
    assert sentences(make_row("a", -0.01, -0.03, 0.01), rows=(make_row("a", -0.01, -0.03, 0.01),))[0] == (
        "The row full has not been measured, so that no piece has a worth yet."
    )
