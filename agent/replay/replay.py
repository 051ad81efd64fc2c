"""A logged run again, from its start or from a turn whose preference was edited.

The state up to the turn is rebuilt from the trace on a LangGraph checkpointer, without a call of the model. The
checkpoint is forked with the edited turn, the live model goes on from there, and the result is stored as a child of the
run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from langchain_core.runnables import Runnable
from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent.graph.build import build_graph, make_protocol
from deeprec.agent.graph.edited_state import seal
from deeprec.agent.graph.state import AgentInput, AgentState, Lineage
from deeprec.agent.policy.completion import CompletionPolicy
from deeprec.agent.protocols import AgentProtocol, Prompts
from deeprec.agent.protocols.turn import AdjustableProtocol
from deeprec.agent.replay.preconditions import (
    checked_preference,
    config_of,
    load_ended,
    refuse_another,
    retrieving_turn,
)
from deeprec.agent.traces.records import RetrievalRecord, RunRecord, RunTrace, TraceStoreError, TurnRecord
from deeprec.agent.traces.store.recorder import SqlRecorder
from deeprec.agent.traces.store.store import TraceStore
from deeprec.agent.views import RunComparison, compare_runs
from deeprec.trm_tool import AnyRecommender, ConfigError

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

OnUpdate = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A run beside its repetition."""

    original: RunTrace
    child: RunTrace
    comparison: RunComparison

    @property
    def is_same(self) -> bool:
        """Whether both wrote the same, token by token, found the same items and recommended the same list."""
        return self.comparison.is_same


async def fork_run(
    store: TraceStore,
    run_id: UUID | str,
    *,
    turn: int,
    preference: str,
    policy: CompletionPolicy | Runnable[Any, Any] | None,
    retriever: AnyRecommender,
    protocol: AgentProtocol | None = None,
    prompts: Prompts | None = None,
    seed: int | None = None,
    allow_other_model: bool = False,
    on_update: OnUpdate | None = None,
) -> RunTrace:
    """Edit the preference of one turn of a logged run, and let the live model go on from there.

    The child keeps the request, the settings and the steps before the turn. The edited turn stands in it without
    logprobs, since no model sampled it; such a run is never trained on. The child belongs neither to the group nor to
    the suite of the original, so that figures over those stay what they were.

    Args:
        store: Where the run is, and where its child goes.
        run_id: The run's id, or as much of its beginning as is unique.
        turn: Position of a turn that retrieved, from 0.
        preference: The preference in its place, phrases separated by `;`.
        policy: The model that wrote the run: a `CompletionPolicy` or a chat model, as its protocol takes.
        retriever: The recommender that the run was made with.
        protocol: The run's protocol, where it is one of your own.
        prompts: The texts that the run was made with, where they are not the default ones.
        seed: Seed of the turns from there on; None is the run's own.
        allow_other_model: Whether another model or adapter, or other sampling, may go on.
        on_update: Called after each new step with the node's name and the keys that it wrote.

    Returns:
        The child as it is stored, with `parent_id` and `fork`.

    Raises:
        RunNotFoundError: there is no such run.
        TraceStoreError: the run or the turn cannot be forked, or the store cannot be written.
        ConfigError: the preference is empty or unsafe; or the model, the recommender or the texts are not the run's.
        PolicyError: the server is unavailable.
    """
    trace = load_ended(store, run_id)
    edited = retrieving_turn(trace, turn)
    checked = checked_preference(preference)
    if checked == edited.preference:
        raise ConfigError(
            f"Turn {turn + 1} of run {trace.run.run_id} retrieved with exactly {checked!r}. Edit it, or replay the run."
        )
    fork = {"turn": turn, "preference": checked}
    again = _Again(trace=trace, turn=turn, preference=checked, fork=fork, seed=seed)
    live = await _live_protocol(trace, policy, protocol, prompts, allow_other_model)
    return await _run_again(store, again, live, retriever, allow_other_model, on_update)


