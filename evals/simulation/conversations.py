"""Conversations of an agent with simulated people. The harness alone knows the targets, and reads facts by item id."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deeprec.evals.simulation.cart_claims import CartClaims
from deeprec.evals.simulation.cart_record import CartRecord
from deeprec.evals.simulation.cart_requests import ORDINALS
from deeprec.evals.simulation.drawn_needs import DrawnNeed
from deeprec.evals.simulation.model_voice import ModelVoice
from deeprec.evals.simulation.need_card import Need, NeedCard
from deeprec.evals.simulation.outcomes import ConversationOutcome, Message
from deeprec.evals.simulation.person import PersonConfig, Reply, ShownItem, SimulatedPerson
from deeprec.evals.simulation.person_words import TEST_PERSON_WORDS, PersonWords
from deeprec.evals.simulation.target_leaks import find_target_leaks
from deeprec.trm_tool.catalogue.catalogue import AttributeValue, phrase_of
from deeprec.trm_tool.catalogue.filters import Where
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import CatalogueView
from deeprec.trm_tool.text import plain

_MAX_ERROR_CHARS = 300


class _AgentError(Exception):
    """An agent raised an error, which ends its conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReply:
    """What an agent answers in a simulated conversation."""

    text: str = ""
    items: Sequence[str] = ()
    """Item ids that are shown with the text, best first."""
    is_excerpt: bool = False
    """Whether the items are some of the list shown before, so that "the second" still means that of this list."""
    asks: str | None = None
    """The attribute that the text asks about."""
    held: Sequence[Where] = ()
    """The hard constraints that the agent took from the conversation, where it keeps any."""
    cart: Sequence[str] | None = None
    """Ids of the items in the person's cart behind the reply, as the shop's cart has them; None without a cart."""
    added: Sequence[str] = ()
    """Ids of the items that the reply says, as data, are in the cart now."""
    removed: Sequence[str] = ()
    """Ids of the items that the reply says, as data, are no longer in the cart."""


class ConversingAgent(Protocol):
    """An agent that holds conversations: an async function, or an object with such a `__call__`."""

    async def __call__(self, messages: Sequence[Message], *, thread: str, history: Sequence[str]) -> AgentReply:
        """Answer the last message.

        Args:
            messages: The conversation so far, the person's last message at its end.
            thread: Names the conversation, for agents that keep its state.
            history: Item ids that the person took before, oldest first.
        """


async def run_conversations(
    agent: ConversingAgent,
    needs: Sequence[DrawnNeed],
    catalogue: CatalogueView,
    *,
    voice: ModelVoice | None = None,
    seed: int = 0,
    words: PersonWords = TEST_PERSON_WORDS,
    config: PersonConfig | None = None,
    at_once: int = 8,
    done: Callable[[ConversationOutcome], None] | None = None,
) -> list[ConversationOutcome]:
    """Let an agent talk with simulated people, one conversation for each need.

    A person who accepted an item asks an agent with a cart (`AgentReply.cart`) for cart actions too. An agent that
    raises an error fails that conversation; the others go on.

    Args:
        agent: What is measured.
        needs: Of `make_need_cards`.
        catalogue: Whose facts decide what is shown, accepted, violated and grounded.
        voice: A model that speaks for the people; None leaves them their sentences.
        seed: Draws the sentences: equal needs, seed and replies, equal words.
        words: The sentences.
        config: Patience and attention of the people.
        at_once: Conversations held at the same time.
        done: Called with each outcome as soon as it is there, in the order in which the conversations end.

    Returns:
        The outcomes, in the order of the needs.

    Raises:
        ConfigError: `at_once` is below 1.
    """
    if at_once < 1:
        raise ConfigError(f"at_once is {at_once}; no conversation could be held. Give 1 or more.")
    limit, claims = asyncio.Semaphore(at_once), CartClaims(catalogue)

    async def converse(number: int, need: DrawnNeed) -> ConversationOutcome:
        person = SimulatedPerson(need.card, voice, seed, words=words, config=config)
        async with limit:
            thread = f"simulated-{seed}-{number}"
            outcome = await _converse(agent, person, need, catalogue, CartRecord(claims), thread=thread)
        if done is not None:
            done(outcome)
        return outcome

    return list(await asyncio.gather(*(converse(number, need) for number, need in enumerate(needs))))


