"""The nodes of the graph: what each step does, and what it logs before the next begins."""

from __future__ import annotations

import logging
from dataclasses import asdict
from time import perf_counter
from uuid import UUID

from deeprec.agent.graph.budgets import (
    ended_by_budget,
    ended_by_malformed_outputs,
    ended_by_time,
    seconds_left,
    spent_budget,
    with_time,
)
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.grounding import fill_list, ground, merge_candidates
from deeprec.agent.graph.guided_phrases import common_phrases, phrases_for
from deeprec.agent.graph.policy_calls import MIN_TIMEOUT_S, PolicyCalls
from deeprec.agent.graph.recommender_calls import RecommenderCalls
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.graph.state import AgentState, Ending, RankedItem, RunRequest
from deeprec.agent.protocols import AgentProtocol, Briefing
from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS
from deeprec.agent.traces.records import Outcome, RecommendationRecord, RetrievalRecord, RunOutcome
from deeprec.agent.traces.store.recorder import Recorder
from deeprec.trm_tool import (
    AnyRecommender,
    ConfigError,
    RecommenderRefusedError,
    RecommenderUnavailableError,
    Retrieved,
    UnknownItemError,
    neutralise,
)
from deeprec.trm_tool.text import plain

_log = logging.getLogger(__name__)

MAX_SUMMARY_CHARS = 80
"""Characters that a prompt shows of one item."""


