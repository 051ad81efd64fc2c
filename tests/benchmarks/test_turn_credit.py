"""The bench of credits: its policy's gradients, and that it learns what can be learned with either credit."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.turn_credit import CREDITS, FEATURES, PHRASES, SEARCHES, Task, draw, learn, reached
from deeprec.evals import Case

ITEMS = tuple(f"i{number}" for number in range(20))


def made_tasks(count: int) -> list[Task]:
    """Of four phrases only the third finds the target, and only the fitting item is it."""
    rng, tasks = np.random.default_rng(0), []
    for number in range(count):
        target = ITEMS[number % len(ITEMS)]
        others = [item for item in ITEMS if item != target]
        found = [tuple(rng.permutation(others)[:5].tolist()) for _ in range(4)]
        found[2] = (*found[2][:4], target)
        fits = {item: (float(item == target), 0.0) for item in ITEMS}
        tasks.append(Task(Case(user=str(number), history=(), target=target), tuple(found), fits))
    return tasks


@pytest.mark.slow
def test_the_gradients_of_log_probabilities_are_zero_on_average() -> None:
    [task], rng = made_tasks(1), np.random.default_rng(1)
    weights = np.random.default_rng(2).normal(size=SEARCHES * PHRASES + FEATURES) * 0.5
    drawn = [draw(task, weights, rng) for _ in range(400)]
    for parts in ("of_searches", "of_positions"):
        first = np.array([getattr(each, parts)[0] for each in drawn])
        assert np.abs(first.mean(axis=0)).max() < 4 * first.std(axis=0).max() / np.sqrt(len(drawn))
        assert first.any()
    likeliest = draw(task, weights, None)
    assert likeliest.written == draw(task, weights, None).written


@pytest.mark.slow
@pytest.mark.parametrize("credit", CREDITS)
def test_both_credits_learn_what_to_ask_for_and_how_to_rank(credit: str) -> None:
    tasks = made_tasks(20)
    learned = learn(tasks, tasks, credit, steps=20, rate=0.3, seed=0, every=20)["ndcg"]
    assert learned[0].mean() < 0.4
    assert learned[1].mean() > 0.8
    assert reached(learned, 0.8, 20) == 20
    assert reached(learned, 2.0, 20) == np.inf
