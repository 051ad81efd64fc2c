"""Runs whose list is replaced by rank fusion of their retrievals, as examples for a warm start.

A model that was held to the format ranks at random, and a warm start would teach that. Rank fusion is better and needs
no model, so the first policy starts from it. The runs are for supervised training alone, because no policy sampled
these tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from deeprec.agent import fuse_rankings
from deeprec.agent.protocols.tags import END_LIST
from deeprec.agent.traces import RunTrace
from deeprec.training.rollouts.rollouts import Rollout


def with_fused_list(rollout: Rollout, trace: RunTrace, tokenizer: Any) -> Rollout | None:
    """Replace the list of a run by the order that reciprocal rank fusion gives its candidates.

    Args:
        rollout: the run's rollout.
        trace: the run itself.
        tokenizer: the tokenizer of the policy's base model.

    Returns:
        a rollout whose replaced tokens have NaN as their log-probability; None where the run does not end in a turn
        that only writes a list, or has no candidates.
    """
    last = trace.turns[-1] if trace.turns else None
    rankings = [[item.id for item in retrieval.items] for retrieval in trace.retrievals]
    numbers = list(fuse_rankings(rankings).values())
    if last is None or last.node != "rank" or not last.text.endswith(END_LIST) or not numbers:
        return None
    text = "".join(f"{number}\n" for number in numbers[: trace.run.k]) + END_LIST
    ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=rollout.token_ids.dtype)
    kept = rollout.token_ids.size - len(last.completion_ids)
    return replace(
        rollout,
        token_ids=np.concatenate([rollout.token_ids[:kept], ids]),
        env_mask=np.concatenate([rollout.env_mask[:kept], np.ones_like(ids, dtype=rollout.env_mask.dtype)]),
        logprobs=np.concatenate([rollout.logprobs[:kept], np.full(ids.size, np.nan, dtype=rollout.logprobs.dtype)]),
    )
