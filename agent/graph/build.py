"""The LangGraph state machine: prepare, reason, retrieve, rank, finish.

    prepare -> reason <-> retrieve -> rank -> finish

`reason` and `rank` call the policy, `retrieve` calls the recommender (`nodes.py`); the routes between them are here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore
from langgraph.types import All, RetryPolicy

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.edited_state import edited_parts, seal
from deeprec.agent.graph.event_loop import run_blocking
from deeprec.agent.graph.grounding import not_excluded
from deeprec.agent.graph.nodes import Nodes
from deeprec.agent.graph.outages import cause_of
from deeprec.agent.graph.recommender_calls import ItemFilter
from deeprec.agent.graph.request import take_input
from deeprec.agent.graph.request_settings import AgentContext
from deeprec.agent.graph.state import AgentInput, AgentOutput, AgentState
from deeprec.agent.graph.step_inputs import OtherInputsError
from deeprec.agent.policy.completion import CompletionPolicy, SamplingConfig
from deeprec.agent.policy.wrapped_chat_models import chat_models_in
from deeprec.agent.protocols import AgentProtocol, Prompts, TaggedProtocol, ToolsProtocol
from deeprec.agent.protocols.thoughts import with_thoughts
from deeprec.agent.traces.store.recorder import NullRecorder, Recorder
from deeprec.trm_tool import AnyRecommender, ConfigError


def build_graph(
    policy: CompletionPolicy | Runnable[Any, Any] | None,
    recommender: AnyRecommender,
    *,
    protocol: Literal["tagged", "tools"] | AgentProtocol | None = None,
    prompts: Prompts | None = None,
    config: AgentConfig | None = None,
    recorder: Recorder | None = None,
    item_filter: ItemFilter | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    cache: BaseCache[Any] | None = None,
    store: BaseStore | None = None,
    interrupt_before: All | list[str] | None = None,
    interrupt_after: All | list[str] | None = None,
    debug: bool = False,
    name: str = "deeprec",
) -> CompiledStateGraph[AgentState, Any, AgentInput, AgentOutput]:
    """Build the agent: a graph from `AgentInput` to `AgentOutput`.

    It can be invoked or streamed, synchronously or not, used as a node of another graph, or handed to another agent
    with `make_recommend_tool`. With a checkpointer, pass `durability="sync"` when you call it, so that a step is stored
    before the next begins. `build_state_graph` gives the same graph before it is compiled, for nodes of your own.

    Args:
        policy: A `CompletionPolicy` for the tagged protocol, any LangChain chat model for the tools protocol, in
            wrappers too (`with_fallbacks`, `with_retry`, `bind`, `with_config`, a configurable `init_chat_model`). A
            protocol of your own calls its own policy, so that None will do here.
        recommender: What finds the items, synchronous or not: a `Retriever`, or a `Recommender` of your own.
        protocol: `tagged`, `tools`, or an `AgentProtocol` of your own; by default the one that fits the policy.
        prompts: The texts that the model is shown, where they are not those that `config.prompts` names.
        config: Budgets and sizes.
        recorder: Where runs are logged; nowhere by default.
        item_filter: A function, synchronous or not, that takes item ids and returns those that may be recommended at
            this moment, such as what is in stock. It is asked after each retrieval and once more for the final list.
        retry_policy: LangGraph's, for nodes that raise. Unavailable policies and recommenders are retried without one.
        checkpointer: LangGraph's own persistence, for resuming, interrupts and threads.
        cache: LangGraph's cache, for nodes of your own that have a cache policy.
        store: LangGraph's store, for nodes of your own.
        interrupt_before: Nodes before which a run halts.
        interrupt_after: Nodes after which a run halts.
        debug: Whether LangGraph prints each step.
        name: Name of the graph, as its users see it, for instance as a node of another graph.

    Raises:
        ConfigError: policy, protocol, prompts and config do not go together, or a guided run has no phrase to choose
            from.
    """
    graph = build_state_graph(
        policy,
        recommender,
        protocol=protocol,
        prompts=prompts,
        config=config,
        recorder=recorder,
        item_filter=item_filter,
        retry_policy=retry_policy,
    )
    return graph.compile(
        checkpointer=checkpointer,
        cache=cache,
        store=store,
        interrupt_before=interrupt_before,
        interrupt_after=interrupt_after,
        debug=debug,
        name=name,
    )


def build_state_graph(
    policy: CompletionPolicy | Runnable[Any, Any] | None,
    recommender: AnyRecommender,
    *,
    protocol: Literal["tagged", "tools"] | AgentProtocol | None = None,
    prompts: Prompts | None = None,
    config: AgentConfig | None = None,
    recorder: Recorder | None = None,
    item_filter: ItemFilter | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
) -> StateGraph[AgentState, Any, AgentInput, AgentOutput]:
    """Build the agent's graph and leave it uncompiled, so that nodes and edges can be added.

    Args, Raises: as `build_graph`.

    Returns:
        A graph with the nodes `prepare`, `reason`, `retrieve`, `rank` and `finish`. `finish` has the finished list in
        `recommendations`; a node that begins with `graph.add_edge("finish", …)` gets it in its state.
    """
    config = config or AgentConfig()
    called = make_protocol(policy, protocol, config, prompts)
    nodes = Nodes(called, recommender, config, recorder or NullRecorder(), item_filter)
    graph = _AgentGraph(AgentState, AgentContext, input_schema=AgentInput, output_schema=AgentOutput)
    for name in ("prepare", "reason", "retrieve", "rank", "finish"):
        graph.add_node(name, _node(nodes, name), retry_policy=retry_policy)
    graph.add_edge(START, "prepare")
    graph.add_conditional_edges("prepare", after_prepare, ["reason", "finish"])
    graph.add_conditional_edges("reason", after_reason, ["reason", "retrieve", "rank", "finish"])
    graph.add_conditional_edges("retrieve", after_retrieve, ["reason", "rank", "finish"])
    graph.add_edge("rank", "finish")
    graph.add_edge("finish", END)
    return graph


class _AgentGraph(StateGraph[AgentState, Any, AgentInput, AgentOutput]):
    """The agent's graph, which reads its input however it is compiled."""

    def compile(self, *args: Any, **options: Any) -> CompiledStateGraph[AgentState, Any, AgentInput, AgentOutput]:
        """Compile the graph, as `StateGraph.compile`."""
        compiled = super().compile(*args, **options)
        # LangGraph drops unknown keys after its start node, so that this is the only place that still sees them.
        compiled.nodes[START].mapper = take_input
        return compiled


