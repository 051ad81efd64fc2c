"""Calls of the policy: read from the trace where they are stored, else bounded in time and logged, failed ones too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from deeprec.agent.graph.budgets import CONTEXT_FULL, ended_by_budget, ended_by_time, seconds_left
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.grounding import ground
from deeprec.agent.graph.look_ups import LookUps
from deeprec.agent.graph.outages import ended_by_outage
from deeprec.agent.graph.run_clock import run_clock
from deeprec.agent.graph.state import AgentState, Ending
from deeprec.agent.graph.step_inputs import check_inputs, digest
from deeprec.agent.graph.turn_seeds import turn_seed
from deeprec.agent.policy.completion import PolicyError, PolicyUnavailableError
from deeprec.agent.policy.openai_endpoint import PolicyAccessError
from deeprec.agent.policy.server_list import asking_for
from deeprec.agent.protocols import AgentProtocol, Allowance, Briefing, Turn
from deeprec.agent.protocols.turn import ContextFullError, Remark, RemarkingProtocol, record_of
from deeprec.agent.traces.records import Node, TurnRecord
from deeprec.agent.traces.store.codec import storable
from deeprec.agent.traces.store.recorder import Recorder

MIN_TIMEOUT_S = 1.0
"""Time that a call of the policy gets at least, however little the run has left."""


class PolicyCalls:
    """The policy, by its protocol, as the nodes call it.

    A method raises PolicyError because the model is unavailable only where `raise_outages` is set, and
    PolicyAccessError where the server refuses the key. Errors of other kinds pass through, LangGraph's interrupts too.
    """

    def __init__(self, protocol: AgentProtocol, config: AgentConfig, recorder: Recorder, look_ups: LookUps) -> None:
        self.protocol, self._config, self._recorder, self._look_ups = protocol, config, recorder, look_ups

    async def open(self, briefing: Briefing, *, run_id: UUID, timeout_s: float) -> tuple[dict[str, Any], Ending | None]:
        """Begin the conversation.

        Returns:
            The conversation and None; or an empty one and the ending of the run, where the model is unavailable.
        """
        try:
            async with asyncio.timeout(max(MIN_TIMEOUT_S, timeout_s)):
                return dict(await self.protocol.open(briefing)), None
        except PolicyError as error:
            return {}, self._outage(error, "prepare", run_id)
        except TimeoutError:
            late = PolicyUnavailableError(f"no answer in {self._config.max_seconds:g} seconds")
            return {}, self._outage(late, "prepare", run_id)

    async def reason(self, state: AgentState, started: float) -> AgentState:
        """Let the model think and then retrieve or rank; a list before the first retrieval counts as malformed.

        Args:
            state: As the node got it.
            started: `run_clock()` when the node began.

        Returns:
            The keys that the turn changes. `ending` is set where the model gave no turn.
        """
        allowance = self._allowance(state, started)
        inputs = _inputs("reason", state, allowance)
        return await self._turn(
            state, started, "reason", inputs, lambda: self.protocol.reason(state["conversation"], allowance)
        )

    async def rank(self, state: AgentState, started: float, on_number: Callable[[int], object]) -> AgentState:
        """Let the model rank the candidates; `on_number` as in `Allowance`, other arguments and result as `reason`."""
        allowance = replace(self._allowance(state, started, is_ranking=True), on_number=on_number)
        numbers = [at for at, each in enumerate(state["candidates"], start=1) if not each.get("excluded")]
        return await self._turn(
            state,
            started,
            "rank",
            _inputs("rank", state, allowance, len(numbers), self._config.k),
            lambda: self.protocol.rank(state["conversation"], numbers, self._config.k, allowance),
        )

    async def correct(self, state: AgentState, update: AgentState, started: float) -> Ending | None:
        """Append to the conversation what is malformed in the turn that `update` holds; as `observe`."""
        why = update["decision"]["detail"]
        return await self._append(
            state, update, started, "reason", lambda: self.protocol.correct(update["conversation"], why)
        )

    async def observe(
        self,
        state: AgentState,
        update: AgentState,
        started: float,
        items: list[tuple[int, str]],
        remark: Remark | None = None,
    ) -> Ending | None:
        """Append what a retrieval found, as numbers and summaries, and write the conversation into `update`.

        A protocol of one's own that is no `RemarkingProtocol` leaves the remark out.

        Returns:
            What ends the run: no room in the context, no server or no time; None where the conversation goes on.
        """
        conversation, protocol = state["conversation"], self.protocol
        if remark is not None and isinstance(protocol, RemarkingProtocol):
            return await self._append(
                state, update, started, "retrieve", lambda: protocol.observe_remarked(conversation, items, remark)
            )
        return await self._append(state, update, started, "retrieve", lambda: protocol.observe(conversation, items))

    async def _append(
        self,
        state: AgentState,
        update: AgentState,
        started: float,
        node: str,
        append: Callable[[], Awaitable[Mapping[str, Any] | None]],
    ) -> Ending | None:
        try:
            with asking_for(state["run_id"]):
                async with asyncio.timeout(max(MIN_TIMEOUT_S, seconds_left(state, self._config, started))):
                    conversation = await append()
        except PolicyError as error:
            return self._outage(error, node, state["run_id"])
        except TimeoutError:
            return ended_by_time(self._config)
        if conversation is None:
            return ended_by_budget(CONTEXT_FULL)
        update["conversation"] = dict(conversation)
        return None

    async def _turn(
        self, state: AgentState, started: float, node: Node, inputs: str, call: Callable[[], Awaitable[Turn]]
    ) -> AgentState:
        run_id, position = UUID(state["run_id"]), state["turn_count"]
        begun = run_clock()
        record = check_inputs(await self._recorder.load_turn(run_id, position), inputs)
        failure = record.detail if record is not None and record.action == "unavailable" else None
        outage: Exception | None = None if failure is None else PolicyUnavailableError(failure)
        turn: Turn | None = None
        is_full = False
        if failure is None:
            try:
                with asking_for(state["run_id"]):
                    async with asyncio.timeout(max(MIN_TIMEOUT_S, seconds_left(state, self._config, started))):
                        replayed = None if record is None else self.protocol.replay(state["conversation"], record)
                        turn = replayed or await call()
                turn = _judged(turn, state) if record is None else _as_recorded(turn, record)
            except ContextFullError as error:
                failure, is_full = str(error), True
            except PolicyError as error:
                failure, outage = str(error), error
            except TimeoutError as error:
                failure, outage = "no answer within the time of the run", error
        is_late = seconds_left(state, self._config, started) <= 0
        if outage is not None and not is_late:  # raises, before the turn is logged, where that is asked for
            ending = self._outage(outage, node, run_id, detail=str(failure))
        elif is_full:
            ending = ended_by_budget(CONTEXT_FULL)
        else:
            ending = ended_by_time(self._config, ", the last of them waiting for the model")
        if record is None:
            latency_ms = (run_clock() - begun) * 1000
            record = _record(turn, state, position=position, node=node, failure=failure, latency_ms=latency_ms)
            record = replace(record, inputs=inputs)
            await self._recorder.record_turn(run_id, record)
        if turn is not None:
            return {
                "ending": state["ending"],
                "conversation": dict(turn.conversation),
                "decision": asdict(turn.decision),
                "turn_count": position + 1,
                "spent_tokens": state["spent_tokens"] + turn.completion.completion_tokens,
            }
        return {"decision": {"action": "unavailable"}, "ending": ending, "turn_count": position + 1}

    def _outage(self, error: Exception, node: str, run_id: object, detail: str = "") -> Ending:
        if isinstance(error, PolicyAccessError):
            raise error
        ending = ended_by_outage(error, part="model", node=node, run_id=run_id, detail=detail)
        if not self._config.raise_outages:
            return ending
        raise error if isinstance(error, PolicyError) else PolicyUnavailableError(ending["detail"]) from error

    def _allowance(self, state: AgentState, started: float, *, is_ranking: bool = False) -> Allowance:
        config, request = self._config, state["request"]
        # A spent token budget ends the exploration; the list that follows may still be written.
        tokens_left = config.max_tokens - (0 if is_ranking else state["spent_tokens"])
        may_refuse = request.get("may_refuse", False)
        # What a message asks for stays on offer: the next retrieval may add to it.
        used = {phrase for preference in state["preferences"] for phrase in preference.split("; ") if not may_refuse}
        retrievals_left = config.max_retrievals - state["retrieval_count"]
        return Allowance(
            phrases=[phrase for phrase in request["phrases"] if phrase not in used] if retrievals_left > 0 else [],
            may_refuse=may_refuse,
            bounds=request.get("bounds", []),
            may_be_empty=config.allows_no_preference and "" not in state["preferences"],
            describe=self._look_ups.describe if config.describes_catalogue else None,
            also_chosen=self._look_ups.also_chosen(request["history"]) if config.shows_choices else None,
            may_rank=state["retrieval_count"] >= config.min_retrievals,
            most_numbers=config.guided_positions,
            excluded=tuple(at for at, each in enumerate(state["candidates"], start=1) if each.get("excluded")),
            max_tokens=max(1, min(config.max_turn_tokens, tokens_left)),
            timeout_s=max(MIN_TIMEOUT_S, seconds_left(state, config, started)),
            # A checkpoint written before the rule was named goes on with the seeds that its run began with.
            seed=None
            if request["seed"] is None
            else turn_seed(request["seed"], state["turn_count"], request.get("turn_seeds", "counted")),
        )


def _inputs(node: Node, state: AgentState, allowance: Allowance, *ranked: int) -> str:
    """A digest of what the model's turn follows from. A fork of a logged run may go on with another seed."""
    allowed = asdict(replace(allowance, timeout_s=0.0, seed=None, describe=None, also_chosen=None))
    del allowed["describe"], allowed["also_chosen"]
    allowed |= {} if allowance.describe is None else {"describes": True}
    allowed |= {} if allowance.also_chosen is None else {"choices": True}
    if not allowance.may_be_empty:
        del allowed["may_be_empty"]
    if allowance.most_numbers is None:
        del allowed["most_numbers"]
    if node == "rank" or not allowance.excluded:  # as turns were digested before it was named
        del allowed["excluded"]
    if not allowance.may_refuse:  # as turns were digested before there was a card
        del allowed["may_refuse"], allowed["bounds"]
    return digest([node, state["conversation"], allowed, *ranked])


