"""What the views of a conversation show of each turn, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from deeprec.agent.conversation.delta_applied import StateDifference, state_difference
from deeprec.agent.conversation.state import read_state
from deeprec.agent.traces.conversation_records import UNDONE, ConversationTrace, ConversationTurn, Reaction
from deeprec.agent.traces.records import listed
from deeprec.agent.views.run_facts import Titles
from deeprec.trm_tool.errors import ConfigError

MAX_LINES = 60
"""Lines of a reply that are shown."""
_REACTION_WORDS = {"in_cart": "in the cart"}


class TurnFacts(NamedTuple):
    """One turn, and what became of it."""

    turn: ConversationTurn
    difference: StateDifference
    """What was understood: lines of what is asked for, added and removed."""
    reactions: tuple[Reaction, ...]
    """What the person did with items that this turn showed."""
    is_undone: bool

    @property
    def other_reactions(self) -> tuple[Reaction, ...]:
        """Those to items that no turn had shown."""
        return tuple(each for each in self.reactions if each.item_id not in self.turn.shown)

    def words(self, item_id: str) -> list[str]:
        """What the person did with one item."""
        return [reaction_words(each) for each in self.reactions if each.item_id == item_id]

    @property
    def reply_lines(self) -> list[str]:
        """What the person read, a line each."""
        lines = self.turn.reply.splitlines()
        return lines if len(lines) <= MAX_LINES else [*lines[:MAX_LINES], f"… ({len(lines) - MAX_LINES} more lines)"]

    @property
    def actions(self) -> list[str]:
        """What tools confirmed, a line each."""
        lines = [
            ", ".join(f"{name}: {_value(value)}" for name, value in each.items() if value not in (None, "", []))
            for each in self.turn.actions
        ]
        return list(filter(None, lines))

    @property
    def question(self) -> tuple[str, list[str]] | None:
        """The question and the answers that were offered."""
        asked = self.turn.question
        return None if not asked else (str(asked.get("text", "")), [str(each) for each in listed(asked, "options")])


def turn_facts(trace: ConversationTrace) -> list[TurnFacts]:
    """Each turn of a conversation, in the order in which they happened."""
    current = {turn.turn_id: at for at, turn in enumerate(trace.current)}
    reactions = trace.reactions
    return [
        TurnFacts(
            turn=turn,
            difference=_difference(turn.state_before, turn.state_after),
            reactions=reactions.get(current.get(turn.turn_id, -1), ()),
            is_undone=turn.turn_id not in current and turn.kind != UNDONE,
        )
        for turn in trace.turns
    ]


class RepliedTitles:
    """Titles of a conversation's items: those of a catalogue, and else what the replies say beside their positions."""

    def __init__(self, trace: ConversationTrace, titles: Titles | None) -> None:
        self._titles = titles
        self._lines: dict[str, str] = {}
        for turn in trace.turns:
            lines = dict[str, str]()
            for line in turn.reply.splitlines():
                position, _, rest = line.partition(". ")
                lines.setdefault(position, rest)
            for at, item_id in enumerate(turn.shown, start=1):
                if called := lines.get(str(at)):
                    self._lines[item_id] = called

    def __contains__(self, item_id: object, /) -> bool:
        """Whether the item has a title."""
        return item_id in self._lines or (self._titles is not None and item_id in self._titles)

    def summary(self, item_id: str, /) -> str:
        """The item in one short line."""
        if self._titles is not None and item_id in self._titles:
            return self._titles.summary(item_id)
        return self._lines[item_id]


def reaction_words(reaction: Reaction) -> str:
    """What the person did, in words."""
    return _REACTION_WORDS.get(reaction.kind, reaction.kind)


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> StateDifference:
    """The difference of two stored states; none where one of them was imported and makes no sense."""
    try:
        return state_difference(read_state(before), read_state(after))
    except ConfigError:
        return StateDifference()


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