def after_prepare(state: AgentState) -> str:
    """Reason, unless the policy is unavailable from the start."""
    return _exit(state) or "reason"


def after_reason(state: AgentState) -> str:
    """Do what the model decided, unless something ended the exploration."""
    routes = {"retrieve": "retrieve", "recommend": "rank", "malformed": "reason"}
    return _exit(state) or routes[state["decision"]["action"]]


def after_retrieve(state: AgentState) -> str:
    """Reason about what came back, unless something ended the exploration."""
    return _exit(state) or "reason"


def _exit(state: AgentState) -> str | None:
    """The next node of a run whose exploration has ended: the ranking, if there is something to rank."""
    ending = state["ending"]
    if ending is None:
        return None
    return "finish" if ending["status"] in ("fallback", "empty") or not not_excluded(state["candidates"]) else "rank"


def make_protocol(
    policy: object, protocol: str | AgentProtocol | None, config: AgentConfig, prompts: Prompts | None = None
) -> AgentProtocol:
    """Make the protocol that was named, or the one that fits the policy; an instance is checked and returned.

    Raises:
        ConfigError: policy and protocol do not go together, or an instance is given with prompts or contradicts
            `config.guided`.
    """
    if protocol is not None and not isinstance(protocol, str):
        return _checked(protocol, config, prompts)
    if isinstance(policy, CompletionPolicy) and protocol in (None, "tagged"):
        sampling = SamplingConfig(temperature=config.temperature, top_p=config.top_p)
        prompts = prompts or _prompts(config.prompts or "trained")
        prompts = prompts if config.thinks is None else with_thoughts(prompts, config.thinks)
        return TaggedProtocol(policy, sampling=sampling, guided=config.guided, prompts=prompts)
    if isinstance(policy, Runnable) and chat_models_in(policy) and protocol in (None, "tools"):
        prompts = prompts or _prompts(config.prompts or "instruct")
        return ToolsProtocol(policy, guided=config.guided, prompts=prompts)
    raise ConfigError(
        f"The protocol {protocol or 'for this policy'!r} does not go with a {type(policy).__name__}: `tagged` takes a "
        "CompletionPolicy, `tools` a LangChain chat model, in its wrappers too. For another policy pass "
        "an AgentProtocol of your own."
    )


