"""What the presets pay for most: every list is tried under a belief about the target, with the rewards themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations

import numpy as np
import pytest

from deeprec.evals import make_rewards, score_run
from deeprec.training import StageReward, stage_reward
from deeprec.trm_tool import Artifact, HashingEncoder, ScoredItem
from tests.made_runs import made_retrieval, made_run

LENGTH = 3


def best_list(stage: StageReward, artifact: Artifact, beliefs: dict[str, float]) -> tuple[str, ...]:
    """The list of highest expected reward; `beliefs` are the probabilities of the items to be the target."""
    rewards = make_rewards(artifact, HashingEncoder())

    def expected(written: Sequence[str]) -> float:
        found = made_retrieval(0, items=tuple(ScoredItem(item, 0.5) for item in beliefs))
        runs = {item: made_run(written, target=item, retrievals=(found,)) for item in beliefs}
        return sum(share * stage.compose(score_run(runs[item], rewards)) for item, share in beliefs.items())

    return max(permutations(beliefs, LENGTH), key=expected)


def random_beliefs(items: Iterable[str], draws: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    ids = list(items)[:5]
    return [dict(zip(ids, rng.dirichlet(np.ones(len(ids))).tolist(), strict=True)) for _ in range(draws)]


@pytest.mark.slow
def test_the_best_list_of_the_default_is_the_ranking_by_belief_and_that_of_the_paper_is_not(artifact: Artifact) -> None:
    drawn = random_beliefs(artifact.catalogue.ids, draws=6)
    wanted = [tuple(sorted(beliefs, key=beliefs.__getitem__, reverse=True)[:LENGTH]) for beliefs in drawn]
    assert [best_list(stage_reward("recommendation"), artifact, beliefs) for beliefs in drawn] == wanted
    paper = stage_reward("recommendation", preset="paper")
    assert [best_list(paper, artifact, beliefs) for beliefs in drawn] != wanted


def test_three_senseless_searches_pay_in_the_paper_and_not_by_default() -> None:
    rewards = make_rewards(encoder=HashingEncoder())

    def run_with(searches: list[str], items: str) -> dict[str, float]:
        found = [ScoredItem(item, 0.5) for item in items]
        retrievals = [
            made_retrieval(at, preference=text, turn=at, items=tuple(found)) for at, text in enumerate(searches)
        ]
        return score_run(
            made_run(list(items[:3]), target="t", searches=searches, retrievals=tuple(retrievals)), rewards
        )

    sensible = run_with(["comedy of the 1990s", "romantic comedy", "comedy drama"], "atbc")
    senseless = run_with(["qzx wvk", "mmpt", "1fj ööö"], "abcd")
    one = run_with(["comedy of the 1990s"], "atbc")
    paper, default = stage_reward("interaction", preset="paper"), stage_reward("interaction")
    assert paper.compose(senseless) > paper.compose(sensible) > paper.compose(one)
    assert default.compose(senseless) == 0
    assert default.compose(sensible) == default.compose(one) == pytest.approx(1 / np.log2(3))