def _record(
    turn: Turn | None, state: AgentState, *, position: int, node: Node, failure: str | None, latency_ms: float
) -> TurnRecord:
    """A turn as the trace keeps it, one that failed included."""
    if turn is None:
        return TurnRecord(position=position, node=node, action="unavailable", detail=failure, latency_ms=latency_ms)
    named, _ = ground(turn.decision.numbers, state["candidates"])
    return record_of(turn, position=position, node=node, items=tuple(listed.item_id for listed in named))


def _judged(turn: Turn, state: AgentState) -> Turn:
    """A list before the first retrieval names nothing and is malformed, however well it is written."""
    if turn.decision.action != "recommend" or state["candidates"]:
        return turn
    why = "a list before anything was retrieved"
    return replace(turn, decision=replace(turn.decision, action="malformed", numbers=(), unread=0, detail=why))


def _as_recorded(turn: Turn, record: TurnRecord) -> Turn:
    """A run goes on from what was decided when it was logged, also where more could be read from the turn today."""
    is_same = turn.decision.action == record.action
    if is_same and record.action == "retrieve" and record.preference is not None:
        is_same = storable(turn.decision.preference or "") == record.preference
    if is_same or record.action == "unavailable" or record.action == "knowledge":  # knowledge runs have no graph
        return turn
    numbers = turn.decision.numbers if record.action == "recommend" else ()
    decision = replace(
        turn.decision,
        action=record.action,
        preference=record.preference,
        numbers=numbers,
        unread=0,
        detail=record.detail,
    )
    return replace(turn, decision=decision)
