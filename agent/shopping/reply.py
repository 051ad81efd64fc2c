"""The answer of one turn as plain data: what was decided, what is shown, and the text that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from deeprec.agent.conversation import StateDifference

ReplyKind = Literal["list", "question", "facts", "comparison", "explanation", "cart", "cannot", "state"]
"""What a turn decided: a list of items; a question alone, such as which item is meant; facts of items or of the
catalogue; a comparison; why items are shown; what was done with the cart; that it cannot be done; what is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCard:
    """One item as a person sees it, rendered from the catalogue."""

    item_id: str
    title: str
    position: int
    """Place in its list, from 1; in an answer about shown items, their place in the list that was shown."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Attribute -> its value as text, for each attribute that the item has."""
    reasons: tuple[str, ...] = ()
    """What the person asked for and the record of the item confirms, a short text each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyQuestion:
    """A question to the person. The next message, or a click, may answer it."""

    attribute: str
    """The attribute that is asked about; empty where it is asked which item was meant."""
    text: str
    options: tuple[str, ...]
    """Answers that are offered; of an item its title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedAction:
    """What a tool did, by its own receipts."""

    kind: Literal["add_to_cart", "remove_from_cart"]
    item_ids: tuple[str, ...]
    """The items that it confirmed."""
    failed: tuple[str, ...] = ()
    """The items that it did not confirm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of one turn. Titles and facts are rendered from the catalogue; no model writes them."""

    kind: ReplyKind
    text: str
    """What the person reads."""
    items: tuple[ShownCard, ...] = ()
    """What is shown, best first. In a list each passes every hard constraint."""
    nearest: tuple[ShownCard, ...] = ()
    """Where nothing passes: items that come nearest, offered as such."""
    question: ReplyQuestion | None = None
    problems: tuple[str, ...] = ()
    """What cannot be enforced, what the catalogue lacks, and what was unavailable, a sentence each."""
    difference: StateDifference = field(default_factory=StateDifference)
    """What changed of what is asked for."""
    run_id: str | None = None
    """The run of the search in the trace store; None where no model searched."""
    action: ConfirmedAction | None = None

    def to_dict(self) -> dict[str, Any]:
        """The reply as JSON values."""
        return _plain(asdict(self))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value