async def _converse(
    agent: ConversingAgent,
    person: SimulatedPerson,
    need: DrawnNeed,
    catalogue: CatalogueView,
    record: CartRecord,
    *,
    thread: str,
) -> ConversationOutcome:
    messages: list[Message] = [{"role": "user", "content": await asyncio.to_thread(person.opening)}]
    accepted, error, ended = None, None, False
    questions = non_empty = replies = violations = broken = ungrounded = n_shown = 0
    satisfied: list[float] = []
    violated: list[Need] = []
    found_target = False
    try:
        while not ended:
            reply = await _reply(agent, messages, thread, need)
            ids = list(map(str, reply.items))
            replies += 1
            shown = shown_items(ids, catalogue)
            hard = [stated for stated in person.stated if stated.is_hard]
            n_shown += len(ids)
            ungrounded += len(ids) - len(shown)
            violations += sum(not all(stated.is_met_by(item.attributes) for stated in hard) for item in shown)
            violated += [stated for stated in hard if not all(stated.is_met_by(item.attributes) for item in shown)]
            broken += count_broken(shown, reply.held)
            found_target = found_target or need.target in ids
            questions += reply.asks is not None
            non_empty += bool(reply.text.strip() or ids)
            if reply.cart is not None:
                record.note(reply.text, reply.cart, added=reply.added, removed=reply.removed)
            said = await asyncio.to_thread(person.answer, Reply(text=reply.text, items=shown, asks=reply.asks))
            if not math.isnan(said.satisfaction):
                satisfied.append(said.satisfaction)
            accepted, ended = said.accepted, said.move in ("accepts", "gives_up")
            messages += [{"role": "assistant", "content": reply.text}, {"role": "user", "content": said.text}]
        if accepted is not None and reply.cart is not None:
            await _ask_of_cart(agent, person, need, [item.id for item in shown], accepted, messages, record, thread)
    except _AgentError as raised:
        error = str(raised)
    target = catalogue.item(need.target)
    words = [message["content"] for message in messages if message["role"] == "user"]
    return ConversationOutcome(
        person=need.person,
        messages=tuple(messages),
        replies=replies,
        accepted=accepted,
        found_target=found_target,
        questions=questions,
        non_empty=non_empty,
        shown=n_shown,
        violations=violations,
        violated=tuple(dict.fromkeys(NeedCard((stated,)).preference for stated in violated)),
        broken=broken,
        ungrounded=ungrounded,
        satisfaction=sum(satisfied) / len(satisfied) if satisfied else math.nan,
        actions=record.asked,
        missed_actions=tuple(record.missed),
        unasked_actions=tuple(record.unasked),
        claims=record.claims,
        false_claims=tuple(record.false_claims),
        error=error,
        voice_errors=person.voice_errors,
        leaks=tuple(dict.fromkeys(leak for text in words for leak in find_target_leaks(text, target, need.card))),
    )


async def _reply(agent: ConversingAgent, messages: Sequence[Message], thread: str, need: DrawnNeed) -> AgentReply:
    try:
        return await agent(tuple(messages), thread=thread, history=need.history)
    except Exception as raised:
        raise _AgentError(plain(f"{type(raised).__name__}: {raised}", _MAX_ERROR_CHARS)) from raised


async def _ask_of_cart(
    agent: ConversingAgent,
    person: SimulatedPerson,
    need: DrawnNeed,
    listed: list[str],
    accepted: str,
    messages: list[Message],
    record: CartRecord,
    thread: str,
) -> None:
    """Let a content person ask for cart actions; `listed` has the ids of the list that they see."""
    for request in person.cart_requests(min(len(listed), len(ORDINALS)), listed.index(accepted) + 1):
        messages.append({"role": "user", "content": request.text})
        reply = await _reply(agent, messages, thread, need)
        is_listed = request.position is not None and request.position <= len(listed)
        meant = listed[request.position - 1] if is_listed and request.position else None
        record.note(
            reply.text, reply.cart or (), added=reply.added, removed=reply.removed, request=request, meant=meant
        )
        messages.append({"role": "assistant", "content": reply.text})
        if reply.items and not reply.is_excerpt:
            listed = list(map(str, reply.items))


def shown_items(item_ids: Iterable[str], catalogue: CatalogueView) -> tuple[ShownItem, ...]:
    """Read the facts of items from the catalogue; ids that it lacks and removed items are left out."""
    return tuple(
        ShownItem(item_id, catalogue.item(item_id).attributes)
        for item_id in item_ids
        if item_id in catalogue and item_id not in catalogue.removed
    )


def count_broken(items: Iterable[ShownItem], held: Sequence[Where]) -> int:
    """Count items that break a hard constraint, read from the catalogue here and not by the agent's own filter."""
    return sum(any(_breaks(item.attributes, where) for where in held) for item in items)


def _breaks(attributes: Mapping[str, AttributeValue], where: Where) -> bool:
    for name, condition in where.items():
        found = attributes.get(name)
        if isinstance(found, float):
            if not condition.get("min", -math.inf) <= found <= condition.get("max", math.inf):
                return True
            continue
        has = {phrase_of(value) for value in ((found,) if isinstance(found, str) else found or ())}
        allowed = {phrase_of(str(value)) for value in condition.get("in", ())}
        refused = {phrase_of(str(value)) for value in condition.get("not_in", ())}
        if has & refused or (allowed and not has & allowed) or (not has and condition.keys() & {"min", "max"}):
            return True
    return False
