"""The interface of protocols: the request that opens a run, what a turn may do, what it wrote and decided."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NotRequired, Protocol, TypedDict, runtime_checkable

from deeprec.agent.policy.completion import Completion, PolicyError
from deeprec.agent.traces.records import LogprobsMode, Node, TurnRecord

Conversation = Mapping[str, Any]
"""What the model has seen and written so far, in the protocol's own form; plain data, never changed in place."""

MAX_SEGMENTS = 6
"""Segments of a guided preference that may refuse."""
_NUMBER = r"-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,2})?"
MAX_PREFERENCE_CHARS = 400
"""A preference is a few phrases; a longer one is malformed."""


class ContextFullError(PolicyError):
    """The conversation has outgrown the model's context: a budget that is spent, not a model that is unavailable."""


Describe = Callable[[object], Awaitable[str]]
"""Answers a look-up, such as a call of `describe_catalogue`: from the arguments as the model wrote them to a text that
is safe to show."""

Stop = Literal["truncated", "refused", "filtered"]
"""What stops a model before its answer is whole: the token limit, the model itself, or a content filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What the opening prompt is made of."""

    history: Sequence[str]
    """One short neutralised line an item, oldest first."""
    message: str | None
    k: int
    earlier: Sequence[str] = ()
    """What was said in the conversation before the message, a line each, oldest first, already neutralised."""
    max_retrievals: int | None = None
    """Retrievals that the run may make, where the prompt is to say so."""
    titles: Sequence[str] = ()
    """The titles of the history, oldest first, neutralised, for prompts that show the history in one line."""
    phrases: Sequence[str] = ()
    """The phrases on offer, the likeliest first, neutralised, for prompts that show what can be asked for."""
    numbers: Sequence[str] = ()
    """The numbers that can be bounded, each with its range, such as `year 1922 to 1998`, for the same prompts."""
    card: Sequence[str] = ()
    """What the catalogue can be asked for, a line an attribute, neutralised, for prompts that show it."""
    may_be_empty: bool = False
    """Whether an empty preference is a retrieval of the recommender's own list, in this run."""
    max_retrieve_k: int | None = None
    """Items that the model may ask of one retrieval, at most; None where it has no choice."""

    def freedoms(self) -> dict[str, Any]:
        """The part of a conversation that says what a retrieval may be, beyond a preference alone; empty by default."""
        named = {"may_be_empty": self.may_be_empty, "max_retrieve_k": self.max_retrieve_k}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a model is shown beside the items of a retrieval whose preference could not be enforced in full."""

    kept: Sequence[str] = ()
    """The constraints that every item passes, in short safe texts, as are the others."""
    weighed: Sequence[str] = ()
    """Those that only weigh."""
    missing: Sequence[str] = ()
    """Those that the catalogue has no value or attribute for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What the next turn may do. A guided model is held to all of it, a free one to the tokens and the time only."""

    phrases: Sequence[str] = ()
    """Preference phrases on offer, without those already used; empty means that no retrieval is left."""
    may_refuse: bool = False
    """Whether a preference may be up to six segments, among them what must not be (`not horror`) and the bounds."""
    bounds: Sequence[str] = ()
    """Names of the numbers that such a preference may bound (`year >= 1990`)."""
    may_be_empty: bool = False
    """Whether a guided preference may be empty."""
    describe: Describe | None = None
    """What answers the model's questions about the catalogue; None where it may ask none."""
    also_chosen: Describe | None = None
    """What answers its questions about what people also chose, likewise."""
    may_rank: bool = False
    most_numbers: int | None = None
    """Numbers that the list of a guided model has, at most, where that is less than the list is to have."""
    excluded: Sequence[int] = ()
    """Numbers of candidates that no list may name: what is hard since they were found excludes them."""
    max_tokens: int
    timeout_s: float
    seed: int | None = None
    on_number: Callable[[int], object] = lambda _: None
    """What a protocol calls with a number of the list as soon as the model has written it, where it knows that before
    the turn ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the model decided in one turn, read strictly from its text."""

    action: Literal["retrieve", "recommend", "malformed"]
    thought: str | None = None
    preference: str | None = None
    """What a retrieval asks for; empty for the recommender's own list."""
    limit: int | None = None
    """Items that the retrieval is to return, where the model says how many."""
    numbers: tuple[int, ...] = ()
    """Candidate numbers that the list names, repeats kept, best first."""
    unread: int = 0
    """Lines of the list that name no number."""
    detail: str | None = None
    """Why the text is malformed, or what of it was cut."""
    stopped: Stop | None = None
    """What stopped the model, where a malformed text is due to that. A refusal and a filter end the exploration at
    once; a text that was cut is corrected like any other, and names the ending if it is the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One call of the policy, with the conversation as it stands after it."""

    conversation: Conversation
    decision: Decision
    completion: Completion
    prompt_ids: tuple[int, ...] = ()
    """Token ids that the turn added to the chain before its completion."""
    chained: bool = False
    """Whether the run's tokens are exactly the `prompt_ids` and completions of its turns, one after another."""
    messages: list[Any] | None = None
    """What the turn added to a conversation of messages, its own one last, as JSON."""


