"""The agent: graph, protocols, policy clients, serving, traces, command line."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeprec.agent.adapters import load_adapter
    from deeprec.agent.chat import make_chat_model
    from deeprec.agent.config import AgentConfig
    from deeprec.agent.embedded_model import pull_embedded_model
    from deeprec.agent.graph import build_graph
    from deeprec.agent.grounding import fill_list, ground
    from deeprec.agent.inspector import compare_html, compare_runs, read_tokenizer, run_fragment, run_html
    from deeprec.agent.llm_cli import wait_with_progress
    from deeprec.agent.model_server import ModelServer, make_server, open_model_server
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
    from deeprec.agent.server_process import ServerError, ServerProcess
    from deeprec.agent.serving import VllmServer
    from deeprec.agent.state import AgentInput, AgentOutput, AgentState, Lineage
    from deeprec.agent.tool import make_recommend_tool
    from deeprec.agent.traces import (
        NullRecorder,
        OtelRecorder,
        PruneRules,
        RunFilter,
        RunTrace,
        SqlRecorder,
        Traces,
        TraceStore,
        TraceStoreError,
        export_jsonl,
        export_parquet,
        export_spans,
        import_jsonl,
        pin_runs,
        prune_runs,
        redact_person,
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
    "ModelServer": "model_server",
    "NullRecorder": "traces",
    "OtelRecorder": "traces",
    "PolicyError": "policy",
    "PolicyRejectedError": "policy",
    "PolicyUnavailableError": "policy",
    "PruneRules": "traces",
    "Replay": "what_if",
    "RetrieverUnavailableError": "nodes",
    "RunFilter": "traces",
    "RunTrace": "traces",
    "SamplingConfig": "policy",
    "ServedModel": "policy",
    "ServerError": "server_process",
    "ServerProcess": "server_process",
    "SqlRecorder": "traces",
    "TaggedProtocol": "protocols",
    "ToolsProtocol": "protocols",
    "TraceStore": "traces",
    "TraceStoreError": "traces",
    "Traces": "traces",
    "VllmServer": "serving",
    "build_graph": "graph",
    "compare_html": "inspector",
    "compare_runs": "inspector",
    "export_jsonl": "traces",
    "export_parquet": "traces",
    "export_spans": "traces",
    "fill_list": "grounding",
    "fork_run": "what_if",
    "ground": "grounding",
    "import_jsonl": "traces",
    "load_adapter": "adapters",
    "make_chat_model": "chat",
    "make_recommend_tool": "tool",
    "make_server": "model_server",
    "open_model_server": "model_server",
    "pin_runs": "traces",
    "prune_runs": "traces",
    "pull_embedded_model": "embedded_model",
    "read_tagged": "protocols",
    "read_tokenizer": "inspector",
    "read_tool_calls": "protocols",
    "redact_person": "traces",
    "render_run": "traces",
    "replay_run": "what_if",
    "run_fragment": "inspector",
    "run_html": "inspector",
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
    "ModelServer",
    "NullRecorder",
    "OtelRecorder",
    "PolicyError",
    "PolicyRejectedError",
    "PolicyUnavailableError",
    "PruneRules",
    "Replay",
    "RetrieverUnavailableError",
    "RunFilter",
    "RunTrace",
    "SamplingConfig",
    "ServedModel",
    "ServerError",
    "ServerProcess",
    "SqlRecorder",
    "TaggedProtocol",
    "ToolsProtocol",
    "TraceStore",
    "TraceStoreError",
    "Traces",
    "VllmServer",
    "build_graph",
    "compare_html",
    "compare_runs",
    "export_jsonl",
    "export_parquet",
    "export_spans",
    "fill_list",
    "fork_run",
    "ground",
    "import_jsonl",
    "load_adapter",
    "make_chat_model",
    "make_recommend_tool",
    "make_server",
    "open_model_server",
    "pin_runs",
    "prune_runs",
    "pull_embedded_model",
    "read_tagged",
    "read_tokenizer",
    "read_tool_calls",
    "redact_person",
    "render_run",
    "replay_run",
    "run_fragment",
    "run_html",
    "run_many",
    "step_text",
    "visible",
    "wait_with_progress",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"deeprec.agent.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
