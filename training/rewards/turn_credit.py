"""Credit by turn and by position: what each retrieval and each position of the list earned, against the group.

One advantage for a whole run raises its worst retrieval with its best. Here a retrieval is credited with what it
brought, and what stands at a position of the list with what the list earns from there on. What concerns the whole run,
such as its format, is credited to all its tokens.

Source:
    Zhu et al. 2025 (Rank-GRPO), arXiv:2510.20150: the gain of a list from a rank on, less the group's mean there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.agent import fuse_rankings
from deeprec.agent.protocols.tags import BEGIN_LIST, END_LIST
from deeprec.agent.traces import RunTrace, TraceStore, TurnRecord
from deeprec.evals.metrics.rewards import POSITIONS
from deeprec.training.rewards.stages import FORMAT, GOALS, StageReward
from deeprec.training.rollouts.advantages import ScoredRollout, TokenCredit
from deeprec.training.rollouts.group_checks import group_key
from deeprec.trm_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartCredit:
    """What the parts of a run earned, or that less the means of its group."""

    whole: float
    """The parts of the reward that are not about the target, such as the format."""
    retrievals: NDArray[np.float64]
    """(turns that asked,): how much each raised the discounted gain of the target in the fused ranking."""
    positions: NDArray[np.float64]
    """(positions,): the discounted gain of the list from each position on; empty where the list is not paid for."""


def credit_turns(
    scored: Sequence[ScoredRollout], store: TraceStore, *, stage: StageReward, tokenizer: Any
) -> list[ScoredRollout]:
    """Credit the tokens of rollouts by turn and by position of the list.

    A token's advantage is what its run earned apart from the target, less the group's mean, and of runs that keep the
    format also what its part earned, less the mean of that part over these runs of the group:

    - a turn that retrieves: how much the target's 1 / log2(r + 1) rose by it, where r is the target's rank in the
      retrievals so far, fused; 0 for a target that was not found;
    - an item of the list: 1 / log2(p + 1) of the target's position p if it stands there or later, else 0. What comes
      before the first item in that turn has the credit of the whole list. The stage has to pay for `hit` or `rank`.

    Args:
        scored: rollouts of whole groups, as of `read_scored`.
        store: the store that holds their runs.
        stage: the reward that they were scored with.
        tokenizer: of the policy's base model. It only decodes, to find which tokens belong to which position.

    Returns:
        the same rollouts in the same order with their `credit`.

    Raises:
        ConfigError: a run has no target.
    """
    groups: dict[str, list[int]] = {}
    for at, each in enumerate(scored):
        groups.setdefault(group_key(each.rollout), []).append(at)
    credited: dict[int, ScoredRollout] = {}
    for members in groups.values():
        traces = [store.run(scored[at].rollout.run_id) for at in members]
        parts = credit_parts(traces, [scored[at].components for at in members], stage=stage)
        for at, trace, part in zip(members, traces, parts, strict=True):
            credited[at] = replace(scored[at], credit=_token_credit(trace, part, tokenizer))
    return [credited[at] for at in range(len(scored))]


def credit_parts(
    traces: Sequence[RunTrace], components: Sequence[Mapping[str, float]], *, stage: StageReward
) -> list[PartCredit]:
    """Credit the parts of the runs of one group, as `credit_turns` says.

    Args:
        traces: the runs of one group.
        components: the reward components of each.
        stage: the reward that composes them.

    Returns:
        for each run what its parts earned, less the group's means; a run that broke the format has zeros but for the
        whole.

    Raises:
        ConfigError: a run has no target.
    """
    earned = [_earned(trace, own, stage) for trace, own in zip(traces, components, strict=True)]
    held = [own[FORMAT] >= 0 for own in components]
    whole = float(np.mean([each.whole for each in earned]))
    kept = [each for each, holds in zip(earned, held, strict=True) if holds]
    retrievals, positions = _means(each.retrievals for each in kept), _means(each.positions for each in kept)
    return [
        PartCredit(
            whole=each.whole - whole,
            retrievals=each.retrievals - retrievals[: each.retrievals.size] if holds else 0 * each.retrievals,
            positions=each.positions - positions[: each.positions.size] if holds else 0 * each.positions,
        )
        for each, holds in zip(earned, held, strict=True)
    ]


def list_positions(token_ids: Sequence[int], tokenizer: Any) -> NDArray[np.int64]:
    """Find the position of the list that each token of a turn belongs to.

    Args:
        token_ids: (n,), what the policy wrote in the turn of its list.
        tokenizer: of the policy's base model.

    Returns:
        (n,), from 1, a line break with the line that it ends; 0 before and behind the list and on blank lines.
    """
    ends = [len(_decoded(token_ids[: at + 1], tokenizer)) for at in range(len(token_ids))]
    text = _decoded(token_ids, tokenizer)
    opening, closing = text.find(BEGIN_LIST), text.find(END_LIST)
    begin = 0 if opening < 0 else opening + len(BEGIN_LIST)
    line_of = np.zeros(len(text) + 1, dtype=np.int64)
    start, position = begin, 0
    for line in text[begin : None if closing < begin else closing].splitlines(keepends=True):
        if line.strip():
            position += 1
            line_of[start : start + len(line)] = position
        start += len(line)
    return np.array([line_of[end - 1] if end else 0 for end in ends], dtype=np.int64)


def _earned(trace: RunTrace, components: Mapping[str, float], stage: StageReward) -> PartCredit:
    target = trace.run.target_id
    if target is None:
        raise ConfigError(
            f"Run {trace.run.run_id} has no target, so that no turn of it can be credited. Collect runs for "
            "instances, or train with one advantage a run."
        )
    gains, found, before = [], list[list[str]](), 0.0
    for turn in _asking(trace):
        found += [[item.id for item in call.items] for call in trace.retrievals if call.turn == turn.position]
        after = _gain(fuse_rankings(found), target)
        gains.append(after - before)
        before = after
    written = [entry.item_id for entry in trace.written]
    gain, pays = _gain(written[:POSITIONS], target), any(stage.weights.get(name) for name in ("hit", "rank"))
    last = written.index(target) + 1 if target in written else 0
    return PartCredit(
        whole=sum(part for name, part in stage.parts(components).items() if name not in GOALS),
        retrievals=np.array(gains),
        positions=np.where(np.arange(len(written)) < last, gain, 0.0) if pays else np.zeros(0),
    )


def _asking(trace: RunTrace) -> list[TurnRecord]:
    return [turn for turn in trace.turns if turn.action == "retrieve"]


def _gain(ranked: Iterable[str], target: str) -> float:
    return next((1 / math.log2(rank + 1) for rank, item in enumerate(ranked, start=1) if item == target), 0.0)


def _means(rows: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Means by column of rows of different lengths, each over the rows that reach so far."""
    given = list(rows)
    longest = max((row.size for row in given), default=0)
    return np.array([np.mean([row[at] for row in given if row.size > at]) for at in range(longest)])