class PolicyLineage(TypedDict):
    """Which model writes the turns of a run, and how they are sampled."""

    policy_model: str
    """The name of the served model."""
    adapter: NotRequired[str | None]
    """The name of the LoRA adapter in use."""
    adapter_version: NotRequired[str | None]
    """The same name, where training saved it and one name is one set of weights."""
    base_fingerprint: NotRequired[str | None]
    adapter_fingerprint: NotRequired[str | None]
    """The fingerprints of the weights, where the server shows them."""
    logprobs_mode: NotRequired[LogprobsMode | None]
    sampling: NotRequired[dict[str, Any]]
    """Sampling parameter -> value."""


@runtime_checkable
class AgentProtocol(Protocol):
    """How the model calls the recommender and hands in its list. It has no state: the conversation carries everything.

    `TaggedProtocol` and `ToolsProtocol` implement it; `build_graph` takes one of your own. Every method that calls the
    model raises `PolicyError` where the model is unavailable, and `ContextFullError` where its context is full.
    """

    @property
    def name(self) -> str:
        """The name in the lineage of runs, such as `tagged` or `tools`."""

    @property
    def version(self) -> str:
        """Changes whenever the same model would see other tokens."""

    @property
    def prompt_version(self) -> str:
        """Changes whenever the texts that the model is shown do; `Prompts.version` where they are a `Prompts`."""

    @property
    def guided(self) -> bool:
        """Whether the server holds the model to the format."""

    def lineage(self) -> PolicyLineage:
        """The policy's part of a run's lineage."""

    async def open(self, briefing: Briefing) -> Conversation:
        """Begin a conversation."""

    async def reason(self, conversation: Conversation, allowance: Allowance) -> Turn:
        """Let the model think and then retrieve or rank."""

    async def observe(self, conversation: Conversation, items: Sequence[tuple[int, str]]) -> Conversation | None:
        """Append what a retrieval found: the number of each item, and its summary, which is already neutralised.

        Returns:
            The conversation; None where the context has no room for it and for a ranking.
        """

    async def correct(self, conversation: Conversation, why: str) -> Conversation | None:
        """Append what is malformed in the last turn; None where the context has no room."""

    async def rank(self, conversation: Conversation, numbers: Sequence[int], k: int, allowance: Allowance) -> Turn:
        """Let the model rank the candidates with these numbers: a list of `k`, the best first."""

    def replay(self, conversation: Conversation, record: TurnRecord) -> Turn:
        """Rebuild a turn from its record, as if the model had just written it."""

    async def edit(self, record: TurnRecord, preference: str) -> TurnRecord:
        """Replace the preference of a turn that retrieved. No model sampled the result, so that it has no logprobs."""

    def agrees(self, conversation: Conversation, records: Sequence[TurnRecord]) -> bool:
        """Whether a conversation is what the model had before it wrote the last of these turns, the first of a run."""


@runtime_checkable
class AdjustableProtocol(AgentProtocol, Protocol):
    """A protocol whose model and sampling a request may choose. Both built-in protocols are."""

    def adjusted(
        self, *, model: str | None = None, temperature: float | None = None, top_p: float | None = None
    ) -> AgentProtocol:
        """Make the same protocol with another model of the same server, or other sampling; None changes nothing.

        Raises:
            ConfigError: the policy cannot be asked so.
        """


@runtime_checkable
class CardProtocol(AgentProtocol, Protocol):
    """A protocol whose prompts can show what the catalogue can be asked for. Both built-in protocols are."""

    @property
    def has_card(self) -> bool:
        """Whether its prompts do; the graph then fills `Briefing.phrases`, `numbers` and `card`."""


@runtime_checkable
class RemarkingProtocol(AgentProtocol, Protocol):
    """A protocol that shows the model what of its preference was not enforced. Both built-in protocols do."""

    async def observe_remarked(
        self, conversation: Conversation, items: Sequence[tuple[int, str]], remark: Remark
    ) -> Conversation | None:
        """Append what a retrieval found, as `observe` does, and the remark."""