async def replay_run(
    store: TraceStore,
    run_id: UUID | str,
    *,
    policy: CompletionPolicy | Runnable[Any, Any] | None,
    retriever: AnyRecommender,
    protocol: AgentProtocol | None = None,
    prompts: Prompts | None = None,
    allow_other_model: bool = False,
    on_update: OnUpdate | None = None,
) -> Replay:
    """Repeat a logged run with nothing edited, and compare the two.

    The same model under the same seed and sampling should write the same tokens. A difference shows how far that holds
    on this server (a GPU's batches round differently, a run without a seed is another sample). A run that was itself
    forked is repeated from its edited turn on.

    Args, Raises: as `fork_run`.
    """
    trace = load_ended(store, run_id)
    fork = dict(trace.run.fork or {"turn": None})
    again = _Again(trace=trace, turn=fork["turn"], preference=None, fork=fork, seed=None)
    live = await _live_protocol(trace, policy, protocol, prompts, allow_other_model)
    child = await _run_again(store, again, live, retriever, allow_other_model, on_update)
    return Replay(original=trace, child=child, comparison=compare_runs(trace, child))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """What is run again."""

    trace: RunTrace
    turn: int | None
    """The last turn that comes from the trace; None for a run from the start."""
    preference: str | None
    """The preference that replaces that turn's; None leaves it as it is."""
    fork: dict[str, Any]
    seed: int | None


async def _live_protocol(
    trace: RunTrace,
    policy: CompletionPolicy | Runnable[Any, Any] | None,
    protocol: AgentProtocol | None,
    prompts: Prompts | None,
    allow_other_model: bool,
) -> AgentProtocol:
    config, parts = config_of(trace)
    settings = dict(parts["settings"] or {})
    model = None if allow_other_model else settings.pop("model", None)
    if isinstance(policy, CompletionPolicy):
        policy = policy if model is None else policy.asking(model)
        await policy.connect()  # its lineage names the model only then
    if protocol is None and prompts is None:
        prompts = Prompts.of_version(trace.run.prompt_version)
    made = make_protocol(policy, protocol, config, prompts)
    sampling = {name: settings[name] for name in ("temperature", "top_p") if name in settings}
    if isinstance(policy, Runnable) and isinstance(made, AdjustableProtocol) and (model or sampling):
        return made.adjusted(model=model, **sampling)
    return made


async def _run_again(
    store: TraceStore,
    again: _Again,
    protocol: AgentProtocol,
    recommender: AnyRecommender,
    allow_other_model: bool,
    on_update: OnUpdate | None,
) -> RunTrace:
    """Store a child with the steps before the turn, then the turn itself, then what the live model does now."""
    trace, turn = again.trace, again.turn
    config, parts = config_of(trace)
    refuse_another(trace, protocol, recommender, allow_other_model=allow_other_model)
    recorder = _ForkRecorder(store, trace, turn)
    graph = build_graph(
        None, recommender, protocol=protocol, config=config, recorder=recorder, checkpointer=InMemorySaver()
    )
    child_id = uuid4()
    thread: Any = {"configurable": {"thread_id": str(child_id)}}
    request: AgentInput | None = _request(again, parts, child_id, allow_other_model)
    if turn is not None:
        try:
            state = await _rebuilt(graph, request, thread, turn)
            record = await _last_from_trace(again, turn, protocol, state)
            await asyncio.to_thread(store.record_turn, child_id, record)
            replayed = protocol.replay(state["conversation"], record)
            written: AgentState = {
                "conversation": dict(replayed.conversation),
                "decision": asdict(replayed.decision),
                "turn_count": turn + 1,
                "spent_tokens": state["spent_tokens"] + replayed.completion.completion_tokens,
            }
            written["seal"] = seal(cast(AgentState, {**state, **written}))
            await graph.aupdate_state(thread, written, as_node="reason")
        except BaseException:
            await asyncio.to_thread(_delete, store, child_id)
            raise
        request = None  # the forked checkpoint goes on
    async for update in graph.astream(request, thread, stream_mode="updates", durability="sync"):
        for node, wrote in update.items():
            if on_update is not None:
                on_update(node, wrote)
    return await asyncio.to_thread(store.run, child_id)


