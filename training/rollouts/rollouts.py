"""Rollouts: logged runs as the token sequences that trainers learn from; runs that cannot be one are refused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.traces import (
    RunChain,
    RunFilter,
    RunTrace,
    TraceStore,
    TraceStoreError,
    decode_logprobs,
    decode_tokens,
)
from deeprec.trm_tool.errors import DeepRecError

Reason = Literal[
    "redacted",
    "guided",
    "temperature",
    "top-p",
    "raw logprobs",
    "running",
    "aborted",
    "incomplete",
    "fallback",
    "edited",
    "broken chain",
    "no tokens",
    "damaged",
]

_SAMPLED_AT_ONE: Mapping[str, Reason] = MappingProxyType({"temperature": "temperature", "top_p": "top-p"})
"""Sampling setting -> the reason of the refusal where a run says another value than 1."""
RAW_LOGPROBS: Reason = "raw logprobs"
SAMPLING_REASONS = frozenset({*_SAMPLED_AT_ONE.values(), RAW_LOGPROBS})
"""Reasons of refusals by how a run was sampled."""
RAW_LOGPROBS_FAULT = (
    "Its server gave log-probabilities from before temperature and filters, which hide how the tokens were sampled. "
    "Collect from one that was started with --logprobs-mode processed_logprobs, as `deeprec llm serve` does."
)

_log = logging.getLogger(__name__)


class RolloutError(DeepRecError):
    """A run cannot be trained on, for the reason in `reason`."""

    def __init__(self, run_id: UUID, reason: Reason, detail: str) -> None:
        super().__init__(f"Run {run_id} is not a rollout: {reason}. {detail}")
        self.run_id = run_id
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout:
    """One run as one token sequence: the prompt, then the policy's completions and the tool's output in turn."""

    token_ids: NDArray[np.int64]
    """(n,)"""
    env_mask: NDArray[np.int8]
    """(n,); 1 where the policy wrote the token, 0 for the prompt and for tool output."""
    logprobs: NDArray[np.float32]
    """(n,); the policy's log-probabilities at sampling time, in nats; NaN where `env_mask` is 0."""
    run_id: UUID
    group_id: str | None
    policy_model: str
    adapter: str | None
    adapter_version: str | None
    guided: bool
    """Whether tokens were sampled under constraints. SFT can learn from them; GRPO cannot, because `logprobs` are those
    of the constrained distribution."""
    base_fingerprint: str | None = None
    """The fingerprint of the base model's weights; None where the run does not have it."""
    adapter_fingerprint: str | None = None
    """The fingerprint of the adapter's weights; None without an adapter, and as above."""


def rollout_from_run(trace: RunTrace, *, allow_guided: bool = False) -> Rollout:
    """Read a run as a rollout.

    The tokens are the concatenation of each turn's prompt and completion ids; nothing is tokenised again. Each turn's
    prefix must be as long as the prompt that the server counted, so that a lost or doubled step is found.

    Args:
        trace: a run of the tagged protocol.
        allow_guided: also accept runs that were sampled under constraints (`Rollout.guided`) or by other settings than
            temperature 1 and top-p 1, for training that does not read their log-probabilities, as SFT.

    Raises:
        RolloutError: the run is guided, sampled by other settings than training computes with, still running,
            incomplete, redacted, a fallback, was edited by a person, has no tokens, or its turns do not form one exact
            chain.
    """
    run = trace.run
    head = RunChain(
        run_id=run.run_id,
        group_id=run.group_id,
        policy_model=run.policy_model,
        adapter=run.adapter,
        adapter_version=run.adapter_version,
        base_fingerprint=run.base_fingerprint,
        adapter_fingerprint=run.adapter_fingerprint,
        logprobs_mode=run.logprobs_mode,
        guided=run.guided,
        sampling=run.sampling,
        fork=run.fork,
        status=trace.status,
        incomplete=trace.incomplete,
        redacted_at=trace.redacted_at,
        turns=(),
    )
    _check_run(head, allow_guided=allow_guided)
    turns = [
        _Turn(
            position=turn.position,
            action=turn.action,
            chained=turn.chained,
            prompt_tokens=turn.prompt_tokens,
            completion_tokens=turn.completion_tokens,
            prompt_ids=np.array(turn.prompt_ids, dtype=np.int64),
            completion_ids=np.array(turn.completion_ids, dtype=np.int64),
            logprobs=np.array(turn.logprobs, dtype=np.float32),
        )
        for turn in trace.turns
    ]
    return _rollout(head, turns)


def read_rollouts(
    store: TraceStore,
    where: RunFilter | None = None,
    *,
    allow_guided: bool = False,
    on_refused: Callable[[RolloutError], Any] | None = None,
) -> Iterator[Rollout]:
    """Read the rollouts of a store, oldest first, one at a time; only the tokens of each run are loaded.

    Args:
        store: the store to read.
        where: which runs; None for all.
        allow_guided: as for `rollout_from_run`, which refuses the same runs for the same reasons. A run with damaged
            tokens is refused as well; `TraceStore.run` cannot read it.
        on_refused: called with the error of each run that is refused. None logs at the end how many runs were refused
            for each reason.
    """
    refused: Counter[str] = Counter()
    for chain in store.chains(where):
        try:
            _check_run(chain, allow_guided=allow_guided)
            rollout = _rollout(chain, _decoded(chain))
        except RolloutError as error:
            refused[error.reason] += 1
            if on_refused is not None:
                on_refused(error)
        else:
            yield rollout
    if refused and on_refused is None:
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(refused.items()))
        _log.warning("%d runs are not rollouts: %s.", refused.total(), counts)


