"""The nodes of the graph: what each step does, and what it logs before the next begins."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from langgraph.errors import GraphBubbleUp

from deeprec.agent.graph.budgets import (
    ended_by_budget,
    ended_by_malformed_output,
    ended_by_time,
    seconds_left,
    spent_budget,
    with_time,
)
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.constrained_retrieval import (
    Asked,
    PreferenceConstraints,
    mark_excluded,
    not_enforced,
    retrieve_asked,
)
from deeprec.agent.graph.edited_state import Forks
from deeprec.agent.graph.grounding import fill_list, ground, merge_candidates, not_excluded
from deeprec.agent.graph.item_lines import found_lines, summary_line, title_line
from deeprec.agent.graph.laid_out_catalogue import Passes
from deeprec.agent.graph.lists_without_model import nearest_list, own_ranking, ranked, ranking_without_model, words_of
from deeprec.agent.graph.look_ups import LookUps
from deeprec.agent.graph.messages import answer_message
from deeprec.agent.graph.offered_phrases import Offer, OfferedPhrases
from deeprec.agent.graph.outages import cause_of, ended_by_outage, failure_of
from deeprec.agent.graph.partial_results import PartialResults
from deeprec.agent.graph.recommender_calls import ItemFilter, RecommenderCalls
from deeprec.agent.graph.request_settings import request_sources
from deeprec.agent.graph.run_clock import TimedRecorder, run_clock
from deeprec.agent.graph.run_constraints import with_stated
from deeprec.agent.graph.run_settings import RunSettings, set_values
from deeprec.agent.graph.run_start import RunStart, open_run
from deeprec.agent.graph.shown_list import as_recommended, choose_shown
from deeprec.agent.graph.state import AgentOutput, AgentState, Ending, Nearest, RankedItem, RunRequest
from deeprec.agent.graph.step_inputs import check_retrieval, digest
from deeprec.agent.protocols import AgentProtocol, Briefing
from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS
from deeprec.agent.protocols.turn import CardProtocol
from deeprec.agent.traces.records import Outcome, RecommendationRecord, RetrievalRecord, RunOutcome
from deeprec.agent.traces.store.recorder import Recorder
from deeprec.trm_tool import (
    AnyRecommender,
    ConfigError,
    RecommenderUnavailableError,
    Retrieved,
    UnknownItemError,
    Where,
)

_log = logging.getLogger(__name__)


class Nodes:
    """The nodes, with what they share. Each reads the state and returns the keys that it changes."""

    def __init__(
        self,
        protocol: AgentProtocol,
        recommender: AnyRecommender,
        config: AgentConfig,
        recorder: Recorder,
        item_filter: ItemFilter | None = None,
    ) -> None:
        """Raises ConfigError where the protocol is guided and the catalogue knows no phrase."""
        self._recommender, self._recorder = recommender, TimedRecorder(recorder)
        self._recommender_calls = RecommenderCalls(recommender, item_filter)
        self._constraints = PreferenceConstraints(recommender)
        self._partial = PartialResults(recommender.catalogue)
        self._offered = OfferedPhrases(
            recommender,
            self._recommender_calls,
            is_guided=protocol.guided,
            has_card=isinstance(protocol, CardProtocol) and protocol.has_card,
        )
        self._runs = RunSettings(protocol, config, self._recorder, LookUps(recommender, self._offered.describe))
        self.forks = Forks(recommender, self._recorder, self.prepare, self._start_run)

    async def prepare(self, state: AgentState, task: str) -> AgentState:
        """Take a request, empty what the last one left, and open the conversation.

        Args:
            state: With the request.
            task: As for `RunStart.of`.

        Raises:
            ConfigError, UnknownItemError: the request cannot be run; nothing is logged.
            RecommenderUnavailableError: the recommender gave no ranking; the run is closed in the trace.
            Exception: whatever else the recommender or the protocol raises; the run is closed in the trace.
        """
        started = run_clock()
        given = RunStart.of(state, task, request_sources())
        config, calls = self._runs.with_values(given.settings)
        given = replace(given, settings=set_values(given.settings, config))
        start, unknown = given.known(self._recommender.catalogue, is_strict=config.strict_history)
        nearest: Nearest | None = None
        try:
            own = await own_ranking(start, config, self._recommender_calls)
            constraints = await self._constraints.of_request(start, config)
            conversation, ending, offer = dict[str, Any](), None, Offer()
            if not own and (start.where or start.exclude or self._recommender_calls.filters_now()):
                nearest, ending = await nearest_list(
                    start, config, started, self._recommender.catalogue, self._recommender_calls
                )
            if ending is None:
                latest = start.history[-config.max_history :]
                offer = await self._offered.choose(start, config, started)
                conversation, ending = await calls.open(
                    Briefing(
                        history=[summary_line(self._recommender.catalogue, item_id) for item_id in latest],
                        message=start.message,
                        k=config.k,
                        earlier=start.earlier,
                        max_retrievals=config.max_retrievals,
                        titles=[title_line(self._recommender.catalogue, item_id) for item_id in latest],
                        phrases=offer.phrases,
                        numbers=offer.numbers,
                        card=offer.card,
                        may_be_empty=config.allows_no_preference,
                        max_retrieve_k=config.max_retrieve_k,
                    ),
                    run_id=start.run_id,
                    timeout_s=config.max_seconds - (run_clock() - started),
                )
        except (ConfigError, GraphBubbleUp, UnknownItemError):
            raise
        except (Exception, asyncio.CancelledError) as error:
            start = await self._start_run(start)
            await self._abort(start.run_id, cause_of(error), latency_ms=(run_clock() - started) * 1000)
            raise
        try:
            start = await self._start_run(start)
        except asyncio.CancelledError as error:
            await self._abort(start.run_id, cause_of(error), latency_ms=(run_clock() - started) * 1000)
            raise
        return {
            "history": given.history,
            "message": None,
            "earlier": None,
            "where": None,
            "exclude": None,
            "settings": None,
            "lineage": None,
            "run_id": str(start.run_id),
            "status": "running",
            "detail": None,
            "failure": None,
            "recommendations": [],
            "unenforced": list(own.unenforced),
            "constraints": constraints,
            "unknown_items": unknown,
            "nearest": nearest,
            "request": RunRequest(
                history=start.history,
                message=start.message,
                earlier=start.earlier,
                where=start.where,
                exclude=start.exclude,
                settings=start.settings,
                seed=start.lineage.get("seed"),
                turn_seeds=start.lineage.get("turn_seeds", "hashed"),
                lineage=start.kept_lineage,
                phrases=list(offer.phrases),
                may_refuse=offer.may_refuse,
                bounds=list(offer.bounds),
                own_ranking=ranked(own),
                spent_ms=(run_clock() - started) * 1000,
            ),
            "conversation": conversation,
            "decision": {},
            "turn_count": 0,
            "malformed_count": 0,
            "spent_tokens": 0,
            "retrieval_count": 0,
            "preferences": [],
            "candidates": [],
            "ending": ending,
            "written": [],
            "ungrounded": 0,
        }

    async def reason(self, state: AgentState) -> AgentState:
        """Let the model think, and read whether it retrieves or ranks."""
        started = run_clock()
        config, calls = self._runs.of(state["request"])
        update = await calls.reason(state, started)
        ending, decision = update["ending"], update["decision"]
        if ending is None and decision["action"] == "malformed":
            count = update["malformed_count"] = state["malformed_count"] + 1
            ending = ended_by_malformed_output(count, decision, config)
            ending = ending or spent_budget({**state, **update}, config, started)
            ending = ending or await calls.correct(state, update, started)
        asks_more = ending is None and decision["action"] == "retrieve"
        if asks_more and state["retrieval_count"] >= config.max_retrievals:
            ending = ended_by_budget(f"all {config.max_retrievals} retrievals spent")
        follows = state["retrieval_count"] if asks_more and ending is None else None
        self._partial.turn(state["run_id"], state["turn_count"], decision, retrieval=follows)
        return {**update, "ending": ending, "request": with_time(state, started)}

    async def retrieve(self, state: AgentState) -> AgentState:
        """Retrieve items, number those that are new, and show them to the model."""
        started = run_clock()
        config, calls = self._runs.of(state["request"])
        run_id, position = UUID(state["run_id"]), state["retrieval_count"]
        asked = await self._constraints.read(state, config)
        preference, inputs = state["decision"]["preference"], self._retrieval_inputs(state, config, asked)
        stored = await self._recorder.load_retrieval(run_id, position)
        record = check_retrieval(stored, inputs, preference=preference, k=_size(state, config))
        failed: Exception | None = None
        if record is None:
            record, failed = await self._retrieval(state, config, started, asked, inputs)
            if failed is not None and config.raise_outages and seconds_left(state, config, started) > 0:
                ended_by_outage(failed, part="recommender", node="retrieve", run_id=run_id)
                raise failed
            await self._recorder.record_retrieval(run_id, record)
        candidates = mark_excluded(merge_candidates(state["candidates"], record), asked.passes)
        self._partial.found(state["run_id"], record)
        listed = fill_list([], candidates, [], k=config.k, fallback=False)
        self._partial.listed(state["run_id"], listed, "running")
        update: AgentState = {
            "candidates": candidates,
            "retrieval_count": position + 1,
            "preferences": [*state["preferences"], preference],
            "unenforced": sorted({*state["unenforced"], *record.unenforced}),
            "constraints": with_stated(state.get("constraints"), asked.stated),
        }
        ending: Ending | None
        if record.detail is None:
            numbers = {candidate["item_id"]: number for number, candidate in enumerate(candidates, start=1)}
            history, found = state["request"]["history"], [item.id for item in record.items]
            shown = found_lines(self._recommender, history, found, explained=config.shows_evidence)
            lines = [(numbers[item.id], line) for item, line in zip(record.items, shown, strict=True)]
            ending = await calls.observe(state, update, started, lines, asked.remark)
            ending = ending or spent_budget({**state, **update}, config, started)
        elif seconds_left(state, config, started) <= 0:
            ending = ended_by_time(config, ", the last of them waiting for the recommender")
        else:
            failed = failed or RecommenderUnavailableError(record.detail)
            ending = ended_by_outage(failed, part="recommender", node="retrieve", run_id=run_id)
        return {**update, "ending": ending, "request": with_time(state, started)}

    async def rank(self, state: AgentState) -> AgentState:
        """Read the final list that the model has written, or else let it write one now."""
        started = run_clock()
        config, calls = self._runs.of(state["request"])
        update: AgentState = {"ending": state["ending"]}
        decision = state["decision"]
        is_written = decision["action"] == "recommend" and decision["numbers"]
        named: list[int] = []

        def show(number: int) -> None:
            named.append(number)
            so_far, _ = ground(named, state["candidates"])
            listed = fill_list(so_far, state["candidates"], [], k=config.k, fallback=False)
            self._partial.listed(state["run_id"], listed, "running")

        can_rank = bool(not_excluded(state["candidates"]))
        while not is_written and can_rank and seconds_left(state, config, started) > 0:
            named.clear()
            update |= await calls.rank(state, started, show)
            decision = update["decision"]
            self._partial.turn(state["run_id"], state["turn_count"], decision, retrieval=None)
            if decision["action"] != "malformed":
                break
            count = update["malformed_count"] = state["malformed_count"] + 1
            ending = ended_by_malformed_output(count, decision, config)
            ending = ending or await calls.correct(state, update, started)
            if ending is not None:
                update["ending"] = state["ending"] or ending
                break
            state, started = {**state, **update, "request": with_time(state, started)}, run_clock()
        written, ungrounded = ground(decision.get("numbers", ()), state["candidates"])
        return {
            **update,
            "written": [asdict(listed) for listed in written],
            "ungrounded": ungrounded + decision.get("unread", 0),
            "request": with_time(state, started),
        }

    async def finish(self, state: AgentState) -> AgentState:
        """Fill the list, and close the run in the trace with how it ended."""
        started = run_clock()
        config, _ = self._runs.of(state["request"])
        ending = state["ending"]
        status: Outcome = ending["status"] if ending else "finished"
        detail = ending["detail"] if ending else None
        written = [RecommendationRecord(**listed) for listed in state["written"]]
        k, is_fallback, found = config.k, status == "fallback", not_excluded(state["candidates"])
        own: list[RankedItem] = []
        if status != "empty" and (not found or (is_fallback and len(found) < k) or config.own_k is not None):
            where, passes = self._constraints.hard_where(state), await self._constraints.passes(state)
            own = await ranking_without_model(state, config, started, self._recommender_calls, where, passes)
        ranked = fill_list(written, found, own, k=None, fallback=is_fallback, own_k=config.own_k or 0)
        filled = await choose_shown(ranked, self._recommender, self._recommender_calls.filters_now(), config)
        if status == "finished" and not written:
            status, detail = "ungrounded", "the list that the model wrote names none of the candidates"
        self._partial.listed(state["run_id"], filled, status)
        await self._recorder.finish_run(
            UUID(state["run_id"]),
            RunOutcome(
                status=status,
                detail=detail,
                written=tuple(written),
                recommended=tuple(filled),
                ungrounded=state["ungrounded"],
                latency_ms=with_time(state, started)["spent_ms"],
            ),
        )
        result: AgentState = {
            "status": status,
            "detail": detail,
            "failure": failure_of(state),
            "recommendations": as_recommended(filled, self._recommender.catalogue),
            "message_cut": len(state["request"]["message"] or "") > MAX_MESSAGE_CHARS,
        }
        if state.get("messages"):
            output = {name: {**state, **result}.get(name) for name in AgentOutput.__annotations__ if name != "messages"}
            result["messages"] = [answer_message(output)]
        return result

    async def abort(self, state: AgentState, cause: str) -> None:
        """Close a run in the trace that has no list; it is closed again where it goes on."""
        await self._abort(UUID(state["run_id"]), cause, latency_ms=state["request"]["spent_ms"])

    async def _abort(self, run_id: UUID, cause: str, *, latency_ms: float) -> None:
        await self._recorder.finish_run(run_id, RunOutcome(status="aborted", detail=cause, latency_ms=latency_ms))

    async def _start_run(self, start: RunStart) -> RunStart:
        config, calls = self._runs.with_values(start.settings)
        return await open_run(self._recorder, start, calls.protocol, self._recommender.identity, config)

    def _retrieval_inputs(self, state: AgentState, config: AgentConfig, read: Asked) -> str:
        request = state["request"]
        asked = [request["history"], request["where"], request.get("exclude", []), state["decision"]["preference"]]
        asked += [_size(state, config), config.trust]
        words = words_of(request.get("message"), config)
        asked += [words, config.words_trust] if words else []
        asked += [] if read.stated is None else [read.stated]
        return digest([self._recommender.identity.fingerprint, *asked])

    async def _retrieval(
        self, state: AgentState, config: AgentConfig, started: float, asked: Asked, inputs: str
    ) -> tuple[RetrievalRecord, Exception | None]:
        """Call the recommender; `detail` of the record says why nothing came back, and the error stands beside it."""
        request, words = state["request"], words_of(state["request"].get("message"), config)
        k, found = _size(state, config), Retrieved()
        failed: Exception | None = None

        async def retrieve(preference: str | None, where: Where | None, passes: Passes | None) -> Retrieved:
            return await self._recommender_calls.retrieve(
                request["history"],
                preference,
                k=k,
                trust=config.trust,
                words=words,
                words_trust=config.words_trust,
                where=where,
                exclude=request.get("exclude", ()),
                passes=passes,
                timeout_s=seconds_left(state, config, started),
            )

        try:
            found = await retrieve_asked(asked, k, retrieve)
        except (ConfigError, GraphBubbleUp):
            raise
        except Exception as error:
            failed = error
        record = RetrievalRecord(
            position=state["retrieval_count"],
            turn=state["turn_count"] - 1,
            preference=state["decision"]["preference"],
            k=k,
            items=tuple(found),
            unenforced=not_enforced(asked, found, self._recommender.catalogue),
            latency_ms=(run_clock() - started) * 1000,
            detail=None if failed is None else cause_of(failed),
            inputs=inputs,
            words=words is not None,
            constraints=None if asked.stated is None else dict(asked.stated),
        )
        return record, failed


def _size(state: AgentState, config: AgentConfig) -> int:
    """Items that the retrieval of the model's last turn returns."""
    return state["decision"].get("limit") or config.retrieve_k
