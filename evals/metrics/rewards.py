"""Reward components of a run: pure functions of its trace, the same in evaluation, training and notebooks.

A component scores what the model wrote, never what was filled in. Each stands alone and is stored under its own name;
`deeprec.training` composes them into the rewards of its stages. A component of your own is one function of a trace.

Source:
    Zheng et al. 2025 (DeepRec), arXiv:2505.16810: the components but `found`, and their constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from deeprec.agent import fuse_rankings
from deeprec.agent.graph.budgets import CONTEXT_FULL
from deeprec.agent.traces import RunTrace
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.trm.artifact import Artifact

Reward = Callable[[RunTrace], float]
"""A run -> unitless score; NaN where it cannot be computed."""


@dataclass(frozen=True, slots=True)
class TokenFree:
    """A reward of actions, retrievals and lists only: stored runs are scored by it without loading their `PARTS`."""

    reward: Reward

    def __call__(self, trace: RunTrace) -> float:
        """The reward of a run."""
        return self.reward(trace)


REWARD_SCHEME = "deeprec"
"""The name that the components are stored under."""
FORMAT_ERROR = -1.0
INVOCATIONS, FREE_INVOCATIONS, MAX_INVOCATIONS = 0.5, 1, 3
DIVERSITY = 0.2
HIT, POSITION, POSITIONS = 1.0, 0.2, 10
SIMILARITY = 10.0


def format_fault(trace: RunTrace) -> str | None:
    """Name what is wrong with the format of a run, or None: every turn readable, and a list as the request demands.

    The list must name as many different candidates as the request demands (or all, where the retrievals found fewer),
    each once, and nothing that was not found.
    """
    for turn in trace.turns:
        if turn.action in ("malformed", "unavailable"):
            return f"turn {turn.position}: {turn.detail or turn.action}"
    if not trace.turns or trace.turns[-1].action != "recommend":
        return "no list"
    if trace.ungrounded:
        return f"{trace.ungrounded} entries of the list name no candidate"
    named = [entry.item_id for entry in trace.written]
    if len(set(named)) < len(named):
        return "the list repeats an item"
    found = {item.id for retrieval in trace.retrievals for item in retrieval.items}
    wanted = min(trace.run.k, len(found))
    return None if len(named) == wanted else f"the list has {len(named)} items instead of {wanted}"


def format_reward(trace: RunTrace) -> float:
    """0 where the format held, -1 where not; NaN for a run that is not the model's: running, fallback, incomplete, or
    one in which the server gave no answer in time."""
    if not _is_the_models(trace):
        return math.nan
    return 0.0 if format_fault(trace) is None else FORMAT_ERROR


def invocation_reward(trace: RunTrace) -> float:
    """0.5 for each retrieval after the first, up to the third: 0.5 * (min(n, 3) - 1)."""
    if not _is_the_models(trace):
        return math.nan
    return INVOCATIONS * (min(len(trace.retrievals), MAX_INVOCATIONS) - FREE_INVOCATIONS)


def make_diversity_reward(encoder: Encoder) -> Reward:
    """Build the reward for retrieving by different preferences: 0.2 * (1 - mean pairwise cosine of the preferences).

    Returns:
        f(trace) -> in [0, 0.4]; 0 for a run with one preference, which differs from nothing, or with retrievals of the
        recommender's own list alone; NaN for one without a retrieval of its model.
    """

    def reward(trace: RunTrace) -> float:
        asked = [retrieval.preference for retrieval in trace.retrievals if retrieval.preference is not None]
        if not asked or not _is_the_models(trace):
            return math.nan
        written = [preference for preference in asked if preference]
        if len(written) < 2:
            return 0.0
        vectors = encoder.encode(written, role="preference").astype(np.float64)  # (preferences, width)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        pairs = (vectors @ vectors.T)[np.triu_indices(len(written), k=1)]
        return float(DIVERSITY * (1 - pairs.mean()))

    return reward


def found_reward(trace: RunTrace) -> float:
    """1 / log2(r + 1) for the target at rank r of what the retrievals found, fused by reciprocal ranks, else 0.

    NaN where no target is known. Retrievals pay only where they bring the target, so their number earns nothing.
    """
    if trace.run.target_id is None or not _is_the_models(trace):
        return math.nan
    fused = fuse_rankings([item.id for item in retrieval.items] for retrieval in trace.retrievals)
    return next((1 / math.log2(rank + 1) for rank, item in enumerate(fused, 1) if item == trace.run.target_id), 0.0)


def hit_reward(trace: RunTrace) -> float:
    """1 where the target is among the first ten of the written list, else 0; NaN where no target is known."""
    position = _target_position(trace)
    return position if math.isnan(position) else HIT * (position < POSITIONS)


def rank_reward(trace: RunTrace) -> float:
    """0.2 * (10 - i) for the target at 0-based position i of the written list, 0 without a hit."""
    position = _target_position(trace)
    return position if math.isnan(position) else POSITION * max(0.0, POSITIONS - position)


def make_similarity_reward(artifact: Artifact) -> Reward:
    """Build the point-wise reward: how similar the written list is to the target, its top positions most of all.

    Ten times the mean over the first ten positions, weighted by (1 - i/n)^2, of the mean of two cosines with the
    target: of the text embeddings, and of the vectors that the recommender compares a query with.

    Returns:
        f(trace) -> in [-10, 10]; NaN where no target is known, where the model wrote no list, or where an item is not
        in the artifact's catalogue.
    """
    catalogue = artifact.catalogue
    with torch.inference_mode():
        both = [artifact.text_embeddings, artifact.model.item_vectors()]
        spaces = [torch.nn.functional.normalize(space.double(), dim=-1).cpu().numpy() for space in both]

    def reward(trace: RunTrace) -> float:
        target, named = trace.run.target_id, _written(trace)
        if target is None or not named or not _is_the_models(trace):
            return math.nan
        if any(item not in catalogue for item in (target, *named)):
            return math.nan
        rows, [own] = catalogue.rows(named), catalogue.rows([target])
        alike = np.mean([space[rows] @ space[own] for space in spaces], axis=0)  # (n,)
        weights = (1 - np.arange(len(named)) / len(named)) ** 2
        return float(SIMILARITY * np.average(alike, weights=weights))

    return reward


def make_rewards(artifact: Artifact | None = None, encoder: Encoder | None = None) -> dict[str, Reward]:
    """Build all components, by the name that each is stored under.

    Args:
        artifact: Whose vectors compare items; None, for a recommender other than the TRM, leaves `similarity` out.
        encoder: Compares preferences; None leaves `diversity` out.
    """
    rewards: dict[str, Reward] = {"format": format_reward, "invocations": invocation_reward}
    if encoder is not None:
        rewards["diversity"] = make_diversity_reward(encoder)
    rewards |= {"found": found_reward, "hit": hit_reward, "rank": rank_reward}
    if artifact is not None:
        rewards["similarity"] = make_similarity_reward(artifact)
    return {name: TokenFree(reward) for name, reward in rewards.items()}


def score_run(trace: RunTrace, rewards: Mapping[str, Reward]) -> dict[str, float]:
    """Every component of one run."""
    return {name: float(reward(trace)) for name, reward in rewards.items()}


def _is_the_models(trace: RunTrace) -> bool:
    if trace.status in ("running", "fallback", "empty", "aborted") or trace.incomplete:
        return False
    # Without an answer in time the ending is the server's; a context that is full is the policy's own doing.
    return trace.detail == CONTEXT_FULL or all(turn.action != "unavailable" for turn in trace.turns)


def _written(trace: RunTrace) -> list[str]:
    """The first ten of the model's list, a repeat counted once."""
    return list(dict.fromkeys(entry.item_id for entry in trace.written))[:POSITIONS]


def _target_position(trace: RunTrace) -> float:
    """0-based; infinite where the target is not in the list, NaN where that is unknown."""
    if trace.run.target_id is None or not _is_the_models(trace):
        return math.nan
    named = _written(trace)
    return float(named.index(trace.run.target_id)) if trace.run.target_id in named else math.inf
