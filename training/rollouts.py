"""Rollouts: logged runs as token sequences that a trainer can take, or refuse by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.traces import RunFilter, RunTrace, TraceStore, TurnRecord
from deeprec.trm_tool.errors import DeepRecError

Reason = Literal["redacted", "guided", "incomplete", "fallback", "broken chain", "no tokens"]

_log = logging.getLogger(__name__)


class RolloutError(DeepRecError):
    """A run that cannot be trained on. `reason` names why."""

    def __init__(self, run_id: UUID, reason: Reason, detail: str) -> None:
        super().__init__(f"Run {run_id} is no rollout: {reason}. {detail}")
        self.run_id = run_id
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout:
    """One run as one token sequence: the prompt, then what the policy and the tool wrote in turn."""

    token_ids: NDArray[np.int64]
    """(n,)"""
    env_mask: NDArray[np.int8]
    """(n,); 1 where the policy wrote the token, 0 for the prompt and for tool output."""
    logprobs: NDArray[np.float32]
    """(n,); of the policy at sampling time, NaN where `env_mask` is 0."""
    run_id: UUID
    group_id: str | None
    policy_model: str
    adapter: str | None
    adapter_version: str | None
    guided: bool
    """Sampled under constraints: a good example (SFT), but `logprobs` are another distribution's (not GRPO)."""


def rollout_from_run(trace: RunTrace, *, allow_guided: bool = False) -> Rollout:
    """Read a run as a rollout.

    The tokens are the concatenation of each turn's prompt and completion ids; nothing is tokenised again. Each turn's
    prefix must be as long as the prompt that the server counted, so that a lost or doubled step is seen.

    Args:
        trace: a run of the tagged protocol.
        allow_guided: take runs with constrained sampling. Their tokens are good examples (SFT), but their logprobs
            belong to another distribution (not GRPO).
    Raises:
        RolloutError: the run is redacted, guided, incomplete (also: still running), a fallback, has no tokens, or its
            turns do not form one exact chain.
    """

    def refuse(reason: Reason, detail: str) -> RolloutError:
        return RolloutError(trace.run.run_id, reason, detail)

    if trace.redacted_at is not None:
        raise refuse("redacted", "Its person was taken out of the store, and their words with them.")
    if trace.incomplete:
        raise refuse("incomplete", "The trace store failed while it ran, so steps may be missing.")
    if trace.status == "running":
        raise refuse("incomplete", "It has not finished, or its process was killed.")
    if trace.status == "fallback":
        raise refuse("fallback", "Its list is the recommender's own ranking, not the policy's.")
    if trace.run.guided and not allow_guided:
        raise refuse("guided", "Constrained sampling is another distribution. Only SFT may use it: allow_guided=True.")
    turns = [turn for turn in trace.turns if turn.prompt_ids or turn.completion_ids]
    if not any(turn.completion_ids for turn in turns):
        raise refuse("no tokens", "No completion token ids were logged (the tools protocol logs none).")
    fault = _chain_fault(trace, turns)
    if fault:
        raise refuse("broken chain", fault)

    tokens: list[NDArray[np.int64]] = []
    logprobs: list[NDArray[np.float32]] = []
    written: list[NDArray[np.int8]] = []
    for turn in turns:
        added, sampled = len(turn.prompt_ids), len(turn.completion_ids)
        tokens += [np.array(turn.prompt_ids, dtype=np.int64), np.array(turn.completion_ids, dtype=np.int64)]
        logprobs += [np.full(added, np.nan, dtype=np.float32), np.array(turn.logprobs, dtype=np.float32)]
        written += [np.zeros(added, dtype=np.int8), np.ones(sampled, dtype=np.int8)]
    return Rollout(
        token_ids=np.concatenate(tokens),
        env_mask=np.concatenate(written),
        logprobs=np.concatenate(logprobs),
        run_id=trace.run.run_id,
        group_id=trace.run.group_id,
        policy_model=trace.run.policy_model,
        adapter=trace.run.adapter,
        adapter_version=trace.run.adapter_version,
        guided=trace.run.guided,
    )


def read_rollouts(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    allow_guided: bool = False,
    on_refused: Callable[[RolloutError], Any] | None = None,
) -> Iterator[Rollout]:
    """The rollouts of a store, oldest first, one at a time.

    Args:
        store: where to read.
        where: which runs; None for all.
        allow_guided: as for `rollout_from_run`.
        on_refused: called with each refusal. Without it the refusals are counted by reason in one log line at the end.
    """
    refused: Counter[str] = Counter()
    for trace in store.traces(where):
        try:
            rollout = rollout_from_run(trace, allow_guided=allow_guided)
        except RolloutError as error:
            refused[error.reason] += 1
            if on_refused is not None:
                on_refused(error)
        else:
            yield rollout
    if refused and on_refused is None:
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))
        _log.warning("%d runs are no rollouts: %s.", refused.total(), counts)


def _chain_fault(trace: RunTrace, turns: list[TurnRecord]) -> str | None:
    """Why the turns are not one exact chain; None if they are."""
    if [turn.position for turn in trace.turns] != list(range(len(trace.turns))):
        return f"Its turns are at positions {', '.join(str(turn.position) for turn in trace.turns)}."
    if trace.status == "finished" and trace.turns[-1].action != "recommend":
        return f"It finished, but its last turn is {trace.turns[-1].action!r}, not the list."
    length = 0
    for turn in turns:
        at = f"Turn {turn.position}"
        if not turn.chained:
            return f"{at} is not part of the chain."
        if not turn.prompt_ids and turn.position == turns[0].position:
            return f"{at} has no prompt."
        length += len(turn.prompt_ids)
        if length != turn.prompt_tokens:
            return f"{at} was sampled after {turn.prompt_tokens} tokens, but {length} are stored before it."
        if not turn.completion_ids:
            return f"{at} has a prompt and no completion."
        if len(turn.completion_ids) != turn.completion_tokens:
            return f"{at} has {len(turn.completion_ids)} of {turn.completion_tokens} completion tokens."
        if len(turn.logprobs) != len(turn.completion_ids) or np.isnan(turn.logprobs).any():
            return f"{at} has {len(turn.logprobs)} logprobs for {len(turn.completion_ids)} tokens, or some are NaN."
        length += len(turn.completion_ids)
    return None
