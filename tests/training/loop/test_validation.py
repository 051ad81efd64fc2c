"""The best version is the one that no later one was better than beyond chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeprec.evals import SuiteResults, SystemResults
from deeprec.training.loop.validation import is_better
from deeprec.training.loop.validation_power import people_needed

NDCG = "ndcg@10 written"


def results(**measured: NDArray[np.float64]) -> SuiteResults:
    systems = []
    for name, values in measured.items():
        users = tuple(f"u{number}" for number in range(len(values)))
        systems.append(
            SystemResults(
                name=name,
                oracle=False,
                users=users,
                clusters=users,
                targets=users,
                runs=len(users),
                statuses={},
                measures={NDCG: values},
                coverage=1,
                seconds=1.0,
                made_by=(),
            )
        )
    return SuiteResults(label="l", split="valid", k=10, systems=tuple(systems), cases={})


def judged(mean: float, people: int) -> tuple[bool, str]:
    """Whether a version is better that is `mean` above the best one on average, a person's deviation being .11."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=people)
    noise = 0.11 * (noise - noise.mean()) / noise.std(ddof=1)
    best = np.full(people, 0.2)
    return is_better(results(best=best, new=best + mean + noise), "new", "best", measure=NDCG, difference=0.02)


def test_a_higher_mean_of_few_people_does_not_take_the_place_of_the_earlier_version() -> None:
    better, why = judged(0.02, 64)
    assert not better
    assert why.startswith("new is +0.020 (-0.0")
    assert "best is kept; 64 people show a difference of 0.039 four times out of five" in why
    assert "0.02 would need 238" in why


def test_enough_people_see_the_difference_that_is_looked_for() -> None:
    assert people_needed(0.02, 0.11) == 238
    better, why = judged(0.02, 238)
    assert better
    assert "new is the best now" in why
    assert "would need" not in why
    assert not judged(-0.02, 238)[0]
    assert not judged(0.0, 238)[0]


def test_equal_versions_and_missing_runs_keep_the_earlier_one() -> None:
    same = np.full(5, 0.2)
    assert is_better(results(best=same, new=same), "new", "best", measure=NDCG, difference=0.02)[0] is False
    better, why = is_better(results(new=same), "new", "best", measure=NDCG, difference=0.02)
    assert not better
    assert "whose runs are not in the store any more: best is kept" in why
