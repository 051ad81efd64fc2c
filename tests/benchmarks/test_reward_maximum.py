"""The bench that maximises a reward: its sums are the rewards themselves, and its beliefs are calibrated."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.reward_maximum import best_list, calibrate, expected_pay, likeness_of, run_of
from deeprec.evals import Case, make_rewards, score_run
from deeprec.training import REWARD_PRESETS, StageReward
from deeprec.trm_tool import Artifact


@pytest.mark.parametrize("preset", ["outcome", "paper"])
def test_the_pay_of_positions_sums_to_the_expected_reward(artifact: Artifact, preset: str) -> None:
    rng = np.random.default_rng(0)
    ids = artifact.catalogue.ids
    beliefs = rng.dirichlet(np.ones(len(ids)))
    weights = REWARD_PRESETS[preset]["recommendation"]  # type: ignore[index]
    pay = expected_pay(beliefs[None], likeness_of(artifact), weights)[0]  # (items, positions)
    stage, rewards = StageReward(stage="recommendation", weights=weights), make_rewards(artifact)

    def expected(rows: list[int]) -> float:
        written = [ids[row] for row in rows]
        cases = [Case(user="u", history=(), target=target) for target in ids]
        earned = [stage.compose(score_run(run_of(written, case), rewards)) for case in cases]
        return float(np.dot(beliefs, earned))

    some = rng.permutation(len(ids))[:10].tolist()
    assert sum(pay[row, at] for at, row in enumerate(some)) == pytest.approx(expected(some))
    best = best_list(pay).tolist()
    assert expected(best) > expected(some)
    ranked = np.argsort(-beliefs)[:10].tolist()
    assert (best == ranked) == (preset == "outcome")
    assert expected(best) >= expected(ranked)


def test_beliefs_are_calibrated_by_the_likelihood_of_the_targets() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(4_000, 6))
    shares = np.exp(3 * scores) / np.exp(3 * scores).sum(axis=1, keepdims=True)
    targets = (shares.cumsum(axis=1) > rng.random((4_000, 1))).argmax(axis=1)
    assert calibrate(scores, targets) == pytest.approx(3, rel=0.1)
