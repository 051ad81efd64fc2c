"""Plain systems that a conversational agent is compared with: retrieval alone, and a model without a recommender."""

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deeprec.evals.simulation.conversations import AgentReply, ConversingAgent
from deeprec.evals.simulation.outcomes import Message
from deeprec.trm_tool.catalogue.card import describe_catalogue
from deeprec.trm_tool.recommender import AnyRecommender, CatalogueView, Query, call_arguments, is_async, split_known
from deeprec.trm_tool.text import neutralise

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_MAX_WORDS_CHARS = 2_000
_LISTED = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.):])\s+(.+)$", re.MULTILINE)
_YEAR_BEHIND = re.compile(r"\s*\((?:18|19|20)\d\d\)\s*$")


def make_last_message_agent(recommender: AnyRecommender, *, k: int = 5) -> ConversingAgent:
    """Build an agent that retrieves for the person's last message and their history, and forgets all before."""
    return _make_retrieving_agent(recommender, k=k, last=1)


def make_all_messages_agent(recommender: AnyRecommender, *, k: int = 5, repeats: bool = True) -> ConversingAgent:
    """Build an agent that retrieves for all messages of the person, in their order, and their history.

    Args:
        recommender: What retrieves.
        k: Items of a list.
        repeats: Whether an item may stand in several lists of a conversation.
    """
    return _make_retrieving_agent(recommender, k=k, last=None, repeats=repeats)


def _make_retrieving_agent(
    recommender: AnyRecommender, *, k: int, last: int | None, repeats: bool = True
) -> ConversingAgent:
    shown: dict[str, list[str]] = {}

    async def answer(messages: Sequence[Message], *, thread: str, history: Sequence[str]) -> AgentReply:
        said = [message["content"] for message in messages if message["role"] == "user"]
        words = " ".join(said if last is None else said[-last:])[-_MAX_WORDS_CHARS:]
        known, _ = split_known(recommender.catalogue, history)
        before = () if repeats or len(messages) == 1 else shown.get(thread, ())
        positional, named = call_arguments(recommender, Query(history=known, words=words, exclude=before))
        if is_async(recommender):
            found = await recommender.retrieve(*positional, k=k, **named)
        else:
            found = await asyncio.to_thread(recommender.retrieve, *positional, k=k, **named)
        ids = [item.id for item in found]
        shown[thread] = [*before, *ids]
        return AgentReply(text="\n".join(recommender.catalogue.summary(item_id) for item_id in ids), items=ids)

    return answer


def make_model_agent(model: "BaseChatModel", catalogue: CatalogueView, *, k: int = 5) -> ConversingAgent:
    """Build an agent that is a model without a recommender: it names titles from what it knows.

    It reads what the catalogue can be asked for, and lists titles. A title that the catalogue has stands for its item
    (the first of several that share it); any other one is shown as it is written, and so counts as ungrounded.

    Args:
        model: A chat model, such as one of `deeprec.agent.make_chat_model`.
        catalogue: The shop's items.
        k: Items of a list, at most.
    """
    about = "\n".join(describe_catalogue(catalogue).lines())
    instruction = (
        f"You are a shop assistant. What the shop's items can be asked for by:\n{about}\n"
        f"Recommend up to {k} items of this shop that fit what the customer says, as a numbered list of their titles."
    )
    ids: dict[str, str] = {}
    for item_id in catalogue.ids:
        if item_id not in catalogue.removed:
            ids.setdefault(_bare(catalogue.item(item_id).title), item_id)

    async def answer(messages: Sequence[Message], *, thread: str, history: Sequence[str]) -> AgentReply:
        past, _ = split_known(catalogue, history)
        took = ", ".join(neutralise(catalogue.item(item_id).title, 80) for item_id in past[-10:])
        system = instruction + (f"\nThe customer took before: {took}." if took else "")
        answered = await model.ainvoke([{"role": "system", "content": system}, *messages])
        text = answered.content if isinstance(answered.content, str) else ""
        titles = [_YEAR_BEHIND.sub("", found).strip(" \t*\"'“”") for found in _LISTED.findall(text)]
        return AgentReply(text=text, items=[ids.get(_bare(title), title) for title in titles[:k]])

    return answer


def _bare(title: str) -> str:
    return " ".join(title.casefold().split())
