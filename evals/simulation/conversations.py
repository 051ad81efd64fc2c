"""Conversations of an agent with simulated people. The harness alone knows the targets, and reads facts by item id."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deeprec.evals.simulation.drawn_needs import DrawnNeed
from deeprec.evals.simulation.model_voice import ModelVoice
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReply:
    """What an agent answers in a simulated conversation."""

    text: str = ""
    items: Sequence[str] = ()
    """Item ids that are shown with the text, best first."""
    asks: str | None = None
    """The attribute that the text asks about."""
    held: Sequence[Where] = ()
    """The hard constraints that the agent took from the conversation, where it keeps any."""


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
) -> list[ConversationOutcome]:
    """Let an agent talk with simulated people, one conversation for each need.

    An agent that raises an error fails that conversation; the others go on.

    Args:
        agent: What is measured.
        needs: Of `make_need_cards`.
        catalogue: Whose facts decide what is shown, accepted, violated and grounded.
        voice: A model that speaks for the people; None leaves them their sentences.
        seed: Draws the sentences: equal needs, seed and replies, equal words.
        words: The sentences.
        config: Patience and attention of the people.
        at_once: Conversations held at the same time.

    Returns:
        The outcomes, in the order of the needs.

    Raises:
        ConfigError: `at_once` is below 1.
    """
    if at_once < 1:
        raise ConfigError(f"at_once is {at_once}; no conversation could be held. Give 1 or more.")
    limit = asyncio.Semaphore(at_once)

    async def converse(number: int, need: DrawnNeed) -> ConversationOutcome:
        person = SimulatedPerson(need.card, voice, seed, words=words, config=config)
        async with limit:
            return await _converse(agent, person, need, catalogue, thread=f"simulated-{seed}-{number}")

    return list(await asyncio.gather(*(converse(number, need) for number, need in enumerate(needs))))


async def _converse(
    agent: ConversingAgent, person: SimulatedPerson, need: DrawnNeed, catalogue: CatalogueView, *, thread: str
) -> ConversationOutcome:
    messages: list[Message] = [{"role": "user", "content": await asyncio.to_thread(person.opening)}]
    accepted, error, ended = None, None, False
    questions = non_empty = replies = violations = broken = ungrounded = n_shown = 0
    satisfied: list[float] = []
    found_target = False
    while not ended:
        try:
            reply = await agent(tuple(messages), thread=thread, history=need.history)
            ids = list(map(str, reply.items))
        except Exception as raised:
            error = plain(f"{type(raised).__name__}: {raised}", _MAX_ERROR_CHARS)
            break
        replies += 1
        shown = shown_items(ids, catalogue)
        hard = [stated for stated in person.stated if stated.is_hard]
        n_shown += len(ids)
        ungrounded += len(ids) - len(shown)
        violations += sum(not all(stated.is_met_by(item.attributes) for stated in hard) for item in shown)
        broken += count_broken(shown, reply.held)
        found_target = found_target or need.target in ids
        questions += reply.asks is not None
        non_empty += bool(reply.text.strip() or ids)
        said = await asyncio.to_thread(person.answer, Reply(text=reply.text, items=shown, asks=reply.asks))
        if not math.isnan(said.satisfaction):
            satisfied.append(said.satisfaction)
        accepted, ended = said.accepted, said.move in ("accepts", "gives_up")
        messages += [{"role": "assistant", "content": reply.text}, {"role": "user", "content": said.text}]
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
        broken=broken,
        ungrounded=ungrounded,
        satisfaction=sum(satisfied) / len(satisfied) if satisfied else math.nan,
        error=error,
        voice_errors=person.voice_errors,
        leaks=tuple(dict.fromkeys(leak for text in words for leak in find_target_leaks(text, target, need.card))),
    )


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
