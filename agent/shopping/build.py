"""The shopping graph: hear, act, search, answer.

    hear -> act -> search -> answer -> log

`hear` reads the message, `act` uses the cart, `search` calls the DeepRec loop (`deeprec.agent.build_graph`),
`answer` composes the reply, and `log`, where a recorder is given, logs the turn. A turn passes those that it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer

from deeprec.agent.graph.build import build_graph
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.event_loop import run_blocking
from deeprec.agent.graph.recommender_calls import ItemFilter, RecommenderCalls
from deeprec.agent.graph.request_settings import AgentContext
from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.policy.wrapped_chat_models import chat_models_in
from deeprec.agent.protocols import AgentProtocol, Prompts
from deeprec.agent.shopping.cart import Cart, MemoryCart
from deeprec.agent.shopping.config import ShoppingConfig
from deeprec.agent.shopping.current_catalogue import CurrentCatalogue
from deeprec.agent.shopping.model_delta import ModelDelta
from deeprec.agent.shopping.nodes import Nodes, after_acting, after_hearing
from deeprec.agent.shopping.shopping_input import take_input
from deeprec.agent.shopping.state import ShoppingInput, ShoppingOutput, ShoppingState
from deeprec.agent.shopping.thread_checkpoints import ThreadCheckpoints
from deeprec.agent.shopping.turn_log import TurnLog
from deeprec.agent.traces.store.recorder import ConversationRecorder
from deeprec.trm_tool import AnyRecommender

LIST_LENGTH = 5
"""Items of a list, unless `config` says otherwise."""


def build_shopping_agent(
    policy: CompletionPolicy | Runnable[Any, Any] | None,
    recommender: AnyRecommender,
    *,
    config: AgentConfig | None = None,
    shopping: ShoppingConfig | None = None,
    cart: Cart | None = None,
    recorder: ConversationRecorder | None = None,
    checkpointer: Checkpointer = None,
    protocol: Literal["tagged", "tools"] | AgentProtocol | None = None,
    prompts: Prompts | None = None,
    item_filter: ItemFilter | None = None,
    name: str = "shopping",
) -> CompiledStateGraph[ShoppingState, Any, ShoppingInput, ShoppingOutput]:
    """Build an agent that holds a conversation: a graph from `ShoppingInput` to `ShoppingOutput` on `messages`.

    Each turn answers the last human message with a `Reply`: as text in an `AIMessage`, as data in its
    `additional_kwargs["deeprec"]` and in `reply`. What is known stands in `conversation` and goes on with the thread of
    a checkpointer; without one the messages before are read again. The catalogue is laid out here, and again when the
    recommender has another one.

    Args:
        policy: As `build_graph` takes it. Without one, rules and the recommender alone answer. A chat model that is
            not guided also proposes what a message changes, beside the rules.
        recommender: What finds the items, synchronous or not.
        config: Budgets and sizes of the searches; a list has five items by default.
        shopping: How a conversation goes.
        cart: The shop's cart; one in memory by default.
        recorder: Where the turns and the runs of their searches are logged; nowhere by default.
        checkpointer: LangGraph's persistence of the threads, whose old checkpoints are deleted behind
            `shopping.kept_turns`; True as a part or a tool of another graph, whose threads then hold the conversation.
        protocol: As `build_graph` takes it.
        prompts: As `build_graph` takes it.
        item_filter: As `build_graph` takes it: which items may be recommended at this moment.
        name: Name of the graph, as its users see it.

    Raises:
        ConfigError: policy, protocol, prompts and config do not go together.
    """
    config = config or AgentConfig(k=LIST_LENGTH)
    shopping = shopping or ShoppingConfig()
    loop = None
    if policy is not None or protocol is not None:
        loop = build_graph(policy, recommender, protocol=protocol, prompts=prompts, config=config, recorder=recorder)
    calls = RecommenderCalls(recommender, item_filter)
    hears = isinstance(policy, Runnable) and chat_models_in(policy) and not config.guided
    model = ModelDelta(policy) if isinstance(policy, Runnable) and hears else None
    checkpoints = ThreadCheckpoints(checkpointer, shopping.kept_turns)
    layout = CurrentCatalogue(recommender)
    nodes = Nodes(layout, calls, loop, cart or MemoryCart(), config, shopping, model, checkpoints)
    graph = StateGraph(ShoppingState, AgentContext, input_schema=ShoppingInput, output_schema=ShoppingOutput)
    graph.add_node("hear", _node(nodes.hear))
    graph.add_node("act", _node(nodes.act))
    graph.add_node("search", _node(nodes.search))
    graph.add_node("answer", _node(nodes.answer))
    graph.add_edge(START, "hear")
    graph.add_conditional_edges("hear", after_hearing, ["act", "search", "answer"])
    graph.add_conditional_edges("act", after_acting, ["search", "answer"])
    graph.add_edge("search", "answer")
    if recorder is None:
        graph.add_edge("answer", END)
    else:
        graph.add_node("log", _node(TurnLog(recorder).log))
        graph.add_edge("answer", "log")
        graph.add_edge("log", END)
    compiled = graph.compile(checkpointer=checkpointer, name=name)
    compiled.nodes[START].mapper = take_input
    return compiled


def _node(
    step: Callable[[ShoppingState, RunnableConfig], Awaitable[ShoppingState]],
) -> RunnableLambda[ShoppingState, ShoppingState]:
    """A node for synchronous and asynchronous calls."""

    async def run(state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        return await step(state, config)

    def run_sync(state: ShoppingState, config: RunnableConfig) -> ShoppingState:
        return run_blocking(run(state, config))

    return RunnableLambda(run_sync, afunc=run, name=step.__name__)
