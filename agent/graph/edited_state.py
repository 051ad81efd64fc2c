"""Edits of a checkpoint, noticed by the node that comes next, and the fork that goes on with them.

A node leaves a seal in the state: a digest of each part. A part that the next node finds otherwise was edited in
between, by a person (`update_state`) or by a node of the program's own. The run then goes on as a fork: another run,
with the steps before the edit, whose parent stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np

from deeprec.agent.graph.request import read_lineage
from deeprec.agent.graph.run_constraints import request_constraints, stated_hard, with_stated
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.graph.state import (
    AgentInput,
    AgentOutput,
    AgentState,
    Candidate,
    Lineage,
    RunConstraints,
    RunRequest,
)
from deeprec.agent.graph.step_inputs import digest
from deeprec.agent.protocols.turn import read_preference
from deeprec.agent.traces.records import RunOutcome
from deeprec.agent.traces.store.recorder import Recorder
from deeprec.trm_tool import AnyRecommender, ConfigError, Where
from deeprec.trm_tool.catalogue.filters import AttributeIndex

_log = logging.getLogger(__name__)

_ASKED = ("history", "message", "where", "exclude", "settings")
"""The parts of a request from which something is computed before the model's first turn."""


def seal(state: AgentState) -> dict[str, str]:
    """Digest each part of a state that nodes read; what is said to the caller and the time spent are no such part."""
    return {"run_id": state["run_id"], **{name: digest(part) for name, part in _parts(state).items()}}


def edited_parts(state: AgentState) -> list[str]:
    """Name the parts that were edited since the last node, in order; none of a checkpoint of an earlier version."""
    sealed = state.get("seal")
    if not sealed:
        return []
    now = seal(state)
    names = [name for name in {**sealed, **now} if sealed.get(name) != now.get(name)]
    emptied = set(AgentInput.__annotations__) - {"history", "messages"}  # by `prepare`
    given = [name for name in emptied if state.get(name) is not None]
    return sorted({name.rpartition(".")[2] for name in (*names, *given)})


class Forks:
    """Opens the forks of edited runs."""

    def __init__(
        self,
        recommender: AnyRecommender,
        recorder: Recorder,
        prepare: Callable[[AgentState, str], Awaitable[AgentState]],
        start_run: Callable[[RunStart], Awaitable[RunStart]],
    ) -> None:
        self._recommender, self._recorder = recommender, recorder
        self._prepare, self._start_run = prepare, start_run

    async def open(self, state: AgentState, names: Sequence[str], task: str) -> AgentState:
        """Open a fork with an edited state.

        Where the history, the message or the constraints were edited, the recommender is asked for the list without
        the model again, and candidates that the request no longer allows are excluded from the lists.

        Args:
            state: As it was edited.
            names: What was edited.
            task: Names the present step; the fork's id follows from it, so that a killed step finds its fork again.

        Returns:
            The keys that change, `run_id` among them. `ending` is set where no item passes the edited constraints.

        Raises:
            ConfigError: an edited part has a wrong type, or comes too late to have an effect.
        """
        if {"message", "earlier"}.intersection(names) and state["turn_count"]:
            raise ConfigError(
                "The message in this checkpoint was edited after the model had read the old one, so that nothing would "
                "change. Edit a checkpoint before the first turn, or invoke the graph with a new request."
            )
        if "preference" in names:
            _check_preference(state["decision"].get("preference"))
        asked = _request_of_fork(state, names, uuid5(NAMESPACE_OID, f"fork {task}"))
        if not {*_ASKED, "earlier"}.intersection(names):
            start = replace(RunStart.of(asked, task), history=list(state["request"]["history"]))
            update = AgentState(run_id=str((await self._start_run(start)).run_id), lineage=None)
        else:
            update = await self._prepare(asked, task)
            if state["turn_count"]:
                update = await self._going_on(state, update)
        parent, child = UUID(_parent(state)), UUID(update["run_id"])
        _log.info("Run %s goes on as %s: edited are %s.", parent, child, ", ".join(names))
        await self._copy_steps(parent, child, state)
        # A parent that has ended keeps its ending; one that has not is no longer awaited by anybody.
        cause = f"It was edited ({', '.join(names)}) and goes on as run {child}."
        spent_ms = state["request"]["spent_ms"]
        await self._recorder.finish_run(parent, RunOutcome(status="aborted", detail=cause, latency_ms=spent_ms))
        return update

    async def _going_on(self, state: AgentState, update: AgentState) -> AgentState:
        """What of a newly prepared request changes a run that the model has begun."""
        old, new = state["request"], update["request"]
        offered = ("phrases", "may_refuse", "bounds", "own_ranking")
        request: Any = {**old, **{name: new[name] for name in (*_ASKED, *offered)}}  # type: ignore[literal-required]
        request["spent_ms"] = old["spent_ms"] + new["spent_ms"]
        names = (*_ASKED, "earlier", "lineage", "run_id", "unenforced", "unknown_items", "nearest")
        changed: Any = {name: update[name] for name in names}  # type: ignore[literal-required]
        if stated := state.get("constraints"):  # the request's own are those of the edited request
            beside: RunConstraints = {**stated, "hard": stated_hard(state)}
            changed["constraints"] = with_stated(request_constraints(request["where"]), beside)
        hard = [each["where"] for each in stated_hard(state)]
        candidates = await self._allowed(state["candidates"], request, hard)
        excluded = {candidate["item_id"] for candidate in candidates if candidate.get("excluded")}
        written = [listed for listed in state["written"] if listed["item_id"] not in excluded]
        changed |= {"request": request, "candidates": candidates, "written": written}
        changed["ungrounded"] = state["ungrounded"] + len(state["written"]) - len(written)
        if update["ending"] is not None:
            changed["ending"] = update["ending"]
        return cast(AgentState, changed)

    async def _allowed(
        self, candidates: Sequence[Candidate], request: RunRequest, hard: Sequence[Where]
    ) -> list[Candidate]:
        """The candidates under their old numbers, those marked that the request no longer allows."""
        catalogue = self._recommender.catalogue
        passing = set(catalogue.ids)
        wheres = [where for where in (request["where"], *hard) if where]
        if wheres:
            index = await asyncio.to_thread(AttributeIndex, catalogue)
            mask = np.logical_and.reduce([index.filter(where).mask for where in wheres])
            passing = {item_id for item_id, passes in zip(catalogue.ids, mask, strict=True) if passes}
        passing -= {*request["history"], *request.get("exclude", ())}
        return [{**candidate, "excluded": candidate["item_id"] not in passing} for candidate in candidates]

    async def _copy_steps(self, parent: UUID, child: UUID, state: AgentState) -> None:
        for position in range(state["turn_count"]):
            if (turn := await self._recorder.load_turn(parent, position)) is not None:
                await self._recorder.record_turn(child, turn)
        for position in range(state["retrieval_count"]):
            if (retrieval := await self._recorder.load_retrieval(parent, position)) is not None:
                await self._recorder.record_retrieval(child, retrieval)


