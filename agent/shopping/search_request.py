"""The request of one search: what the conversation asks for, joined with what the program around it sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeprec.agent.conversation import ConversationCatalogue, ConversationState, RetrievalTerms, retrieval_terms
from deeprec.agent.graph.config import AgentConfig, adjust_agent_config
from deeprec.agent.graph.request import read_exclude, read_history, read_lineage, read_settings, read_where
from deeprec.agent.graph.request_settings import merge_sources, request_sources
from deeprec.agent.shopping.state import ShoppingState
from deeprec.trm_tool import Where, split_known
from deeprec.trm_tool.catalogue.merged_where import merge_where
from deeprec.trm_tool.text import plain

MAX_MESSAGE_CHARS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What one search asks for. Every item of its list passes each condition of `hard`."""

    terms: RetrievalTerms
    history: tuple[str, ...]
    """The history before the conversation, then what the conversation added; oldest first."""
    hard: tuple[Where, ...]
    """The person's hard constraints, and the program's."""
    weighed: tuple[Where, ...]
    """What only weighs, with what the items are like that new ones shall resemble."""
    where: Where | None
    exclude: tuple[str, ...]
    settings: Mapping[str, Any]
    """Settings of this run alone, as the program set them."""
    config: AgentConfig
    lineage: Mapping[str, Any]

    @property
    def message(self) -> str | None:
        """What a model reads: the person's words so far without what was withdrawn, and phrases they do not hold."""
        words = self.terms.words or ""
        phrases = [each for each in (self.terms.preference or "").split("; ") if each and not _says(words, each)]
        return ". ".join(filter(None, [words, ", ".join(phrases)]))[-MAX_MESSAGE_CHARS:] or None


def search_request(
    state: ShoppingState,
    conversation: ConversationState,
    catalogue: ConversationCatalogue,
    config: AgentConfig,
) -> SearchRequest:
    """Join what the conversation asks for with the running graph's context, which can only narrow it.

    Args:
        state: With the history and the person.
        conversation: What is known.
        catalogue: The catalogue, laid out.
        config: The settings that the graph was built with.

    Raises:
        ConfigError: a part of the request or of the context has a wrong type, or a setting is unknown.
    """
    sources = merge_sources(request_sources())
    terms = retrieval_terms(conversation)
    settings = read_settings(sources.get("settings"))
    lineage = dict(read_lineage(sources.get("lineage")))
    if state.get("person"):
        lineage["user_id"] = state["person"]
    history = read_history(state.get("history") or sources.get("history") or [])
    known, _ = split_known(catalogue.catalogue, [*history, *terms.history])
    own = read_where(sources.get("where"))
    hard = (*terms.hard, *({name: condition} for name, condition in (own or {}).items()))
    return SearchRequest(
        terms=terms,
        history=tuple(dict.fromkeys(known)),
        hard=hard,
        weighed=(*terms.weighed, *_resembling(conversation, catalogue)),
        where=merge_where(*hard) or None,
        exclude=tuple(dict.fromkeys([*terms.exclude, *read_exclude(sources.get("exclude"))])),
        settings=settings,
        config=adjust_agent_config(config, _named(settings)),
        lineage=lineage,
    )


def list_length(config: AgentConfig) -> int:
    """How many items a list has by the settings that the graph was built with and those of the running call."""
    settings = read_settings(merge_sources(request_sources()).get("settings"))
    return adjust_agent_config(config, _named(settings)).k


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "model"}


def _resembling(conversation: ConversationState, catalogue: ConversationCatalogue) -> list[Where]:
    """The values of the items that new ones shall resemble, but for attributes of which something is said."""
    lists = (conversation.required, conversation.refused, conversation.preferred, conversation.disliked)
    said = {each.attribute for conditions in lists for each in conditions}
    return [
        {name: {"in": [value]}}
        for item_id in conversation.similar_to
        for name in catalogue.kinds
        if name not in said
        for value in catalogue.item_values(item_id, name)
    ]


def _says(words: str, phrase: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(plain(phrase, 80))}(?!\w)", words, re.IGNORECASE) is not None
