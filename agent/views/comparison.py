"""Two runs beside one another, turn by turn: where they differ, and what each found that the other did not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.agent.traces.records import RunTrace, TurnRecord
from deeprec.agent.views.run_facts import retrievals_of

_REQUEST = ("user_id", "history", "message", "target_id")
_SETTING = (
    "policy_model",
    "adapter",
    "adapter_version",
    "base_fingerprint",
    "adapter_fingerprint",
    "logprobs_mode",
    "protocol",
    "protocol_version",
    "prompt_version",
    "guided",
    "sampling",
    "seed",
    "k",
    "trm_fingerprint",
    "trm_holdout",
    "dataset_fingerprint",
    "config",
    "versions",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One part of the request or the settings that differs between the two runs."""

    name: str
    """A field of `RunRecord`, with the key after a dot where the field holds several."""
    left: Any
    right: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDifference:
    """The first position at which the token sequences of two runs differ, or at which one of them ends."""

    position: int
    """0-based in the run's tokens; all before it are the same."""
    turn: int
    """Position of the turn that the token belongs to."""
    by: Literal["policy", "prompt"]
    """Who put the token there: the policy, or the prompt and the tool."""
    left: int | None
    """Token id; None where this run's tokens have ended."""
    right: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnComparison:
    """The turns at one position. One side is missing where its run has fewer turns."""

    position: int
    left: TurnRecord | None
    right: TurnRecord | None
    same_thought: bool
    same_preference: bool
    same_tokens: bool
    """What the policy wrote in this turn, by token id; by text where a run logged no ids."""
    only_left: tuple[str, ...]
    """Items that the left run found in this turn and the right run in no turn; best first."""
    only_right: tuple[str, ...]
    both: tuple[str, ...]
    """Items that both found in this turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMove:
    """Where an item stands in the two lists as shown; None where it is missing."""

    item_id: str
    left: int | None
    """1-based."""
    right: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardDifference:
    """One component of a reward scheme in both runs. NaN where it is missing or could not be computed."""

    scheme: str
    component: str
    left: float
    right: float
    difference: float
    """Right minus left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """The comparison of two runs. Left is the one that was named first."""

    left_id: UUID
    right_id: UUID
    relation: str | None
    """`replay` or `fork` where one run is the other's parent, `siblings` where they share one; else None."""
    request: tuple[Difference, ...]
    """Parts of the request that differ: with any of them, different results say little about the policies."""
    setting: tuple[Difference, ...]
    turns: tuple[TurnComparison, ...]
    first_turn: int | None
    """Position of the first turn that differs in what the policy wrote or in what it found; None where none differs."""
    first_thought: int | None
    first_preference: int | None
    first_token: TokenDifference | None
    """None where all tokens are the same, or where the tokens of a run do not form one chain."""
    largest_logprob_difference: float
    """Over the policy's tokens before the first that differs, nats; NaN where there are none."""
    only_left: tuple[str, ...]
    """Items that only the left run found, in the order in which it found them."""
    only_right: tuple[str, ...]
    both: tuple[str, ...]
    moves: tuple[ListMove, ...]
    """Every item of the two lists: those of the right list in its order, then those that only the left has."""
    rewards: tuple[RewardDifference, ...]

    @property
    def overlap(self) -> float:
        """Share of the items found by either run that both found; NaN where nothing was found."""
        union = len(self.only_left) + len(self.only_right) + len(self.both)
        return len(self.both) / union if union else math.nan

    @property
    def is_same(self) -> bool:
        """Whether the two went the same way: same turns, same items found, same lists."""
        return self.first_turn is None and all(move.left == move.right for move in self.moves)


def compare_runs(left: RunTrace, right: RunTrace) -> RunComparison:
    """Compare two runs: of one person under two policies or seeds, or a replay or a fork with its parent.

    Turns are aligned by position. The lists are those shown to the person.
    """
    turns = tuple(_turns(left, right))
    left_found, right_found = _found(left), _found(right)
    token, drift = _first_token(left, right)
    return RunComparison(
        left_id=left.run.run_id,
        right_id=right.run.run_id,
        relation=_relation(left, right),
        request=tuple(_differences(left, right, _REQUEST)),
        setting=tuple(_differences(left, right, _SETTING)),
        turns=turns,
        first_turn=next((turn.position for turn in turns if not _is_same(turn, left, right)), None),
        first_thought=next((turn.position for turn in turns if not turn.same_thought), None),
        first_preference=next((turn.position for turn in turns if not turn.same_preference), None),
        first_token=token,
        largest_logprob_difference=drift,
        only_left=tuple(item for item in left_found if item not in right_found),
        only_right=tuple(item for item in right_found if item not in left_found),
        both=tuple(item for item in left_found if item in right_found),
        moves=tuple(_moves(left, right)),
        rewards=tuple(_rewards(left, right)),
    )


def _relation(left: RunTrace, right: RunTrace) -> str | None:
    for child, parent in ((left.run, right.run), (right.run, left.run)):
        if child.parent_id == parent.run_id:
            return "fork" if child.fork is not None and child.fork.get("turn") is not None else "replay"
    return "siblings" if left.run.parent_id is not None and left.run.parent_id == right.run.parent_id else None


