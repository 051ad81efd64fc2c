"""The agents as `langgraph.json` names them, for `langgraph dev`, Studio and LangGraph's servers.

The environment says what they are made of: DEEPREC_ARTIFACT (the recommender's folder), DEEPREC_BASE_URL and
DEEPREC_MODEL (the model), DEEPREC_PROTOCOL (`tagged` or `tools`; `none` for a shopping agent without a model) and
DEEPREC_STORE (the trace store). The defaults are those of `deeprec recommend`.
"""

from __future__ import annotations

import asyncio
import os
from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.graph.build import build_graph
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.policy.chat_model import make_chat_model
from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL
from deeprec.agent.shopping import build_shopping_agent
from deeprec.agent.traces.store.recorder import SqlRecorder
from deeprec.agent.traces.store.store import TraceStore
from deeprec.trm_tool import ConfigError, Retriever


async def make_graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the agent that recommends. It is built once, on the first call.

    Raises:
        ConfigError: DEEPREC_PROTOCOL is neither `tagged` nor `tools`, or `tools` comes without DEEPREC_MODEL.
        ArtifactError: DEEPREC_ARTIFACT holds no recommender.
    """
    return await asyncio.to_thread(_build)


async def make_shopping_graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the agent that holds conversations. It is built once, on the first call.

    Raises:
        ConfigError: DEEPREC_PROTOCOL is neither `tagged`, `tools` nor `none`, or `tools` comes without DEEPREC_MODEL.
        ArtifactError: DEEPREC_ARTIFACT holds no recommender.
    """
    return await asyncio.to_thread(_build_shopping)


@cache
def _build() -> CompiledStateGraph[Any, Any, Any, Any]:
    policy = _policy()
    if policy is None:
        raise ConfigError("DEEPREC_PROTOCOL is none, and this graph needs a model. Set it to tagged or tools.")
    config = AgentConfig(guided=isinstance(policy, CompletionPolicy))
    return build_graph(policy, _recommender(), config=config, recorder=_recorder())


@cache
def _build_shopping() -> CompiledStateGraph[Any, Any, Any, Any]:
    policy = _policy()
    config = AgentConfig(k=5, guided=isinstance(policy, CompletionPolicy))
    return build_shopping_agent(policy, _recommender(), config=config, recorder=_recorder())


def _policy() -> CompletionPolicy | BaseChatModel | None:
    base_url = os.environ.get("DEEPREC_BASE_URL") or DEFAULT_BASE_URL
    model = os.environ.get("DEEPREC_MODEL") or None
    protocol = os.environ.get("DEEPREC_PROTOCOL") or "tagged"
    if protocol == "none":
        return None
    if protocol == "tagged":
        return CompletionPolicy(base_url, model)
    if protocol != "tools":
        raise ConfigError(f"DEEPREC_PROTOCOL is {protocol[:80]!r}. Set it to tagged or tools.")
    if model is None:
        raise ConfigError("DEEPREC_PROTOCOL is tools, and DEEPREC_MODEL names no model. Set it to a served one.")
    return make_chat_model(base_url, model)


@cache
def _recommender() -> Retriever:
    return Retriever.load(os.environ.get("DEEPREC_ARTIFACT") or ".deeprec/trm/ml-100k")


@cache
def _recorder() -> SqlRecorder:
    return SqlRecorder(TraceStore(os.environ.get("DEEPREC_STORE") or ".deeprec/traces.db"))