def _parts(state: AgentState) -> dict[str, Any]:
    outside = {"seal", "steps_left", *AgentInput.__annotations__, *AgentOutput.__annotations__} - {"constraints"}
    parts: dict[str, Any] = {"history": state.get("history")}
    for name in AgentState.__annotations__:
        part: Any = None if name in outside else state.get(name)
        if name in ("request", "decision") and part is not None:
            parts |= {f"{name}.{key}": value for key, value in part.items() if key != "spent_ms"}
        elif part is not None:
            parts[name] = part
    return parts


def _parent(state: AgentState) -> str:
    return state["seal"]["run_id"] if state.get("seal") else state["run_id"]


def _request_of_fork(state: AgentState, names: Sequence[str], run_id: UUID) -> AgentState:
    request, sealed = state["request"], state.get("seal", {})
    mark: dict[str, Any] = {"turn": max(0, state["turn_count"] - 1), "edited": list(names)}
    if "preference" in names:
        mark["preference"] = state["decision"]["preference"]
    lineage = Lineage(**request.get("lineage", {}), turn_seeds=request.get("turn_seeds", "counted"), run_id=str(run_id))
    if request["seed"] is not None:
        lineage["seed"] = request["seed"]
    lineage |= read_lineage(state.get("lineage"))
    lineage |= Lineage(parent_id=_parent(state), fork=mark)
    is_edited = sealed.get("request.history") != digest(request["history"])
    asked: Any = {name: request.get(name) if state.get(name) is None else state[name] for name in _ASKED}  # type: ignore[literal-required]
    asked["history"] = request["history"] if is_edited else state["history"]
    earlier = request.get("earlier") if state.get("earlier") is None else state["earlier"]
    return cast(AgentState, {**asked, "earlier": earlier, "lineage": lineage})


def _check_preference(preference: object) -> None:
    why = "it is not a text" if not isinstance(preference, str) else read_preference(preference)[1]
    if why is not None:
        raise ConfigError(f"The edited preference of this checkpoint cannot be used: {why}. Write a few phrases.")
