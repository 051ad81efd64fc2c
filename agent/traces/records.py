"""The records of a run: what the graph writes step by step, and the trace that a reader gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args
from uuid import UUID

from deeprec.trm_tool.errors import ConfigError, DeepRecError

if TYPE_CHECKING:
    from deeprec.trm_tool.recommender import ScoredItem

Node = Literal["reason", "rank"]
Action = Literal["retrieve", "recommend", "knowledge", "malformed", "unavailable"]
Source = Literal["written", "filled", "fallback"]
Outcome = Literal[
    "finished", "malformed", "budget", "fallback", "empty", "ungrounded", "truncated", "refused", "filtered", "aborted"
]
Status = Literal["running", Outcome]
OPEN_STATUSES: tuple[Status, ...] = ("running", "aborted")
"""Statuses of runs without a list, which can go on; `aborted` are those that an error, a cancellation or a limit of
steps has ended, and that wait for nobody."""
Kind = Literal["agent", "scored", "derived", "knowledge"]
LogprobsMode = Literal["processed", "raw"]
"""Whether a server's log-probabilities are those after temperature and filters, which were sampled from, or before."""
Part = Literal["tokens", "texts", "settings", "scores"]
"""A group of columns that a reader can leave out: token ids and log-probabilities; texts, thoughts and messages of
turns; sampling, config and versions of runs; rewards, metrics and cases."""
PARTS: tuple[Part, ...] = get_args(Part)


def listed(value: object, name: str) -> list[Any]:
    """A list of a stored JSON object, such as `constraints["hard"]`; empty where there is none.

    An imported run holds whatever was in its file, so that the object, or what stands in it, can be something else.
    """
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, list) else []