class Nodes:
    """The nodes, with what they share. Each reads the state and returns the keys that it changes."""

    def __init__(
        self, protocol: AgentProtocol, recommender: AnyRecommender, config: AgentConfig, recorder: Recorder
    ) -> None:
        """Raises ConfigError where the protocol is guided and the catalogue knows no phrase."""
        self._recommender, self._config, self._recorder = recommender, config, recorder
        self._recommender_calls = RecommenderCalls(recommender)
        self._policy_calls = PolicyCalls(protocol, config, recorder)
        self._phrases = common_phrases(recommender.catalogue) if protocol.guided else []

    async def prepare(self, state: AgentState) -> AgentState:
        """Take a request, empty what the last one left, and open the conversation.

        Raises:
            ConfigError, UnknownItemError: the request cannot be run; nothing is logged.
            RecommenderUnavailableError: the recommender gave no ranking; the run is closed in the trace.
            Exception: whatever else the recommender or the protocol raises; the run is closed in the trace.
        """
        started = perf_counter()
        start = RunStart.of(state)
        try:
            own = await self._recommender_calls.retrieve(
                start.history,
                None,
                k=self._config.k,
                trust=self._config.trust,
                where=start.where,
                timeout_s=self._config.max_seconds,
            )
            shown = [self._summary(item_id) for item_id in start.history[-self._config.max_history :]]
            conversation, ending = await self._policy_calls.open(
                Briefing(history=shown, message=start.message, k=self._config.k),
                timeout_s=self._config.max_seconds - (perf_counter() - started),
            )
            phrases = phrases_for(start.history, self._recommender.catalogue, self._phrases)
        except (ConfigError, UnknownItemError):
            raise
        except Exception as error:
            await self._start_run(start)
            await self._close_failed(start.run_id, error, latency_ms=(perf_counter() - started) * 1000)
            raise
        await self._start_run(start)
        return {
            "history": start.history,
            "message": None,
            "where": None,
            "lineage": None,
            "run_id": str(start.run_id),
            "status": "running",
            "detail": None,
            "recommendations": [],
            "unenforced": list(own.unenforced),
            "request": RunRequest(
                history=start.history,
                message=start.message,
                where=start.where,
                seed=start.lineage.get("seed"),
                turn_seeds=start.lineage.get("turn_seeds", "hashed"),
                phrases=phrases,
                own_ranking=_ranked(own),
                spent_ms=(perf_counter() - started) * 1000,
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
        started = perf_counter()
        update = await self._policy_calls.reason(state, started)
        ending, decision = update["ending"], update["decision"]
        if ending is None and decision["action"] == "malformed":
            count = update["malformed_count"] = state["malformed_count"] + 1
            if count > self._config.max_malformed:
                ending = ended_by_malformed_outputs(count, decision["detail"])
            else:
                ending = spent_budget({**state, **update}, self._config, started)
                ending = ending or await self._policy_calls.correct(state, update, started)
        asks_more = ending is None and decision["action"] == "retrieve"
        if asks_more and state["retrieval_count"] >= self._config.max_retrievals:
            ending = ended_by_budget(f"all {self._config.max_retrievals} retrievals spent")
        return {**update, "ending": ending, "request": with_time(state, started)}

    async def retrieve(self, state: AgentState) -> AgentState:
        """Retrieve items, number those that are new, and show them to the model."""
        started = perf_counter()
        run_id, position = UUID(state["run_id"]), state["retrieval_count"]
        record = await self._recorder.load_retrieval(run_id, position)
        if record is None:
            record = await self._retrieval(state, started)
            await self._recorder.record_retrieval(run_id, record)
        candidates = merge_candidates(state["candidates"], record)
        update: AgentState = {
            "candidates": candidates,
            "retrieval_count": position + 1,
            "preferences": [*state["preferences"], state["decision"]["preference"]],
            "unenforced": sorted({*state["unenforced"], *record.unenforced}),
        }
        ending: Ending | None
        if record.detail is None:
            numbers = {candidate["item_id"]: number for number, candidate in enumerate(candidates, start=1)}
            lines = [(numbers[item.id], self._summary(item.id)) for item in record.items]
            ending = await self._policy_calls.observe(state, update, started, lines)
            ending = ending or spent_budget({**state, **update}, self._config, started)
        elif seconds_left(state, self._config, started) <= 0:
            ending = ended_by_time(self._config, ", the last of them waiting for the recommender")
        else:
            ending = Ending(status="fallback", detail=record.detail)
        return {**update, "ending": ending, "request": with_time(state, started)}

    async def rank(self, state: AgentState) -> AgentState:
        """Read the final list that the model has written, or else let it write one now."""
        started = perf_counter()
        update: AgentState = {"ending": state["ending"]}
        decision = state["decision"]
        is_written = decision["action"] == "recommend" and decision["numbers"]
        while not is_written and seconds_left(state, self._config, started) > 0:
            update |= await self._policy_calls.rank(state, started)
            decision = update["decision"]
            if decision["action"] != "malformed":
                break
            count = update["malformed_count"] = state["malformed_count"] + 1
            ending: Ending | None = None
            if count > self._config.max_malformed:
                ending = ended_by_malformed_outputs(count, decision["detail"])
            ending = ending or await self._policy_calls.correct(state, update, started)
            if ending is not None:
                update["ending"] = state["ending"] or ending
                break
            state, started = {**state, **update, "request": with_time(state, started)}, perf_counter()
        written, ungrounded = ground(decision.get("numbers", ()), state["candidates"])
        return {
            **update,
            "written": [asdict(listed) for listed in written],
            "ungrounded": ungrounded + decision.get("unread", 0),
            "request": with_time(state, started),
        }

    async def finish(self, state: AgentState) -> AgentState:
        """Fill the list, and close the run in the trace with how it ended."""
        started = perf_counter()
        ending = state["ending"]
        status: Outcome = ending["status"] if ending else "finished"
        detail = ending["detail"] if ending else None
        written = [RecommendationRecord(**listed) for listed in state["written"]]
        k, is_fallback, found = self._config.k, status == "fallback", state["candidates"]
        own: list[RankedItem] = []
        if not found or (is_fallback and len(found) < k):
            own = await self._ranking_without_model(state, started)
        filled = fill_list(written, found, own, k=k, fallback=is_fallback)
        titles = [self._recommender.catalogue.item(listed.item_id).title for listed in filled]
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
        return {
            "status": status,
            "detail": detail,
            "recommendations": [
                {
                    "rank": listed.rank,
                    "item_id": listed.item_id,
                    "title": title,
                    "retrieval": listed.retrieval,
                    "score": listed.score,
                    "source": listed.source,
                }
                for listed, title in zip(filled, titles, strict=True)
            ],
        }

    async def close_failed(self, state: AgentState, error: Exception) -> None:
        """Close a run in the trace whose node raised; it may be closed again where it goes on from a checkpoint."""
        await self._close_failed(UUID(state["run_id"]), error, latency_ms=state["request"]["spent_ms"])

    async def _close_failed(self, run_id: UUID, error: Exception, *, latency_ms: float) -> None:
        detail = str(error) if isinstance(error, RecommenderUnavailableError) else f"{type(error).__name__}: {error}"
        await self._recorder.finish_run(run_id, RunOutcome(status="fallback", detail=detail, latency_ms=latency_ms))

    async def _start_run(self, start: RunStart) -> None:
        record = start.record(self._policy_calls.protocol, self._recommender.identity, self._config)
        await self._recorder.start_run(record)

    async def _retrieval(self, state: AgentState, started: float) -> RetrievalRecord:
        """Call the recommender; `detail` of the record says why nothing came back."""
        request, preference = state["request"], state["decision"]["preference"]
        found, failure = Retrieved(), None
        try:
            found = await self._recommender_calls.retrieve(
                request["history"],
                preference,
                k=self._config.retrieve_k,
                trust=self._config.trust,
                where=request["where"],
                timeout_s=seconds_left(state, self._config, started),
            )
        except (RecommenderUnavailableError, RecommenderRefusedError) as error:
            failure = str(error) or type(error).__name__
        return RetrievalRecord(
            position=state["retrieval_count"],
            turn=state["turn_count"] - 1,
            preference=preference,
            k=self._config.retrieve_k,
            items=tuple(found),
            unenforced=found.unenforced,
            latency_ms=(perf_counter() - started) * 1000,
            detail=failure,
        )

    async def _ranking_without_model(self, state: AgentState, started: float) -> list[RankedItem]:
        """The recommender's ranking for the person's own message, else the one for the history alone."""
        request = state["request"]
        message = plain(request.get("message") or "", MAX_MESSAGE_CHARS)
        if not message:
            return request["own_ranking"]
        try:
            found = await self._recommender_calls.retrieve(
                request["history"],
                message,
                k=self._config.k,
                trust=None,  # the person's own words, whatever a model's guesses deserve
                where=request["where"],
                timeout_s=max(MIN_TIMEOUT_S, seconds_left(state, self._config, started)),
            )
        except (RecommenderUnavailableError, RecommenderRefusedError) as error:
            _log.warning(
                "Run %s: the list ignores the message, for which the recommender gave none: %s", state["run_id"], error
            )
            return request["own_ranking"]
        return _ranked(found) or request["own_ranking"]

    def _summary(self, item_id: str) -> str:
        return neutralise(self._recommender.catalogue.summary(item_id, MAX_SUMMARY_CHARS), MAX_SUMMARY_CHARS)


def _ranked(found: Retrieved) -> list[RankedItem]:
    return [RankedItem(item_id=item.id, score=item.score) for item in found]