class _ForkRecorder(SqlRecorder):
    """Opens a run with the steps that it shares with another: those before a turn. A store that fails then raises."""

    def __init__(self, store: TraceStore, trace: RunTrace, turn: int | None) -> None:
        super().__init__(store)
        self._fork_store = store
        self._turns: Sequence[TurnRecord] = trace.turns[: turn or 0]
        self._retrievals: Sequence[RetrievalRecord] = [
            r for r in trace.retrievals if turn is not None and r.turn < turn
        ]

    async def start_run(self, record: RunRecord) -> None:
        """Open the child."""
        await asyncio.to_thread(self._start, record)

    async def load_turn(self, run_id: UUID, position: int) -> TurnRecord | None:
        """A stored turn, whatever was read before it: `_last_from_trace` compares that, and says what differs."""
        turn = await super().load_turn(run_id, position)
        return None if turn is None else replace(turn, inputs=None)

    def _start(self, record: RunRecord) -> None:
        self._fork_store.start_run(record)
        for turn in self._turns:
            self._fork_store.record_turn(record.run_id, turn)
        for retrieval in self._retrievals:
            self._fork_store.record_retrieval(record.run_id, retrieval)


async def _rebuilt(
    graph: CompiledStateGraph[Any, Any, Any, Any], request: AgentInput | None, thread: Any, turn: int
) -> dict[str, Any]:
    """The state in which the model was asked for a turn; every step before it is read from the trace."""
    while True:
        await graph.ainvoke(request, thread, interrupt_before=["reason"], durability="sync")
        state = await graph.aget_state(thread)
        if state.next != ("reason",):
            raise TraceStoreError(
                f"The state before turn {turn + 1} cannot be rebuilt: the run ended as {state.values['status']} before "
                f"it ({state.values['detail']})."
            )
        if state.values["turn_count"] == turn:
            return dict(state.values)
        request = None


async def _last_from_trace(again: _Again, turn: int, protocol: AgentProtocol, state: dict[str, Any]) -> TurnRecord:
    """The turn after which the live model goes on, edited where there is another preference for it.

    Raises:
        ConfigError: the conversation before it is not the one that the model had.
    """
    trace = again.trace
    if not protocol.agrees(state["conversation"], trace.turns[: turn + 1]):
        raise ConfigError(
            f"What the model had before turn {turn + 1} of run {trace.run.run_id} does not come out as it was logged: "
            "the tokenizer or chat template of the served model differs, or the titles of items do. Nothing can follow."
        )
    record = trace.turns[turn]
    return record if again.preference is None else await protocol.edit(record, again.preference)


def _request(again: _Again, parts: dict[str, Any], child_id: UUID, allow_other_model: bool) -> AgentInput:
    run = again.trace.run
    known = {
        "tenant": run.tenant,
        "user_id": run.user_id,
        "target_id": run.target_id,
        "seed": run.seed if again.seed is None else again.seed,
        "split": run.split,
    }
    lineage: Any = {name: value for name, value in known.items() if value is not None}
    lineage |= Lineage(
        run_id=str(child_id),
        parent_id=str(run.run_id),
        fork=again.fork,
        turn_seeds=run.config.get("turn_seeds", "counted"),
    )
    settings = dict(parts["settings"] or {})
    if allow_other_model:
        settings.pop("model", None)
    return AgentInput(
        history=list(run.history),
        message=run.message,
        earlier=parts["earlier"],
        where=parts["where"],
        exclude=parts["exclude"],
        settings=settings,
        lineage=lineage,
    )


def _delete(store: TraceStore, run_id: UUID) -> None:
    """Delete a child that could not begin."""
    try:
        store.delete_run(run_id)
    except TraceStoreError:  # it was not opened, or the store is what failed
        return