def _prompts(name: Literal["trained", "instruct", "words"]) -> Prompts:
    if name == "words":
        return Prompts.words()
    return Prompts.instruct() if name == "instruct" else Prompts()


def _checked(protocol: AgentProtocol, config: AgentConfig, prompts: Prompts | None) -> AgentProtocol:
    name = type(protocol).__name__
    if not isinstance(protocol, AgentProtocol):
        raise ConfigError(f"A {name} lacks a member of deeprec.agent.AgentProtocol. Give it all of them.")
    if prompts is not None:
        raise ConfigError(f"The texts of a {name} are its own: `prompts` would not reach it. Pass them to the {name}.")
    if protocol.guided != config.guided:
        raise ConfigError(
            f"AgentConfig.guided is {config.guided}, and the {name} has guided = {protocol.guided}. Set both the same."
        )
    return protocol


def _node(nodes: Nodes, name: str) -> RunnableLambda[AgentState, AgentState]:
    """A node for synchronous and asynchronous calls. What ends a run early closes it in the trace: an error, a
    cancellation, and LangGraph's recursion limit, which is reached after this node.
    """
    step: Callable[..., Awaitable[AgentState]] = getattr(nodes, name)

    async def call(state: AgentState, task: str) -> AgentState:
        if name == "prepare":
            return await step(state, task)
        ending = state["ending"]
        has_ended = name != "finish" and ending is not None and ending["status"] == "empty"  # by an edit
        return AgentState() if has_ended else await step(state)

    async def run(state: AgentState, config: RunnableConfig) -> AgentState:
        task: str = config["metadata"]["langgraph_checkpoint_ns"]  # LangGraph's id of the step at its checkpoint
        taken = AgentState()
        edited = [] if name == "prepare" else edited_parts(state)
        is_own = name != "prepare"  # which closes its run itself: the state still holds the run before it
        try:
            if edited:
                is_own = False  # an error on the way to the fork leaves its parent as it is
                taken = await nodes.forks.open(state, edited, task)
                is_own = True
            try:
                update = await call({**state, **taken}, task)
            except OtherInputsError:
                is_own = False
                taken |= await nodes.forks.open({**state, **taken}, ["settings"], task)
                is_own = True
                update = await call({**state, **taken}, task)
        except GraphBubbleUp:  # an interrupt of LangGraph, not an error
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_own:
                await nodes.abort({**state, **taken}, cause_of(error))
            raise
        update = {**taken, **update}
        if state.get("steps_left", 1) <= 0 and name != "finish":
            limit = config["recursion_limit"]
            cause = f"The recursion limit of LangGraph ({limit} steps) was reached after `{name}`. Raise it and resume."
            await nodes.abort({**state, **update}, cause)
        return {**update, "seal": seal({**state, **update})}

    def run_sync(state: AgentState, config: RunnableConfig) -> AgentState:
        return run_blocking(run(state, config))

    return RunnableLambda(run_sync, afunc=run, name=name)
