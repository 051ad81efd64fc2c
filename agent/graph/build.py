"""The LangGraph state machine: prepare, reason, retrieve, rank, finish.

    prepare -> reason <-> retrieve -> rank -> finish

`reason` and `rank` call the policy, `retrieve` calls the recommender (`nodes.py`); the routes between them are here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.event_loop import run_blocking
from deeprec.agent.graph.nodes import Nodes
from deeprec.agent.graph.state import AgentInput, AgentOutput, AgentState
from deeprec.agent.policy.completion import CompletionPolicy, SamplingConfig
from deeprec.agent.protocols import AgentProtocol, TaggedProtocol, ToolsProtocol
from deeprec.agent.traces.store.recorder import NullRecorder, Recorder
from deeprec.trm_tool import AnyRecommender, ConfigError


def build_graph(
    policy: CompletionPolicy | BaseChatModel,
    recommender: AnyRecommender,
    *,
    protocol: Literal["tagged", "tools"] | None = None,
    config: AgentConfig | None = None,
    recorder: Recorder | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[AgentState, None, AgentInput, AgentOutput]:
    """Build the agent: a graph from `AgentInput` to `AgentOutput`.

    It can be invoked or streamed, synchronously or not, used as a node of another graph, or handed to another agent
    with `make_recommend_tool`. With a checkpointer, pass `durability="sync"` when you call it, so that a step is down
    before the next.

    Args:
        policy: a `CompletionPolicy` for the tagged protocol, any LangChain chat model for the tools protocol.
        recommender: Finds the items; synchronous or not, for example a `Retriever` or a `Recommender` of your own.
        protocol: `tagged` or `tools`; by default the one that fits the policy.
        config: budgets and sizes.
        recorder: where runs are logged; nowhere by default.
        checkpointer: LangGraph's own persistence, for resuming, interrupts and threads.
    Raises:
        ConfigError: policy and protocol do not go together, or a guided run has no phrase to choose from.
    """
    config = config or AgentConfig()
    nodes = Nodes(protocol_for(policy, protocol, config), recommender, config, recorder or NullRecorder())
    graph = StateGraph(AgentState, input_schema=AgentInput, output_schema=AgentOutput)
    for name in ("prepare", "reason", "retrieve", "rank", "finish"):
        graph.add_node(name, _node(nodes, name))
    graph.add_edge(START, "prepare")
    graph.add_conditional_edges("prepare", after_prepare, ["reason", "finish"])
    graph.add_conditional_edges("reason", after_reason, ["reason", "retrieve", "rank", "finish"])
    graph.add_conditional_edges("retrieve", after_retrieve, ["reason", "rank", "finish"])
    graph.add_edge("rank", "finish")
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=checkpointer, name="deeprec")


def after_prepare(state: AgentState) -> str:
    """Reason, unless the policy could not even be asked."""
    return _exit(state) or "reason"


def after_reason(state: AgentState) -> str:
    """Do what the model decided, unless something ended the exploration."""
    ways = {"retrieve": "retrieve", "recommend": "rank", "malformed": "reason"}
    return _exit(state) or ways[state["decision"]["action"]]


def after_retrieve(state: AgentState) -> str:
    """Reason about what came back, unless something ended the exploration."""
    return _exit(state) or "reason"


def _exit(state: AgentState) -> str | None:
    """Where a run goes whose exploration has been ended: to the ranking if there is something to rank."""
    ending = state["ending"]
    if ending is None:
        return None
    return "finish" if ending["status"] == "fallback" or not state["candidates"] else "rank"


def protocol_for(policy: object, protocol: str | None, config: AgentConfig) -> AgentProtocol:
    """The protocol by its name, or the one that fits the policy.

    Raises:
        ConfigError: policy and protocol do not go together.
    """
    if isinstance(policy, CompletionPolicy) and protocol in (None, "tagged"):
        sampling = SamplingConfig(temperature=config.temperature, top_p=config.top_p)
        return TaggedProtocol(policy, sampling=sampling, guided=config.guided)
    if isinstance(policy, BaseChatModel) and protocol in (None, "tools"):
        return ToolsProtocol(policy, guided=config.guided)
    raise ConfigError(
        f"The protocol {protocol or 'for this policy'!r} does not go with a {type(policy).__name__}: `tagged` takes a "
        "CompletionPolicy, `tools` a LangChain chat model."
    )


def _node(nodes: Nodes, name: str) -> RunnableLambda[AgentState, AgentState]:
    """A node for synchronous and asynchronous calls. An error that it raises closes the run in the trace."""
    step: Callable[[AgentState], Awaitable[AgentState]] = getattr(nodes, name)

    async def run(state: AgentState) -> AgentState:
        try:
            return await step(state)
        except GraphBubbleUp:  # an interrupt of LangGraph, not an error
            raise
        except Exception as error:
            if name != "prepare":  # which closes its run itself: the state still holds the run before it
                await nodes.close_failed(state, error)
            raise

    def run_sync(state: AgentState) -> AgentState:
        return run_blocking(run(state))

    return RunnableLambda(run_sync, afunc=run, name=name)
