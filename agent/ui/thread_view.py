"""What the page shows of a thread: its messages, what is known of the person, and what is in the cart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from markupsafe import Markup, escape

from deeprec.agent.conversation import ConversationState, StatedCondition, describe_state, read_state
from deeprec.agent.conversation.state import FeedbackKind
from deeprec.trm_tool import CatalogueView
from deeprec.trm_tool.text import plain

MAX_ENTRIES = 100
"""Messages of a thread that the page shows, the latest; answers with many cards make a page long."""
MAX_TITLE_CHARS = 200


class Button(NamedTuple):
    """A button of a card."""

    kind: FeedbackKind
    """What it does, as feedback has it once it is done."""
    label: str
    edit: Markup
    """The edit that a click sends, as JSON for an attribute of an element."""
    again: Markup | str = ""
    """The edit of a click while it is pressed, which takes back what it did; empty where `edit` is sent again."""


_OPINIONS: tuple[tuple[FeedbackKind, str], ...] = (("liked", "Like"), ("disliked", "Dislike"))


def _feedback(kind: FeedbackKind, **about: Any) -> dict[str, Any]:
    return {"feedback": [{"kind": kind, **about}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An item of an answer."""

    item_id: str
    title: str
    position: int | None
    facts: Mapping[str, str]
    reasons: Sequence[str]

    @property
    def buttons(self) -> list[Button]:
        """What a person can do with the item."""
        named = {"item_ids": [self.item_id]}
        return [
            *(
                Button(
                    kind,
                    label,
                    edit_json(_feedback(kind, **named)),
                    edit_json(_feedback(kind, taken_back=True, **named)),
                )
                for kind, label in _OPINIONS
            ),
            Button("in_cart", "Add to cart", edit_json({"actions": [{"kind": "add_to_cart", **named}]})),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the agent."""

    text: str
    problems: Sequence[str] = ()
    items: Sequence[Card] = ()
    nearest: Sequence[Card] = ()
    """Items that come nearest where nothing passes."""
    question: str = ""
    options: Sequence[str] = ()
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the conversation."""

    said: str | None = None
    """What the person wrote; None for the agent's answer."""
    answer: Answer | None = None
    is_open: bool = False
    """Whether the message has no answer: it was stopped, or the answer failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A line of what is known, with the edit that takes it back."""

    text: str
    words: str
    """The words that state it; empty where it comes from a model or a click."""
    edit: Markup
    """The edit as JSON, for an attribute of an element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CartLine:
    """An item that the cart has confirmed."""

    title: str
    edit: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadView:
    """A thread as the page shows it."""

    entries: Sequence[Entry]
    left_out: int
    """Earlier entries that are not shown."""
    chips: Sequence[Chip]
    indifferent: Sequence[str]
    """Attributes that do not matter to the person."""
    said: Sequence[str]
    """Words that weigh without being a condition."""
    missing: Sequence[str]
    """What was asked for and the catalogue lacks, as sentences."""
    cart: Sequence[CartLine]
    clear: Markup
    """The edit that withdraws everything."""
    feedback: Mapping[str, Sequence[str]]
    """Item id -> what the person did with it: liked, disliked, in_cart, bought."""
    run_ids: frozenset[str]
    """The runs of this thread's answers, which its person may read."""


def thread_view(values: Mapping[str, Any], catalogue: CatalogueView) -> ThreadView:
    """Lay out the state of a thread.

    Args:
        values: The values of the shopping agent's state; empty for a new thread.
        catalogue: The catalogue that the agent recommends from.
    """
    state = read_state(values.get("conversation") or {})
    entries = _entries(values.get("messages") or ())
    feedback: dict[str, list[str]] = {}
    for each in state.feedback:
        feedback.setdefault(each.item_id, []).append(each.kind)
    return ThreadView(
        entries=entries[-MAX_ENTRIES:],
        left_out=max(0, len(entries) - MAX_ENTRIES),
        chips=list(_chips(state)),
        indifferent=[name.replace("_", " ") for name in state.indifferent],
        said=[each.words or each.text for each in state.said],
        missing=[
            f"{each.words}: the nearest is {each.nearest[0]}" if each.nearest else each.words for each in state.missing
        ],
        cart=[
            CartLine(
                title=title_of(item_id, catalogue),
                edit=edit_json({"actions": [{"kind": "remove_from_cart", "item_ids": [item_id]}]}),
            )
            for item_id in state.items_with("in_cart")
        ],
        clear=edit_json({"changes": [{"kind": "clear"}]}),
        feedback=feedback,
        run_ids=frozenset(
            entry.answer.run_id for entry in entries if entry.answer is not None and entry.answer.run_id is not None
        ),
    )


def title_of(item_id: str, catalogue: CatalogueView) -> str:
    """What an item is called; its id where the catalogue no longer has it."""
    return plain(catalogue.item(item_id).title, MAX_TITLE_CHARS) if item_id in catalogue else item_id


def condition_text(line: str) -> str:
    """A line of `describe_state` for a person's eye: `release year ≥ 1990`."""
    return line.replace(" <= ", " ≤ ").replace(" >= ", " ≥ ").replace("_", " ")


def edit_json(edit: Mapping[str, Any]) -> Markup:
    """An edit for an attribute of an element: ASCII alone, so that nothing in it steers the page."""
    return escape(json.dumps(edit))


def answer_of(message: BaseMessage) -> Answer:
    """Read the answer that a message of the agent carries; its text alone where it carries none."""
    reply = message.additional_kwargs.get("deeprec")
    if not isinstance(reply, Mapping):
        return Answer(text=str(message.text))
    question = reply.get("question") or {}
    problems = reply.get("problems", ())
    # What an answer says of items in words needs no second time on their cards, and the other way round.
    in_words = reply.get("kind") in ("facts", "comparison", "explanation")
    items = [_card(item, in_words) for item in reply.get("items", ())]
    nearest = [_card(item, in_words) for item in reply.get("nearest", ())]
    cards = [] if in_words else [*items, *nearest]
    return Answer(
        text=_beside_cards(reply["text"], cards, [*problems, question.get("text", "")]),
        problems=problems,
        items=items,
        nearest=nearest,
        question=question.get("text", ""),
        options=question.get("options", ()),
        run_id=reply.get("run_id"),
    )


def _beside_cards(text: str, cards: Sequence[Card], sentences: Sequence[str]) -> str:
    """The text of an answer without what the page shows in a form of its own: cards, problems and the question."""
    titles = tuple(f"{card.position}. {card.title}" for card in cards)
    kept: list[str] = []
    is_card = False
    for line in text.split("\n"):
        is_card = (bool(titles) and line.startswith(titles)) or (is_card and line.startswith(" "))
        if not is_card and line not in sentences:
            kept.append(line)
    return "\n".join(kept)


def _card(item: Mapping[str, Any], is_short: bool) -> Card:
    return Card(
        item_id=item["item_id"],
        title=item["title"],
        position=item.get("position"),
        facts={} if is_short else {name.replace("_", " "): text for name, text in item.get("facts", {}).items()},
        reasons=() if is_short else item.get("reasons", ()),
    )


def _entries(messages: Sequence[BaseMessage]) -> list[Entry]:
    entries: list[Entry] = []
    for message, following in zip_longest(messages, messages[1:]):
        if isinstance(message, HumanMessage):
            entries.append(Entry(said=str(message.text), is_open=not isinstance(following, AIMessage)))
        elif isinstance(message, AIMessage):
            entries.append(Entry(answer=answer_of(message)))
    return entries


def _chips(state: ConversationState) -> Iterator[Chip]:
    """A chip for each condition, in the words of `describe_state`, and one for the order."""
    for name in ("required", "refused", "preferred", "disliked"):
        for each in getattr(state, name):
            only: dict[str, Any] = {name: (each,)}
            [text] = describe_state(ConversationState(**only))
            yield Chip(text=condition_text(text), words=each.words, edit=edit_json({"changes": [_relaxed(each)]}))
    if state.order is not None:
        [text] = describe_state(ConversationState(order=state.order))
        # An attribute is relaxed as a whole; what else is held of it is set again.
        held = [each for each in state.required if each.attribute == state.order.attribute]
        changes = [{"kind": "relax", "attribute": state.order.attribute}, *map(_set_again, held)]
        yield Chip(text=condition_text(text), words=state.order.words, edit=edit_json({"changes": changes}))


def _relaxed(condition: StatedCondition) -> dict[str, Any]:
    return {**_set_again(condition), "kind": "relax"}


def _set_again(condition: StatedCondition) -> dict[str, Any]:
    ends = {name: end for name in ("minimum", "maximum") if (end := getattr(condition, name)) is not None}
    values = {"values": list(condition.values)} if condition.values else {}
    return {"kind": "set", "attribute": condition.attribute, **values, **ends}
