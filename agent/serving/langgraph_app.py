"""The agents as `langgraph.json` names them, for `langgraph dev`, Studio and LangGraph's servers.

The environment says what they are made of: DEEPREC_ARTIFACT (the recommender's folder), DEEPREC_SIGNALS
(the file of its signals, if it is to use them), DEEPREC_BASE_URL and DEEPREC_MODEL (the model), DEEPREC_PROTOCOL
(`tagged` or `tools`; `none` for a shopping agent without a model) and DEEPREC_STORE (the trace store). The defaults are
those of `deeprec recommend`: where no model is named and the server has the shipped adapter, the adapter is used, with
its settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import cache
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.graph.build import build_graph
from deeprec.agent.graph.config import AgentConfig, make_agent_config
from deeprec.agent.policy.chat_model import make_chat_model
from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.policy.openai_endpoint import PolicyError
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL
from deeprec.agent.serving.shipped_adapter import SHIPPED_ADAPTER, find_shipped_adapter, shipped_settings
from deeprec.agent.shopping import build_shopping_agent
from deeprec.agent.traces.store.recorder import SqlRecorder
from deeprec.agent.traces.store.store import TraceStore
from deeprec.trm_tool import ConfigError, Retriever

_log = logging.getLogger(__name__)


async def make_graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the agent that recommends. It is built once, on the first call.

    Raises:
        ConfigError: DEEPREC_PROTOCOL is neither `tagged` nor `tools`, or `tools` comes without DEEPREC_MODEL.
        ArtifactError: DEEPREC_ARTIFACT holds no recommender, or DEEPREC_SIGNALS no signals.
    """
    return await asyncio.to_thread(_build, _environment())


async def make_shopping_graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the agent that holds conversations. It is built once, on the first call.

    Raises:
        ConfigError: DEEPREC_PROTOCOL is neither `tagged`, `tools` nor `none`, or `tools` comes without DEEPREC_MODEL.
        ArtifactError: DEEPREC_ARTIFACT holds no recommender, or DEEPREC_SIGNALS no signals.
    """
    return await asyncio.to_thread(_build_shopping, _environment())


class _Environment(NamedTuple):
    """What the variables say."""

    artifact: str
    signals: str | None
    base_url: str
    model: str | None
    protocol: str
    store: str


def _environment() -> _Environment:
    return _Environment(
        artifact=os.environ.get("DEEPREC_ARTIFACT") or ".deeprec/trm/ml-100k",
        signals=os.environ.get("DEEPREC_SIGNALS") or None,
        base_url=os.environ.get("DEEPREC_BASE_URL") or DEFAULT_BASE_URL,
        model=os.environ.get("DEEPREC_MODEL") or None,
        protocol=os.environ.get("DEEPREC_PROTOCOL") or "tagged",
        store=os.environ.get("DEEPREC_STORE") or ".deeprec/traces.db",
    )


@cache
def _build(environment: _Environment) -> CompiledStateGraph[Any, Any, Any, Any]:
    policy = _policy(environment)
    if policy is None:
        raise ConfigError("DEEPREC_PROTOCOL is none, and this graph needs a model. Set it to tagged or tools.")
    recommender, recorder = _recommender(environment.artifact, environment.signals), _recorder(environment.store)
    return build_graph(policy, recommender, config=_config(policy, {}), recorder=recorder)


@cache
def _build_shopping(environment: _Environment) -> CompiledStateGraph[Any, Any, Any, Any]:
    policy = _policy(environment)
    recommender, recorder = _recommender(environment.artifact, environment.signals), _recorder(environment.store)
    return build_shopping_agent(policy, recommender, config=_config(policy, {"k": 5}), recorder=recorder)


def _policy(environment: _Environment) -> CompletionPolicy | BaseChatModel | None:
    base_url, model, protocol = environment.base_url, environment.model, environment.protocol
    if protocol == "none":
        return None
    if protocol == "tagged":
        return CompletionPolicy(base_url, model, adapter=_adapter(base_url, model))
    if protocol != "tools":
        raise ConfigError(f"DEEPREC_PROTOCOL is {protocol[:80]!r}. Set it to tagged or tools.")
    if model is None:
        raise ConfigError("DEEPREC_PROTOCOL is tools, and DEEPREC_MODEL names no model. Set it to a served one.")
    return make_chat_model(base_url, model)


def _config(policy: object, chosen: dict[str, Any]) -> AgentConfig:
    if isinstance(policy, CompletionPolicy) and policy.adapter == SHIPPED_ADAPTER:
        return make_agent_config(chosen, **shipped_settings())
    return make_agent_config(chosen, guided=isinstance(policy, CompletionPolicy))


def _adapter(base_url: str, model: str | None) -> str | None:
    """The shipped adapter, where the server has it; None where it is unavailable as these graphs are built."""
    try:
        return asyncio.run(find_shipped_adapter(base_url, model))
    except (ConfigError, PolicyError) as error:
        _log.warning("The graphs use no adapter: %s", error)
        return None


@cache
def _recommender(artifact: str, signals: str | None) -> Retriever:
    return Retriever.load(artifact, reranking=signals)


@cache
def _recorder(store: str) -> SqlRecorder:
    return SqlRecorder(TraceStore(store))
