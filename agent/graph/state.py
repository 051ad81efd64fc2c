"""The state of the graph: plain data only, items by catalogue id, so that any checkpointer can keep it.

No key but `messages` has a reducer: each node writes a key whole. So a thread that goes on keeps nothing of its last
request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired

from langgraph.managed import RemainingSteps
from typing_extensions import TypedDict  # typing's own is refused by pydantic before Python 3.12

from deeprec.agent.graph.messages import ThreadMessages
from deeprec.agent.graph.turn_seeds import SeedRule
from deeprec.agent.traces.records import Outcome, Status


class Lineage(TypedDict, total=False):
    """What a caller knows about a run beside the request. It is logged, and reaches neither model nor recommender."""

    run_id: str
    tenant: str
    """The shop or customer of a service; see `RunRecord.tenant`."""
    user_id: str
    target_id: str
    seed: int
    split: str
    suite: str
    system: str
    shuffled_of: str | None
    """See `RunRecord.shuffled_of`."""
    group_id: str
    parent_id: str
    fork: dict[str, Any]
    """How the run departs from its parent; see `RunRecord.fork`."""
    turn_seeds: SeedRule
    """How the seeds of the turns follow from `seed`; replays of older runs pass "counted"."""


class Candidate(TypedDict):
    """An item that a retrieval of this run found. The model names it by its position among the candidates, from 1."""

    item_id: str
    retrieval: int
    """Position of the first retrieval that found it."""
    score: float
    """The score in that retrieval; comparable within it only."""
    fused: float
    """Sum of the reciprocal ranks over the run's retrievals, by which short lists are filled."""
    own: NotRequired[float]
    """What of `fused` comes from retrievals without a preference, which are the recommender's own list."""
    excluded: NotRequired[bool]
    """Whether the request no longer allows the item, since it was edited; its number stays, and no list has it."""


class Recommended(TypedDict):
    """One position of the list that a caller gets."""

    rank: int
    item_id: str
    title: str
    retrieval: int | None
    score: float | None
    source: str


class RankedItem(TypedDict):
    """One position of a ranking that the recommender made without the model."""

    item_id: str
    score: float


class RunRequest(TypedDict):
    """The request as `prepare` took it, with what stays the same for the whole run, and the time spent."""

    history: list[str]
    message: NotRequired[str | None]
    """What a list without the model is made from; checkpoints of earlier versions lack it."""
    earlier: NotRequired[list[str]]
    """What was said before the message; a fork of the run is made from it."""
    where: Mapping[str, Any] | None
    exclude: NotRequired[list[str]]
    """Ids that no retrieval returns; checkpoints of earlier versions lack it."""
    settings: NotRequired[dict[str, Any]]
    """What the request sets for its own run; checkpoints of earlier versions lack it."""
    seed: int | None
    turn_seeds: SeedRule
    lineage: NotRequired[Lineage]
    """What a fork of the run keeps of its lineage."""
    phrases: list[str]
    may_refuse: NotRequired[bool]
    """Whether a guided preference may refuse phrases and bound numbers; checkpoints of earlier versions lack it."""
    bounds: NotRequired[list[str]]
    """Names of the numbers that it may bound."""
    """What a guided model may choose its preferences from; empty in a run that is not guided."""
    own_ranking: list[RankedItem]
    """The recommender's ranking by the history alone, best first."""
    spent_ms: float
    """Wall time inside the nodes."""


FailurePart = Literal["model", "recommender"]


class Failure(TypedDict):
    """What was unavailable, after its retries, and so ended a run."""

    part: FailurePart
    node: str
    """The node that called it."""
    cause: str
    """Name of the class of the error behind it, such as `APITimeoutError`."""
    detail: str


class Ending(TypedDict):
    """What ended the exploration before the model ended it."""

    status: Outcome
    detail: str
    failure: NotRequired[Failure]
    """What was unavailable, where the status is `fallback`."""


class AgentInput(TypedDict, total=False):
    """A request. On a thread that goes on, `history` and `messages` stay; the other keys do not."""

    history: list[str]
    """Item ids, oldest first; of anybody, known or not, or empty."""
    message: str | None
    messages: ThreadMessages
    """A conversation, whose last human message is the request where `message` is left out. The answer is appended."""
    earlier: list[str] | None
    """What was said before `message`, a line each, oldest first; of `messages` it is read by itself."""
    where: Mapping[str, Any] | None
    """Hard constraints of every retrieval."""
    exclude: list[str] | None
    """Ids of items that must not come back, such as those in the cart."""
    settings: Mapping[str, Any] | None
    """Settings of `AgentConfig` for this run alone, such as `{"k": 5}`, and `model`: another model of the server."""
    lineage: Lineage | None


