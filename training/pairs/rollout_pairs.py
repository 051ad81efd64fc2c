"""Stored pairs as rollouts: the two token sequences that a trainer compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeprec.agent.traces import Part, RunRecord, RunTrace, TraceStore, pair_sets, read_pairs
from deeprec.training.pairs.pairing import prompt_of
from deeprec.training.rollouts.rollouts import Rollout, rollout_from_run
from deeprec.training.store_report.target_leaks import find_run_leaks
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

_TOKENS_ONLY: tuple[Part, ...] = ("texts", "settings", "scores")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RolloutPair:
    """Two rollouts for one prompt, of which the chosen one earned more."""

    chosen: Rollout
    rejected: Rollout
    chosen_reward: float
    rejected_reward: float


def read_rollout_pairs(
    store: TraceStore, name: str, *, dataset: Dataset | None = None, allow_leaks: bool = False
) -> list[RolloutPair]:
    """Read a set of pairs with the tokens of their runs; all of them are in memory at once, with 13 bytes a token.

    Args:
        store: the store of the pairs and of their runs.
        name: the name of the set.
        dataset: as for `make_pairs`.
        allow_leaks: as for `make_pairs`.

    Raises:
        ConfigError: there is no such set, or runs are about held-out targets, or targets that their recommender has
            learned or may have.
        RolloutError: a run cannot be trained on, because its person was removed since, for example.
    """
    stored = read_pairs(store, name)
    if not stored:
        known = ", ".join(pair_sets(store)) or "none yet; `deeprec train pairs` makes one of scored groups"
        raise ConfigError(f"The store has no pairs named {name!r}. There are: {known}.")
    records: list[RunRecord] = []

    def rollout(trace: RunTrace) -> Rollout:
        records.append(trace.run)
        return rollout_from_run(trace, allow_guided=True)

    pairs = [
        RolloutPair(
            chosen=rollout(store.run(pair.chosen_id, omit=_TOKENS_ONLY)),
            rejected=rollout(store.run(pair.rejected_id, omit=_TOKENS_ONLY)),
            chosen_reward=pair.chosen_reward,
            rejected_reward=pair.rejected_reward,
        )
        for pair in stored
    ]
    if not allow_leaks and (reasons := find_run_leaks(records, dataset)):
        raise ConfigError(f"{' '.join(reasons)} Or allow leaks, and evaluate on other people.")
    return pairs


def check_pairs(pairs: Sequence[RolloutPair]) -> None:
    """Check that each pair compares two answers to one prompt.

    Raises:
        ConfigError: there are no pairs, two prompts differ by token ids, the policy wrote the same in both runs, or the
            chosen run earned no more.
    """
    if not pairs:
        raise ConfigError("There is no pair to train on. Make some of scored groups: `deeprec train pairs`.")
    for pair in pairs:
        both = f"The runs {pair.chosen.run_id} and {pair.rejected.run_id}"
        if not np.array_equal(prompt_of(pair.chosen), prompt_of(pair.rejected)):
            raise ConfigError(f"{both} answer two prompts, so that neither is better. Pair the runs of one prompt.")
        if np.array_equal(_written(pair.chosen), _written(pair.rejected)):
            raise ConfigError(f"{both} are the same text, so that nothing tells them apart. Leave the pair out.")
        if not pair.chosen_reward > pair.rejected_reward:
            raise ConfigError(
                f"{both} have the rewards {pair.chosen_reward} and {pair.rejected_reward}: the chosen one has to earn "
                "more. Leave the pair out, or swap it."
            )


def _written(rollout: Rollout) -> np.ndarray:
    written: np.ndarray = rollout.token_ids[rollout.env_mask == 1]
    return written