class _Turn(NamedTuple):
    """`ChainTurn` with decoded tokens."""

    position: int
    action: str
    chained: bool
    prompt_tokens: int
    completion_tokens: int
    prompt_ids: NDArray[np.int64]
    completion_ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]


def _decoded(chain: RunChain) -> list[_Turn]:
    turns = []
    for turn in chain.turns:
        try:
            tokens = decode_tokens(turn.prompt_ids), decode_tokens(turn.completion_ids), decode_logprobs(turn.logprobs)
        except TraceStoreError as error:
            raise RolloutError(chain.run_id, "damaged", f"Turn {turn.position}: {error}") from error
        turns.append(_Turn(*turn[:5], *tokens))
    return turns


def _check_run(run: RunChain, *, allow_guided: bool) -> None:
    """Refuse a run by its status, whatever its tokens are."""

    def refuse(reason: Reason, detail: str) -> RolloutError:
        return RolloutError(run.run_id, reason, detail)

    if run.redacted_at is not None:
        raise refuse("redacted", "Its person was removed from the store, with all words of the run.")
    if run.incomplete:
        raise refuse("incomplete", "The trace store failed while it ran, so steps may be missing.")
    if run.status == "running":
        raise refuse("running", "It is still running, or its process was killed.")
    if run.status == "aborted":
        raise refuse("aborted", "An error or a cancellation ended it before its list; it can be resumed.")
    if run.status == "fallback":
        raise refuse("fallback", "The policy or the recommender failed, so that its list is not the policy's.")
    if run.fork is not None and run.fork.get("turn") is not None:
        parts = ", ".join(map(str, run.fork.get("edited", ["preference"])))
        raise refuse("edited", f"Parts of it were written by a person, not by the policy: {parts}.")
    if run.guided and not allow_guided:
        raise refuse("guided", "Constrained sampling is another distribution. Only SFT may use it: allow_guided=True.")
    if not allow_guided:
        if run.logprobs_mode == "raw":
            raise refuse(RAW_LOGPROBS, RAW_LOGPROBS_FAULT)
        for name, reason in _SAMPLED_AT_ONE.items():
            value = run.sampling.get(name, 1)
            if value != 1:
                raise refuse(
                    reason,
                    f"It was sampled at {reason} {value}, and training computes the probabilities of {reason} 1. "
                    f"Collect runs with `{name}: 1`, or use it in `deeprec train sft`, which needs no probabilities.",
                )


def _rollout(run: RunChain, turns: list[_Turn]) -> Rollout:
    """Join the tokens of the turns to one sequence, or refuse them."""
    full = [turn for turn in turns if turn.prompt_ids.size or turn.completion_ids.size]
    if not any(turn.completion_ids.size for turn in full):
        raise RolloutError(
            run.run_id, "no tokens", "No completion token ids were logged (the tools protocol logs none)."
        )
    fault = _chain_fault(run, turns, full)
    if fault:
        raise RolloutError(run.run_id, "broken chain", fault)
    token_ids = np.concatenate([part for turn in full for part in (turn.prompt_ids, turn.completion_ids)])
    env_mask = np.zeros(token_ids.size, dtype=np.int8)
    logprobs = np.full(token_ids.size, np.nan, dtype=np.float32)
    end = 0
    for turn in full:
        start = end + turn.prompt_ids.size
        end = start + turn.completion_ids.size
        env_mask[start:end] = 1
        logprobs[start:end] = turn.logprobs
    return Rollout(
        token_ids=token_ids,
        env_mask=env_mask,
        logprobs=logprobs,
        run_id=run.run_id,
        group_id=run.group_id,
        policy_model=run.policy_model,
        adapter=run.adapter,
        adapter_version=run.adapter_version,
        base_fingerprint=run.base_fingerprint,
        adapter_fingerprint=run.adapter_fingerprint,
        guided=run.guided,
    )


def _chain_fault(run: RunChain, turns: list[_Turn], full: list[_Turn]) -> str | None:
    """The reason why the turns are not one exact chain, or None if they are; `full` are the turns with tokens."""
    if any(turn.position != at for at, turn in enumerate(turns)):
        return f"Its turns are at positions {', '.join(str(turn.position) for turn in turns)}."
    if run.status == "finished" and turns[-1].action not in ("recommend", "knowledge"):
        return f"It finished, but its last turn is {turns[-1].action!r}, neither a list nor knowledge."
    length = 0
    for turn in full:
        at = f"Turn {turn.position}"
        added, sampled = turn.prompt_ids.size, turn.completion_ids.size
        if not turn.chained:
            return f"{at} is not part of the chain."
        if not added and turn is full[0]:
            return f"{at} has no prompt."
        length += added
        if length != turn.prompt_tokens:
            return f"{at} was sampled after {turn.prompt_tokens} tokens, but {length} are stored before it."
        if not sampled:
            return f"{at} has a prompt and no completion."
        if sampled != turn.completion_tokens:
            return f"{at} has {sampled} of {turn.completion_tokens} completion tokens."
        if turn.logprobs.size != sampled or np.isnan(turn.logprobs).any():
            return f"{at} has {turn.logprobs.size} logprobs for {sampled} tokens, or some are NaN."
        length += sampled
    return None
