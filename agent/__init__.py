"""The agent: graph, protocols, policy clients, serving, traces, command line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.agent.chat import make_chat_model
    from deeprec.agent.config import AgentConfig
    from deeprec.agent.embedded_model import pull_embedded_model
    from deeprec.agent.graph import build_graph
    from deeprec.agent.grounding import fill_list, ground
    from deeprec.agent.llm_cli import wait_with_progress
    from deeprec.agent.nodes import RetrieverUnavailableError
    from deeprec.agent.policy import (
        Completion,
        CompletionPolicy,
        PolicyError,
        PolicyRejectedError,
        PolicyUnavailableError,
        SamplingConfig,
        ServedModel,
    )
    from deeprec.agent.protocols import TaggedProtocol, ToolsProtocol, read_tagged, read_tool_calls
    from deeprec.agent.run import run_many, step_text
    from deeprec.agent.serving import ServerError, VllmServer
    from deeprec.agent.state import AgentInput, AgentOutput, AgentState, Lineage
    from deeprec.agent.tool import make_recommend_tool
    from deeprec.agent.traces import (
        NullRecorder,
        RunTrace,
        SqlRecorder,
        Traces,
        TraceStore,
        TraceStoreError,
        render_run,
        visible,
    )
    from deeprec.agent.what_if import Replay, fork_run, replay_run

# Modules load on first use of a name: LangGraph and torch take seconds, and `deeprec --help` needs neither.
_HOMES = {
    "AgentConfig": "config",
    "AgentInput": "state",
    "AgentOutput": "state",
    "AgentState": "state",
    "Completion": "policy",
    "CompletionPolicy": "policy",
    "Lineage": "state",
    "NullRecorder": "traces",
    "PolicyError": "policy",
    "PolicyRejectedError": "policy",
    "PolicyUnavailableError": "policy",
    "Replay": "what_if",
    "RetrieverUnavailableError": "nodes",
    "RunTrace": "traces",
    "SamplingConfig": "policy",
    "ServedModel": "policy",
    "ServerError": "serving",
    "SqlRecorder": "traces",
    "TaggedProtocol": "protocols",
    "ToolsProtocol": "protocols",
    "TraceStore": "traces",
    "TraceStoreError": "traces",
    "Traces": "traces",
    "VllmServer": "serving",
    "build_graph": "graph",
    "fill_list": "grounding",
    "fork_run": "what_if",
    "ground": "grounding",
    "make_chat_model": "chat",
    "make_recommend_tool": "tool",
    "pull_embedded_model": "embedded_model",
    "read_tagged": "protocols",
    "read_tool_calls": "protocols",
    "render_run": "traces",
    "replay_run": "what_if",
    "run_many": "run",
    "step_text": "run",
    "visible": "traces",
    "wait_with_progress": "llm_cli",
}

__all__ = [
    "AgentConfig",
    "AgentInput",
    "AgentOutput",
    "AgentState",
    "Completion",
    "CompletionPolicy",
    "Lineage",
    "NullRecorder",
    "PolicyError",
    "PolicyRejectedError",
    "PolicyUnavailableError",
    "Replay",
    "RetrieverUnavailableError",
    "RunTrace",
    "SamplingConfig",
    "ServedModel",
    "ServerError",
    "SqlRecorder",
    "TaggedProtocol",
    "ToolsProtocol",
    "TraceStore",
    "TraceStoreError",
    "Traces",
    "VllmServer",
    "build_graph",
    "fill_list",
    "fork_run",
    "ground",
    "make_chat_model",
    "make_recommend_tool",
    "pull_embedded_model",
    "read_tagged",
    "read_tool_calls",
    "render_run",
    "replay_run",
    "run_many",
    "step_text",
    "visible",
    "wait_with_progress",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.agent.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