class Nearest(TypedDict):
    """What can be had instead where no item passes the constraints."""

    without: list[str]
    """Attributes whose conditions are left out, because they empty the set."""
    where: Mapping[str, Any]
    """The conditions that remain."""
    recommendations: list[Recommended]
    """The recommender's own list under these conditions."""


class HardConstraint(TypedDict):
    """A constraint that holds for every item of the list."""

    text: str
    """As preferences spell it, such as `not horror` or `price <= 20`."""
    where: Mapping[str, Any]
    source: Literal["request", "message"]
    """`request`: the `where` of the request. `message`: the person's words state it plainly, or the model wrote it and
    they support it."""
    words: NotRequired[str]
    """The words that support it, at most 80 characters of them."""


class GuessedConstraint(TypedDict):
    """A constraint that the model wrote and that only weighs."""

    text: str
    where: Mapping[str, Any]
    why: str
    """Why it does not hold: the words do not say so, no item passes it beside the hard ones, or it stands for what the
    catalogue lacks."""
    stands_for: NotRequired[str]
    """What the model wrote, where the catalogue has no value for it and this constraint is on the closest phrase."""
    words: NotRequired[str]
    """The words that refuse it, where the message itself does; it then weighs in every retrieval."""
    contradicts: NotRequired[str]
    """The hard constraint that no item passes together with this one, where the person's words say both."""


class RunConstraints(TypedDict):
    """What must and must not be by the request and by the preferences of a run."""

    hard: list[HardConstraint]
    guessed: list[GuessedConstraint]
    unenforceable: list[str]
    """What a preference says must or must not be, and the catalogue has no value or attribute for."""
    contradictions: NotRequired[list[str]]
    """What the person's words ask for and exclude at once, in a sentence each; missing where there is nothing."""


class AgentOutput(TypedDict, total=False):
    """The result of a run."""

    messages: ThreadMessages
    """The conversation with the answer as its last message; only where the input had `messages`."""
    run_id: str
    status: Status
    """`finished`: the model wrote a list. Else what ended the run, whose list is filled where the model wrote none:
    `budget`; `malformed`, too many unreadable turns; `truncated`, the last of them cut at the token limit;
    `refused` by the model; `filtered` by a provider's content filter; `ungrounded`, a list that names none of the
    candidates; `fallback`, an outage; `empty`, where no item passes the constraints; `aborted`, where `run_many`
    reports an error instead of a list. `running` in the state of a run that has not ended."""
    detail: str | None
    failure: Failure | None
    """What was unavailable, where the status is `fallback`; None for every other status."""
    recommendations: list[Recommended]
    unenforced: list[str]
    """Constraints that the catalogue cannot enforce."""
    constraints: RunConstraints
    """What the list obeys, what only weighed, and what could not be enforced."""
    unknown_items: list[str]
    """Ids of the history that the catalogue lacks; the run went on without them."""
    message_cut: bool
    """Whether the message is longer than the 2,000 characters that model and recommender read; the rest was cut."""
    nearest: Nearest | None
    """What can be had instead, where the status is `empty`; `detail` says which condition empties the set."""


class AgentState(AgentInput, AgentOutput, total=False):
    """What the nodes read and write."""

    request: RunRequest
    conversation: dict[str, Any]
    decision: dict[str, Any]
    """What the model decided in the last turn: a `Decision` as plain data."""
    turn_count: int
    malformed_count: int
    spent_tokens: int
    retrieval_count: int
    preferences: list[str]
    candidates: list[Candidate]
    ending: Ending | None
    """Why the exploration ended before the model ended it; None while it goes on, and when the model ended it."""
    written: list[dict[str, Any]]
    ungrounded: int
    steps_left: RemainingSteps
    """Steps that LangGraph's recursion limit leaves after the present one; LangGraph counts them."""
    seal: dict[str, str]
    """The run's id, and a digest of each part as the last node left it, by which the next one notices edits."""