def _differences(left: RunTrace, right: RunTrace, names: Sequence[str]) -> list[Difference]:
    found = []
    for name in names:
        one, other = getattr(left.run, name), getattr(right.run, name)
        if isinstance(one, dict) and isinstance(other, dict):
            for key in dict.fromkeys([*one, *other]):
                if one.get(key) != other.get(key):
                    found.append(Difference(name=f"{name}.{key}", left=one.get(key), right=other.get(key)))
        elif one != other and not (name == "base_fingerprint" and one and other and same_weights(one, other)):
            found.append(Difference(name=name, left=one, right=other))
    return found


def _found(trace: RunTrace) -> dict[str, None]:
    return dict.fromkeys(item.id for retrieval in trace.retrievals for item in retrieval.items)


def _found_in(trace: RunTrace, turn: TurnRecord | None) -> dict[str, None]:
    if turn is None:
        return {}
    return dict.fromkeys(item.id for retrieval in retrievals_of(trace, turn) for item in retrieval.items)


def _turns(left: RunTrace, right: RunTrace) -> list[TurnComparison]:
    ever_left, ever_right = _found(left), _found(right)
    by_position = [{turn.position: turn for turn in trace.turns} for trace in (left, right)]
    compared = []
    for position in sorted({*by_position[0], *by_position[1]}):
        one, other = (turns.get(position) for turns in by_position)
        here, there = _found_in(left, one), _found_in(right, other)
        compared.append(
            TurnComparison(
                position=position,
                left=one,
                right=other,
                same_thought=one is not None and other is not None and one.thought == other.thought,
                same_preference=one is not None and other is not None and one.preference == other.preference,
                same_tokens=one is not None and other is not None and _wrote(one, other) == _wrote(other, one),
                only_left=tuple(item for item in here if item not in ever_right),
                only_right=tuple(item for item in there if item not in ever_left),
                both=tuple(item for item in here if item in there),
            )
        )
    return compared


def _wrote(turn: TurnRecord, other: TurnRecord) -> tuple[object, ...]:
    has_ids = bool(turn.completion_ids and other.completion_ids)
    return (turn.node, turn.action, turn.preference, turn.items, turn.completion_ids if has_ids else turn.text)


def _is_same(turn: TurnComparison, left: RunTrace, right: RunTrace) -> bool:
    found = [list(_found_in(trace, of)) for trace, of in ((left, turn.left), (right, turn.right))]
    return turn.same_tokens and found[0] == found[1]


def _first_token(left: RunTrace, right: RunTrace) -> tuple[TokenDifference | None, float]:
    """Where the chains first differ, and the largest difference of logprobs before that."""
    chains = [_chain(trace) for trace in (left, right)]
    if not all(chains):
        return None, math.nan
    drift = math.nan
    one, other = chains
    for position, (here, there) in enumerate(zip(one, other, strict=False)):
        if here[0] != there[0]:
            _, turn, by, _ = here
            return TokenDifference(position=position, turn=turn, by=by, left=here[0], right=there[0]), drift
        gap = abs(here[3] - there[3])
        if not math.isnan(gap):
            drift = gap if math.isnan(drift) else max(drift, gap)
    if len(one) == len(other):
        return None, drift
    position = min(len(one), len(other))
    longer = max(one, other, key=len)
    token, turn, by, _ = longer[position]
    ids = (token, None) if longer is one else (None, token)
    return TokenDifference(position=position, turn=turn, by=by, left=ids[0], right=ids[1]), drift


_Token = tuple[int, int, Literal["policy", "prompt"], float]


def _chain(trace: RunTrace) -> list[_Token]:
    """Token id, turn, who put it there and logprob; empty for a run without one chain."""
    chain: list[_Token] = []
    for turn in trace.turns:
        if not turn.chained and (turn.prompt_ids or turn.completion_ids):
            return []
        chain += [(token, turn.position, "prompt", math.nan) for token in turn.prompt_ids]
        logprobs = [*turn.logprobs, *[math.nan] * len(turn.completion_ids)]
        chain += [(t, turn.position, "policy", logprob) for t, logprob in zip(turn.completion_ids, logprobs)]  # noqa: B905
    return chain


def _moves(left: RunTrace, right: RunTrace) -> list[ListMove]:
    ranks = [{line.item_id: line.rank for line in reversed(trace.recommended)} for trace in (left, right)]
    items = dict.fromkeys(line.item_id for trace in (right, left) for line in trace.recommended)
    return [ListMove(item_id=item, left=ranks[0].get(item), right=ranks[1].get(item)) for item in items]


def _rewards(left: RunTrace, right: RunTrace) -> list[RewardDifference]:
    values = [{(r.scheme, r.component): r.value for r in trace.scores} for trace in (left, right)]
    found = []
    for key in dict.fromkeys([*values[0], *values[1]]):
        one, other = (side.get(key, math.nan) for side in values)
        found.append(RewardDifference(scheme=key[0], component=key[1], left=one, right=other, difference=other - one))
    return found
