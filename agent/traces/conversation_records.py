"""The turns of a conversation as they are logged: what was said, understood, shown, and done by the person."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5

from deeprec.agent.traces.records import listed
from deeprec.agent.traces.store.codec import storable_json
from deeprec.trm_tool.errors import ConfigError

TAKEN = frozenset({"liked", "in_cart", "bought"})
"""Kinds of feedback by which a person takes an item; `FeedbackKind` of `deeprec.agent.conversation` has all kinds."""
UNDONE = "undone"
"""Kind of the row that says that the turns from its number on were undone; it is no turn by itself."""


class Reaction(NamedTuple):
    """What a person did with an item."""

    item_id: str
    kind: str
    """`liked`, `disliked`, `in_cart` or `bought`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTurn:
    """One turn of a conversation: a message or an edit of a person, and the reply.

    It is keyed by tenant, thread, turn and message id. A turn that is written again, because a killed process went on
    with it, replaces its row.
    """

    thread_id: str
    turn: int
    """Number of the turn in its conversation, from 1; a turn that was undone leaves its number to the next one."""
    message_id: str = ""
    """The id of the message that the turn answers: two turns with one number differ in it."""
    tenant: str | None = None
    """The shop or customer of a service, as in `RunRecord`; threads and person ids are its own."""
    user_id: str | None = None
    """The person, as in `RunRecord`."""
    suite: str | None = None
    """The experiment that the conversation is part of, a simulation for instance; None for a person's own."""
    history: tuple[str, ...] = ()
    """Ids of the items that the person had before the conversation, oldest first."""
    message: str = ""
    """What the person wrote; empty where they edited the state by hand alone."""
    delta: dict[str, Any] = field(default_factory=dict)
    """The change of the state that was applied, as JSON values."""
    state_before: dict[str, Any] = field(default_factory=dict)
    """`ConversationState.to_dict` before the turn."""
    state_after: dict[str, Any] = field(default_factory=dict)
    """The same after the turn."""
    kind: str
    """Kind of the reply, such as `list` or `question`."""
    reply: str = ""
    """What the person read."""
    problems: tuple[str, ...] = ()
    """Sentences of the reply about what cannot be enforced, or what the catalogue lacks."""
    shown: tuple[str, ...] = ()
    """Ids of the items that the person was shown, by position."""
    question: dict[str, Any] | None = None
    """What the person was asked: `attribute`, `text` and `options`."""
    actions: tuple[dict[str, Any], ...] = ()
    """Actions that a tool confirmed, such as what went into the cart."""
    run_id: UUID | None = None
    """The run of the search; None where no search was logged as a run."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    redacted_at: datetime | None = None
    """Time at which redaction removed what the turn says of its person; set by the store."""

    def __post_init__(self) -> None:
        if not self.thread_id or not 0 <= self.turn < 2**31:
            raise ConfigError(
                f"A turn of a conversation has the thread {self.thread_id[:80]!r} and the number {self.turn}. "
                "Give the id of its thread, and its number from 1."
            )

    @property
    def conversation_id(self) -> UUID:
        """An id of the conversation that follows from tenant and thread."""
        return uuid5(NAMESPACE_OID, json.dumps(storable_json([self.tenant, self.thread_id])))

    @property
    def turn_id(self) -> UUID:
        """The key of the turn."""
        return uuid5(self.conversation_id, json.dumps(storable_json([self.turn, self.message_id])))

    @property
    def is_edit(self) -> bool:
        """Whether the person edited the state without a message."""
        return not self.message.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationSummary:
    """One line of a listing of conversations."""

    conversation_id: UUID
    thread_id: str
    tenant: str | None
    user_id: str | None
    """The person; the one that the latest turn names."""
    suite: str | None
    turns: int
    started_at: datetime
    """Time of the first turn."""
    last_at: datetime
    """Time of the last turn."""
    message: str
    """What the person wrote first."""
    redacted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTrace:
    """Everything that the store has on one conversation."""

    conversation_id: UUID
    thread_id: str
    tenant: str | None
    turns: tuple[ConversationTurn, ...]
    """The turns in the order in which they happened, those that were undone included."""

    @property
    def current(self) -> tuple[ConversationTurn, ...]:
        """The turns that count: a turn, or an undo, undoes those before it whose numbers are not lower than its own."""
        kept: list[ConversationTurn] = []
        for turn in self.turns:
            kept = [*(earlier for earlier in kept if earlier.turn < turn.turn), turn]
        return tuple(turn for turn in kept if turn.kind != UNDONE)

    @property
    def reactions(self) -> dict[int, tuple[Reaction, ...]]:
        """What the person did with items: index of a turn in `current` -> reactions, in the order of the state.

        A reaction belongs to the last turn that had shown the item, and to the turn of the reaction itself where no
        turn had. Reactions that the person took back are left out.
        """
        turns = self.current
        held = _reactions(turns[-1].state_after) if turns else ()
        found: dict[int, list[Reaction]] = defaultdict(list)
        last_shown: dict[str, int] = {}
        known = set(_reactions(turns[0].state_before)) if turns else set()
        for at, turn in enumerate(turns):
            now = _reactions(turn.state_after)
            for reaction in now:
                if reaction not in known and reaction in held:
                    found[last_shown.get(reaction.item_id, at)].append(reaction)
            known = set(now)
            last_shown |= dict.fromkeys(turn.shown, at)
        return {at: tuple(dict.fromkeys(each)) for at, each in found.items()}


def _reactions(state: Mapping[str, Any]) -> tuple[Reaction, ...]:
    """The feedback of a stored state."""
    rows = (row for row in listed(state, "feedback") if isinstance(row, Mapping))
    return tuple(Reaction(str(row.get("item_id")), str(row.get("kind"))) for row in rows)