def thought_regex(allowance: Allowance) -> str:
    """A regular expression for a guided thought: a sentence about phrases that the catalogue knows.

    Free text under a grammar turns to gibberish with a model of 135 million parameters; larger ones need no guidance.
    """
    if not allowance.phrases:
        return r"That is enough to rank\."
    about = phrases_regex(allowance.phrases)
    if allowance.may_refuse:  # of 24 phrases, all pairs of different ones would take a server a second to compile
        about = f"({'|'.join(map(escaped_regex, allowance.phrases))})"
    return rf"The person (likes|often chooses|may enjoy|seems to want) {about}\."


def segments_regex(allowance: Allowance) -> str:
    """A regular expression for a guided preference: two phrases on offer, or six segments where it may refuse.

    Such a segment is a phrase on offer, `not` before one, or a bound of a number: `comedy; not horror; year >= 1990`.
    The preference may be empty where the allowance says so.
    """
    if allowance.may_be_empty:
        return f"({segments_regex(replace(allowance, may_be_empty=False))})?"
    if not allowance.may_refuse:
        return phrases_regex(allowance.phrases)
    ways = [f"(not )?({'|'.join(map(escaped_regex, allowance.phrases))})"]
    if allowance.bounds:
        ways.append(f"({'|'.join(map(escaped_regex, allowance.bounds))}) (<=|>=) {_NUMBER}")
    segment = f"({'|'.join(ways)})"
    return f"{segment}(; {segment}){{0,{MAX_SEGMENTS - 1}}}"


def escaped_regex(text: str) -> str:
    """A regular expression for exactly this text, which every engine of servers reads."""
    return re.sub(r"[\\.^$*+?{}\[\]()|]", r"\\\g<0>", text)


def phrases_regex(phrases: Sequence[str]) -> str:
    """A regular expression for one of the phrases, or two different ones joined by `; `."""
    escaped = [escaped_regex(phrase) for phrase in phrases]
    ways = []
    for phrase in escaped:
        others = "|".join(other for other in escaped if other != phrase)
        ways.append(f"{phrase}(; ({others}))?" if others else phrase)
    return f"({'|'.join(ways)})"


def read_preference(text: str, *, cut: bool = False, may_be_empty: bool = False) -> tuple[str | None, str | None]:
    """Read a preference strictly.

    Args:
        text: Phrases separated by `;`.
        cut: Whether a preference that is too long is cut after the last phrase that fits.
        may_be_empty: Whether no phrase is a preference too, the empty one.

    Returns:
        (preference, None), phrases stripped, repeats dropped, joined by `; `; (preference, what was cut); or (None, why
        it is malformed).
    """
    phrases = list(dict.fromkeys(phrase.strip() for phrase in text.split(";")))
    phrases = [phrase for phrase in phrases if phrase]
    if cut:
        phrases = [phrase for phrase in phrases if any(char.isalnum() for char in phrase)]
    preference = "; ".join(phrases)
    if not preference:
        return ("", None) if may_be_empty else (None, "the preference is empty")
    if len(preference) <= MAX_PREFERENCE_CHARS:
        return preference, None
    why = f"the preference has {len(preference):,} characters, more than {MAX_PREFERENCE_CHARS}"
    while cut and len(phrases) > 1:
        phrases.pop()
        shorter = "; ".join(phrases)
        if len(shorter) <= MAX_PREFERENCE_CHARS:
            return shorter, f"{why}: its last phrases were cut"
    return None, why


def record_of(turn: Turn, *, position: int, node: Node, items: tuple[str, ...]) -> TurnRecord:
    """The turn as the trace store keeps it; `items` are the ids behind the decision's numbers."""
    decision, completion = turn.decision, turn.completion
    return TurnRecord(
        position=position,
        node=node,
        prompt_ids=turn.prompt_ids,
        completion_ids=completion.token_ids,
        logprobs=completion.logprobs,
        chained=turn.chained,
        text=completion.text,
        thought=decision.thought,
        action=decision.action,
        preference=decision.preference,
        items=items,
        detail=decision.detail,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        latency_ms=completion.latency_ms,
        messages=turn.messages,
    )


def completion_of(record: TurnRecord) -> Completion:
    """What the model wrote in a turn that the trace store keeps."""
    return Completion(
        text=record.text,
        token_ids=record.completion_ids,
        logprobs=record.logprobs,
        finish_reason=record.finish_reason,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        latency_ms=record.latency_ms,
    )