class TraceStoreError(DeepRecError):
    """A trace store that cannot be opened, read, or written as asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The request of a run, and its lineage."""

    run_id: UUID
    tenant: str | None = None
    """The shop or customer of a service that the run was made for; person ids are its own."""
    user_id: str | None = None
    thread_id: str | None = None
    """The thread of the caller's RunnableConfig."""
    caller_run_id: str | None = None
    """The `run_id` of the caller's RunnableConfig, by which LangSmith and LangGraph's server know the call."""
    tags: tuple[str, ...] = ()
    """The tags of the caller's RunnableConfig, at most 32 of 128 characters."""
    caller_metadata: dict[str, str] = field(default_factory=dict)
    """The metadata of the caller's RunnableConfig as text, at most 32 entries of 512 characters, secrets masked."""
    history: tuple[str, ...] = ()
    """Item ids, oldest first."""
    message: str | None = None
    target_id: str | None = None
    """The held-out item, where it is known."""
    protocol: str
    protocol_version: str
    prompt_version: str
    guided: bool
    k: int
    """Items in the final list."""
    policy_model: str
    adapter: str | None = None
    adapter_version: str | None = None
    base_fingerprint: str | None = None
    """The fingerprint of the base model's weights; None where the server did not show them, and for a run logged
    before that was kept."""
    adapter_fingerprint: str | None = None
    """The fingerprint of the adapter's weights; None without an adapter, and as above."""
    logprobs_mode: LogprobsMode | None = None
    """None where nobody asked the server, and as above."""
    trm_fingerprint: str
    trm_holdout: int | None = None
    """How many of each person's last items the recommender was trained without; None for a run logged before that was
    kept."""
    dataset_fingerprint: str | None = None
    """`Dataset.fingerprint` of the data that the recommender was trained on; None as above."""
    sampling: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    split: str | None = None
    suite: str | None = None
    system: str | None = None
    """Which system of the suite this is a run of."""
    kind: Kind = "agent"
    """Who wrote the list: a language model ("agent"), a scorer of the catalogue ("scored"), or code that read it out of
    the run `parent_id` ("derived"). A "knowledge" run has no list: a language model wrote what a person will like."""
    oracle: bool = False
    """Whether the system knows something about the target: an upper bound."""
    shuffled_of: str | None = None
    """The system that this one equals, except that its model sees the candidates in a drawn order."""
    group_id: str | None = None
    parent_id: UUID | None = None
    """The run that this one was forked from, or replays."""
    fork: dict[str, Any] | None = None
    """How it departs from its parent: `{"turn": position, "preference": new text}` where one turn's preference was
    edited, `{"turn": position, "edited": names of parts}` where a checkpoint was edited after that turn or the parent's
    id was given with another request (none of these is ever trained on); `{"turn": None}` for a replay; None for a run
    of its own."""
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"The seed is {self.seed}, which does not fit into 64 bits. Choose a smaller one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """One call of the policy. Keyed by run and `position`; written once."""

    position: int
    """0-based over the policy calls of a run."""
    node: Node
    prompt_ids: tuple[int, ...] = ()
    """Only what this turn adds to the chain before its completion."""
    completion_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """One per completion token; stored as float32."""
    chained: bool = False
    """Whether the run's tokens are the concatenation of prompt_ids + completion_ids over its turns."""
    text: str = ""
    thought: str | None = None
    action: Action
    preference: str | None = None
    items: tuple[str, ...] = ()
    """Item ids that the list named."""
    detail: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int = 0
    """Prompt tokens by the server's count: the whole chain before the completion."""
    completion_tokens: int = 0
    latency_ms: float
    messages: list[Any] | None = None
    """JSON; the tools protocol only."""
    inputs: str | None = None
    """Digest of what the turn was computed from; None where it was logged before that was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRecord:
    """One call of the recommender. Keyed by run and `position`; written once."""

    position: int
    """0-based within the run."""
    turn: int
    """Position of the turn that asked."""
    preference: str | None = None
    k: int
    items: tuple[ScoredItem, ...] = ()
    """Best first."""
    unenforced: tuple[str, ...] = ()
    """Constraints that the catalogue could not enforce."""
    latency_ms: float
    detail: str | None = None
    inputs: str | None = None
    """Digest of what the retrieval was computed from; None where it was logged before that was kept."""
    words: bool = False
    """Whether the recommender had the person's message in this retrieval, beside the preference."""
    constraints: dict[str, Any] | None = None
    """What must and must not be by the preference: `hard`, `guessed` and `unenforceable`, as in the result of a run.
    None where the preference says nothing of the kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationRecord:
    """One position of a recommended list."""

    rank: int
    """1-based."""
    item_id: str
    retrieval: int | None = None
    """Position of the first retrieval that found the item; None where none did."""
    score: float | None = None
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The ending of a run. `written` is the model's own list, `recommended` the list as filled."""

    status: Outcome
    detail: str | None = None
    written: tuple[RecommendationRecord, ...] = ()
    recommended: tuple[RecommendationRecord, ...] = ()
    ungrounded: int = 0
    """Numbers in the model's list that named no candidate."""
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardRecord:
    """One component of a reward scheme. NaN where it could not be computed."""

    scheme: str
    component: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One line of a listing."""

    run_id: UUID
    started_at: datetime
    status: Status
    incomplete: bool
    tenant: str | None
    user_id: str | None
    message: str | None
    target_id: str | None
    target_rank: int | None
    """1-based position of the target in the filled list; None where the list lacks it or the target is not known."""
    protocol: str
    guided: bool
    policy_model: str
    adapter_version: str | None
    group_id: str | None
    turns: int
    retrievals: int
    completion_tokens: int
    latency_ms: float | None


class ChainTurn(NamedTuple):
    """The tokens of one turn, packed as `encode_tokens` and `encode_logprobs` do."""

    position: int
    action: Action
    chained: bool
    prompt_tokens: int
    completion_tokens: int
    prompt_ids: bytes
    completion_ids: bytes
    logprobs: bytes


class RunChain(NamedTuple):
    """The tokens of one run and what decides whether they may be trained on. Light: a store has very many."""

    run_id: UUID
    group_id: str | None
    policy_model: str
    adapter: str | None
    adapter_version: str | None
    base_fingerprint: str | None
    adapter_fingerprint: str | None
    logprobs_mode: LogprobsMode | None
    guided: bool
    sampling: dict[str, Any]
    fork: dict[str, Any] | None
    status: Status
    incomplete: bool
    redacted_at: datetime | None
    turns: tuple[ChainTurn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """Facts about the request of an evaluated run; they are the same whatever system answered it."""

    target_popularity: float = math.nan
    """Interactions with the target in training."""
    history_length: int
    """Items in the whole history, also where the model was shown less."""
    other_data: bool = False
    """The recommender was trained on other data than the request is from."""
    chosen_on: bool = False
    """Training chose the recommender's epoch and its trust in preferences by the targets of the same suite."""
    phrases: tuple[str, ...] = ()
    """Phrases that are true of the target by the catalogue, such as a genre or a decade."""
    conversation: str | None = None
    """The conversation of the request; None where the case is the next item of a person's history."""
    turn: int | None = None
    """The request's position in its conversation; None as above."""
    words: int | None = None
    """Words of the request's message, 0 where it has none; None as above."""
    said: Mapping[str, Any] | None = None
    """What the message expresses, where that is known: `wanted` and `unwanted` phrases of the catalogue, and `where`,
    the attributes whose numbers it bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTrace:
    """Everything that the store has on one run."""

    run: RunRecord
    status: Status
    incomplete: bool
    """The store failed during the run, or two writers disagreed: steps may be missing."""
    detail: str | None
    started_at: datetime
    finished_at: datetime | None
    latency_ms: float | None
    ungrounded: int
    pinned: bool
    """Never pruned."""
    redacted_at: datetime | None
    """Time at which redaction removed the person's history, message and free text."""
    turns: tuple[TurnRecord, ...]
    retrievals: tuple[RetrievalRecord, ...]
    written: tuple[RecommendationRecord, ...]
    recommended: tuple[RecommendationRecord, ...]
    rewards: tuple[RewardRecord, ...]
    """Ordered by scheme and component."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The metrics of the evaluation by name; NaN where it could not be computed. Empty for a run outside a suite."""
    case: CaseRecord | None = None
    """None for a run outside a suite."""

    @property
    def scores(self) -> tuple[RewardRecord, ...]:
        """Every stored number to show: the rewards, and the metrics as those of a scheme "eval"."""
        metrics = (RewardRecord(scheme="eval", component=name, value=self.metrics[name]) for name in self.metrics)
        return tuple(sorted((*self.rewards, *metrics), key=lambda score: (score.scheme, score.component)))