def _token_credit(trace: RunTrace, parts: PartCredit, tokenizer: Any) -> TokenCredit:
    """Lay the credit of a run's parts over its tokens."""
    advantages, positions = [], []
    asking = [turn.position for turn in _asking(trace)]
    for turn in trace.turns:
        credit = np.full(len(turn.completion_ids), parts.whole)
        at = np.zeros(len(turn.completion_ids), dtype=np.int64)
        if turn.action == "retrieve":
            credit += parts.retrievals[asking.index(turn.position)]
        elif turn.action == "recommend" and parts.positions.size:
            at = list_positions(turn.completion_ids, tokenizer)
            if at.max(initial=0) != parts.positions.size:  # the lines are not the items, as in a lenient reading
                at[:] = 0
                credit += parts.positions[0]
            else:
                credit[at > 0] += parts.positions[at[at > 0] - 1]
                credit[: np.flatnonzero(at)[0]] += parts.positions[0]
        advantages += [np.zeros(len(turn.prompt_ids)), credit]
        positions += [np.zeros(len(turn.prompt_ids), dtype=np.int64), at]
    return TokenCredit(advantages=np.concatenate(advantages).astype(np.float32), positions=np.concatenate(positions))


def _decoded(token_ids: Sequence[int], tokenizer: Any) -> str:
    text: str = tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
