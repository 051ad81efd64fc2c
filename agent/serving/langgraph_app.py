"""The agent as `langgraph.json` names it, for `langgraph dev`, Studio and LangGraph's servers.

The environment says what it is made of: DEEPREC_ARTIFACT (the recommender's folder), DEEPREC_BASE_URL and DEEPREC_MODEL
(the model), DEEPREC_PROTOCOL (`tagged` or `tools`) and DEEPREC_STORE (the trace store). The defaults are those of
`deeprec recommend`.
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
from deeprec.agent.traces.store.recorder import SqlRecorder
from deeprec.agent.traces.store.store import TraceStore
from deeprec.trm_tool import ConfigError, Retriever


async def make_graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return the agent. It is built once, on the first call.

    Raises:
        ConfigError: DEEPREC_PROTOCOL is neither `tagged` nor `tools`, or `tools` comes without DEEPREC_MODEL.
        ArtifactError: DEEPREC_ARTIFACT holds no recommender.
    """
    return await asyncio.to_thread(_build)


@cache
def _build() -> CompiledStateGraph[Any, Any, Any, Any]:
    base_url = os.environ.get("DEEPREC_BASE_URL") or DEFAULT_BASE_URL
    model = os.environ.get("DEEPREC_MODEL") or None
    protocol = os.environ.get("DEEPREC_PROTOCOL") or "tagged"
    policy: CompletionPolicy | BaseChatModel
    if protocol == "tagged":
        policy = CompletionPolicy(base_url, model)
    elif protocol == "tools":
        if model is None:
            raise ConfigError("DEEPREC_PROTOCOL is tools, and DEEPREC_MODEL names no model. Set it to a served one.")
        policy = make_chat_model(base_url, model)
    else:
        raise ConfigError(f"DEEPREC_PROTOCOL is {protocol[:80]!r}. Set it to tagged or tools.")
    return build_graph(
        policy,
        Retriever.load(os.environ.get("DEEPREC_ARTIFACT") or ".deeprec/trm/ml-100k"),
        config=AgentConfig(guided=protocol == "tagged"),
        recorder=SqlRecorder(TraceStore(os.environ.get("DEEPREC_STORE") or ".deeprec/traces.db")),
    )
