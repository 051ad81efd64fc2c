"""A head start in ranking: runs whose list is replaced by plain fusion of what their searches found.

A model that was held to the format ranks at random, and a warm start teaches what it wrote. Fusion is better than that
and needs no model, so the first policy begins there. For supervised training alone: nobody sampled these tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from deeprec.agent import fuse_rankings
from deeprec.agent.protocols.prompts import END_LIST
from deeprec.agent.traces import RunTrace
from deeprec.training.rollouts.rollouts import Rollout


def with_fused_list(rollout: Rollout, trace: RunTrace, tokenizer: Any) -> Rollout | None:
    """The same run with the list that reciprocal rank fusion makes of its candidates, ties by when they were found.

    Args:
        rollout: of the run.
        trace: the run itself.
        tokenizer: of the policy's base model.

    Returns:
        a rollout whose rewritten tokens have no log-probability; None where the run does not end in a list of its own
        turn, or found nothing.
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
