"""The nodes of the graph: what each step does, and what it logs before the next begins."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.grounding import fill_list, ground, merge_candidates
from deeprec.agent.graph.state import AgentState, Ending, Lineage
from deeprec.agent.graph.turn_seeds import turn_seed
from deeprec.agent.policy.completion import PolicyError
from deeprec.agent.protocols import AgentProtocol, Allowance, Briefing, Turn
from deeprec.agent.protocols.prompts import PROMPT_VERSION
from deeprec.agent.protocols.turn import ContextFullError, record_of
from deeprec.agent.traces.records import (
    Node,
    Outcome,
    RecommendationRecord,
    RetrievalRecord,
    RunOutcome,
    RunRecord,
    TurnRecord,
)
from deeprec.agent.traces.store.recorder import Recorder
from deeprec.trm_tool import ConfigError, DeepRecError, Retrieved, Retriever, neutralise

MAX_SUMMARY_CHARS = 80
"""Characters that a prompt shows of one item."""
MAX_GUIDED_VOCABULARY = 16
"""Phrases that a guided preference may choose from: the commonest of the person's history, then of the catalogue."""
RETRIEVER_ATTEMPTS = 3
"""Calls of the recommender before it counts as down; between them 0.1 and 0.2 seconds."""
RETRIEVER_FAULTS = (OSError, TimeoutError)
"""The errors that a further attempt may mend."""


class RetrieverUnavailableError(DeepRecError):
    """The recommender failed on every attempt."""


class Nodes:
    """The nodes, with what they share. Each reads the state and returns the keys that it changes."""

    def __init__(self, protocol: AgentProtocol, retriever: Retriever, config: AgentConfig, recorder: Recorder) -> None:
        self.protocol, self.retriever, self.config, self.recorder = protocol, retriever, config, recorder
        self.phrases: list[str] = []
        if protocol.guided:
            known = retriever.catalogue.phrases()
            self.phrases = sorted(known, key=lambda phrase: (-len(known[phrase]), phrase))
            if not self.phrases:
                raise ConfigError(
                    "A guided run chooses its preferences from phrases that the catalogue knows, and it knows none: "
                    "its items have no category, tags or year. Add such a column to the item file, or run unguided."
                )

    async def prepare(self, state: AgentState) -> AgentState:
        """Take a request, empty what the last one left, and open the conversation."""
        started = perf_counter()
        history = _item_ids(state.get("history"))
        message, where, lineage = state.get("message"), state.get("where"), state.get("lineage") or Lineage()
        run_id = _uuid("run_id", lineage.get("run_id")) or str(uuid4())
        try:
            own = await self._retrieve(history, None, where, self.config.k)
        except RetrieverUnavailableError as error:
            await self.recorder.start_run(self._run_record(run_id, history, message, where, lineage))
            spent_ms = (perf_counter() - started) * 1000
            await self.recorder.finish_run(
                UUID(run_id), RunOutcome(status="fallback", detail=str(error), latency_ms=spent_ms)
            )
            raise
        shown = [self._summary(item_id) for item_id in history[-self.config.max_history :]]
        ending: Ending | None = None
        conversation: dict[str, Any] = {}
        try:
            async with asyncio.timeout(max(1.0, self.config.max_seconds)):
                conversation = dict(await self.protocol.open(Briefing(history=shown, message=message, k=self.config.k)))
        except PolicyError as error:
            ending = Ending(status="fallback", detail=str(error))
        except TimeoutError:
            ending = Ending(status="fallback", detail=f"no answer in {self.config.max_seconds:g} seconds")
        await self.recorder.start_run(self._run_record(run_id, history, message, where, lineage))
        request = {
            "history": history,
            "where": where,
            "seed": lineage.get("seed"),
            "turn_seeds": lineage.get("turn_seeds", "hashed"),
            "phrases": self._phrases_for(history),
            "own_ranking": [{"item_id": item.id, "score": item.score} for item in own],
            "spent_ms": (perf_counter() - started) * 1000,
        }
        return {
            "history": history,
            "message": None,
            "where": None,
            "lineage": None,
            "run_id": run_id,
            "status": "running",
            "detail": None,
            "recommendations": [],
            "unenforced": list(own.unenforced),
            "request": request,
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
        """Let the model think, and read whether it searches or ranks."""
        started = perf_counter()
        update = await self._turn(
            state, "reason", lambda: self.protocol.reason(state["conversation"], self._allowance(state))
        )
        ending, decision = update["ending"], update["decision"]
        if ending is None and decision["action"] == "malformed":
            count = update["malformed_count"] = state["malformed_count"] + 1
            if count > self.config.max_malformed:
                ending = _malformed(count, decision["detail"])
            else:
                ending = self._spent({**state, **update}, started) or await self._correct(state, update)
        asks_more = ending is None and decision["action"] == "retrieve"
        if asks_more and state["retrieval_count"] >= self.config.max_retrievals:
            ending = _budget(f"all {self.config.max_retrievals} retrievals spent")
        return {**update, "ending": ending, "request": _tick(state, started)}

    async def retrieve(self, state: AgentState) -> AgentState:
        """Ask the recommender, number what is new, and show it to the model."""
        started = perf_counter()
        run_id, position = UUID(state["run_id"]), state["retrieval_count"]
        request, preference = state["request"], state["decision"]["preference"]
        record = await self.recorder.load_retrieval(run_id, position)
        failure: str | None = None
        if record is None:
            found = Retrieved([])
            try:
                found = await self._retrieve(request["history"], preference, request["where"], self.config.retrieve_k)
            except RetrieverUnavailableError as error:
                failure = str(error)
            record = RetrievalRecord(
                position=position,
                turn=state["turn_count"] - 1,
                preference=preference,
                k=self.config.retrieve_k,
                items=tuple(found),
                unenforced=found.unenforced,
                latency_ms=(perf_counter() - started) * 1000,
                detail=failure,
            )
            await self.recorder.record_retrieval(run_id, record)
        candidates = merge_candidates(state["candidates"], record)
        update: AgentState = {
            "candidates": candidates,
            "retrieval_count": position + 1,
            "preferences": [*state["preferences"], preference],
            "unenforced": sorted({*state["unenforced"], *record.unenforced}),
        }
        if record.detail is not None:
            ending: Ending | None = Ending(status="fallback", detail=record.detail)
        else:
            numbers = {candidate["item_id"]: number for number, candidate in enumerate(candidates, start=1)}
            lines = [(numbers[item.id], self._summary(item.id)) for item in record.items]
            ending = await self._say(state, update, lambda: self.protocol.observe(state["conversation"], lines))
        ending = ending or self._spent({**state, **update}, started)
        return {**update, "ending": ending, "request": _tick(state, started)}

    async def rank(self, state: AgentState) -> AgentState:
        """Have the final list: the one that the model has written already, or the one that it is now asked for."""
        started = perf_counter()
        update: AgentState = {"ending": state["ending"]}
        decision = state["decision"]
        is_written = decision["action"] == "recommend" and decision["numbers"]
        while not is_written and self._seconds_left(state) > 0:
            update |= await self._ask_for_list(state)
            decision = update["decision"]
            if decision["action"] != "malformed":
                break
            count = update["malformed_count"] = state["malformed_count"] + 1
            ending = None if count <= self.config.max_malformed else _malformed(count, decision["detail"])
            ending = ending or await self._correct(state, update)
            if ending is not None:
                update["ending"] = state["ending"] or ending
                break
            state, started = {**state, **update, "request": _tick(state, started)}, perf_counter()
        written, ungrounded = ground(decision.get("numbers", ()), state["candidates"])
        return {
            **update,
            "written": [asdict(place) for place in written],
            "ungrounded": ungrounded + decision.get("unread", 0),
            "request": _tick(state, started),
        }

    async def _ask_for_list(self, state: AgentState) -> AgentState:
        numbers = range(1, len(state["candidates"]) + 1)
        allowance = self._allowance(state, is_ranking=True)
        return await self._turn(
            state, "rank", lambda: self.protocol.rank(state["conversation"], numbers, self.config.k, allowance)
        )

    async def finish(self, state: AgentState) -> AgentState:
        """Fill the list, say how the run ended, and close it in the log."""
        started = perf_counter()
        ending = state["ending"]
        status: Outcome = ending["status"] if ending else "finished"
        detail = ending["detail"] if ending else None
        written = [RecommendationRecord(**place) for place in state["written"]]
        filled = fill_list(
            written,
            state["candidates"],
            state["request"]["own_ranking"],
            k=self.config.k,
            fallback=status == "fallback",
        )
        await self.recorder.finish_run(
            UUID(state["run_id"]),
            RunOutcome(
                status=status,
                detail=detail,
                written=tuple(written),
                recommended=tuple(filled),
                ungrounded=state["ungrounded"],
                latency_ms=_tick(state, started)["spent_ms"],
            ),
        )
        return {
            "status": status,
            "detail": detail,
            "recommendations": [
                {
                    "rank": place.rank,
                    "item_id": place.item_id,
                    "title": self.retriever.catalogue.item(place.item_id).title,
                    "retrieval": place.retrieval,
                    "score": place.score,
                    "source": place.source,
                }
                for place in filled
            ],
        }

    async def _turn(self, state: AgentState, node: Node, call: Callable[[], Awaitable[Turn]]) -> AgentState:
        """One call of the policy, from the log if it is there; a failure is logged as a turn too."""
        started = perf_counter()
        run_id, position = UUID(state["run_id"]), state["turn_count"]
        record = await self.recorder.load_turn(run_id, position)
        failure = record.detail if record is not None and record.action == "unavailable" else None
        turn: Turn | None = None
        is_full = False
        if failure is None:
            try:
                async with asyncio.timeout(max(1.0, self._seconds_left(state))):
                    turn = self.protocol.replay(state["conversation"], record) if record is not None else await call()
                turn = _judged(turn, state)
            except ContextFullError as error:
                failure, is_full = str(error), True
            except PolicyError as error:
                failure = str(error)
            except TimeoutError:
                failure = "no answer within the time of the run"
        if record is None:
            if turn is None:
                record = TurnRecord(
                    position=position,
                    node=node,
                    action="unavailable",
                    detail=failure,
                    latency_ms=(perf_counter() - started) * 1000,
                )
            else:
                named, _ = ground(turn.decision.numbers, state["candidates"])
                record = record_of(turn, position=position, node=node, items=tuple(place.item_id for place in named))
            await self.recorder.record_turn(run_id, record)
        if turn is None:
            if is_full:
                ending = _budget("the context is full")
            elif _tick(state, started)["spent_ms"] >= self.config.max_seconds * 1000:
                ending = _budget(
                    f"all {self.config.max_seconds:g} seconds spent, the last of them waiting for the model"
                )
            else:
                ending = Ending(status="fallback", detail=str(failure))
            return {"decision": {"action": "unavailable"}, "ending": ending, "turn_count": position + 1}
        return {
            "ending": state["ending"],
            "conversation": dict(turn.conversation),
            "decision": asdict(turn.decision),
            "turn_count": position + 1,
            "spent_tokens": state["spent_tokens"] + turn.completion_tokens,
        }

    async def _correct(self, state: AgentState, update: AgentState) -> Ending | None:
        """Say what was malformed in the turn that `update` holds."""
        why = update["decision"]["detail"]
        return await self._say(state, update, lambda: self.protocol.correct(update["conversation"], why))

    async def _say(self, state: AgentState, update: AgentState, say: Callable[[], Awaitable[Any]]) -> Ending | None:
        """Append to the conversation; what ends the run when there is no room, no server or no time."""
        try:
            async with asyncio.timeout(max(1.0, self._seconds_left(state))):
                conversation = await say()
        except PolicyError as error:
            return Ending(status="fallback", detail=str(error))
        except TimeoutError:
            return _budget(f"all {self.config.max_seconds:g} seconds spent")
        if conversation is None:
            return _budget("the context is full")
        update["conversation"] = dict(conversation)
        return None

    async def _retrieve(self, history: Sequence[str], preference: str | None, where: Any, k: int) -> Retrieved:
        for attempt in range(1, RETRIEVER_ATTEMPTS + 1):
            try:
                return await asyncio.to_thread(
                    self.retriever.retrieve, history, preference, k=k, trust=self.config.trust, where=where
                )
            except RETRIEVER_FAULTS as error:
                if attempt == RETRIEVER_ATTEMPTS:
                    raise RetrieverUnavailableError(
                        f"The recommender failed {attempt} times, at last with {type(error).__name__}: {error}"
                    ) from error
                await asyncio.sleep(0.1 * attempt)
        raise AssertionError("unreachable")

    def _allowance(self, state: AgentState, *, is_ranking: bool = False) -> Allowance:
        request = state["request"]
        # A spent token budget ends the exploration; the list that follows may still be written.
        tokens_left = self.config.max_tokens - (0 if is_ranking else state["spent_tokens"])
        used = {phrase for preference in state["preferences"] for phrase in preference.split("; ")}
        searches = self.config.max_retrievals - state["retrieval_count"]
        return Allowance(
            phrases=[phrase for phrase in request["phrases"] if phrase not in used] if searches > 0 else [],
            may_rank=state["retrieval_count"] >= self.config.min_retrievals,
            max_tokens=max(1, min(self.config.max_turn_tokens, tokens_left)),
            timeout_s=max(1.0, self._seconds_left(state)),
            # A checkpoint written before the rule was named goes on with the seeds that its run began with.
            seed=None
            if request["seed"] is None
            else turn_seed(request["seed"], state["turn_count"], request.get("turn_seeds", "counted")),
        )

    def _seconds_left(self, state: AgentState) -> float:
        return self.config.max_seconds - float(state["request"]["spent_ms"]) / 1000

    def _spent(self, state: AgentState, started: float) -> Ending | None:
        """The budget that ends the exploration, if one does."""
        if state["turn_count"] >= self.config.max_turns:
            return _budget(f"all {self.config.max_turns} turns spent")
        if state["spent_tokens"] >= self.config.max_tokens:
            return _budget(f"all {self.config.max_tokens:,} tokens spent")
        if _tick(state, started)["spent_ms"] >= self.config.max_seconds * 1000:
            return _budget(f"all {self.config.max_seconds:g} seconds spent")
        return None

    def _phrases_for(self, history: Sequence[str]) -> list[str]:
        """What a guided policy may say of this person: mostly what is true of their history."""
        if not self.phrases:
            return []
        known = set(self.phrases)
        phrases_of = self.retriever.catalogue.phrases_of
        counts = Counter(phrase for item_id in history for phrase in phrases_of(item_id) if phrase in known)
        own = [phrase for phrase, _ in counts.most_common()]
        return list(dict.fromkeys([*own, *self.phrases]))[:MAX_GUIDED_VOCABULARY]

    def _summary(self, item_id: str) -> str:
        return neutralise(self.retriever.catalogue.summary(item_id, MAX_SUMMARY_CHARS), MAX_SUMMARY_CHARS)

    def _run_record(
        self, run_id: str, history: list[str], message: str | None, where: Any, lineage: Lineage
    ) -> RunRecord:
        parent = _uuid("parent_id", lineage.get("parent_id"))
        rule = {} if lineage.get("turn_seeds") == "counted" else {"turn_seeds": "hashed"}  # older runs name none
        return RunRecord(
            run_id=UUID(run_id),
            user_id=lineage.get("user_id"),
            history=tuple(history),
            message=message,
            target_id=lineage.get("target_id"),
            protocol=self.protocol.name,
            protocol_version=self.protocol.version,
            prompt_version=PROMPT_VERSION,
            guided=self.protocol.guided,
            k=self.config.k,
            trm_fingerprint=self.retriever.fingerprint,
            trm_holdout=self.retriever.holdout,
            dataset_fingerprint=self.retriever.dataset_fingerprint,
            config={**asdict(self.config), "where": where, **rule},
            seed=lineage.get("seed"),
            split=lineage.get("split"),
            suite=lineage.get("suite"),
            system=lineage.get("system"),
            group_id=lineage.get("group_id"),
            parent_id=UUID(parent) if parent else None,
            fork=lineage.get("fork"),
            versions=_versions(),
            **self.protocol.lineage(),
        )


def _item_ids(history: object) -> list[str]:
    if history is None:
        return []
    if isinstance(history, str) or not isinstance(history, Sequence) or not all(isinstance(i, str) for i in history):
        raise ConfigError(f"`history` must be a list of item ids as strings; got {str(history)[:80]!r}.")
    return list(history)


def _uuid(name: str, value: str | None) -> str | None:
    try:
        return None if value is None else str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"lineage[{name!r}] is {str(value)[:80]!r}, which is no UUID. Pass str(uuid.uuid4())."
        ) from None


def _malformed(count: int, detail: str) -> Ending:
    return Ending(status="malformed", detail=f"{count} malformed outputs, the last: {detail}")


def _budget(detail: str) -> Ending:
    return Ending(status="budget", detail=detail)


def _judged(turn: Turn, state: AgentState) -> Turn:
    """A list before the first search names nothing: that is malformed, however well it is written."""
    if turn.decision.action != "recommend" or state["candidates"]:
        return turn
    why = "a list before anything was retrieved"
    return replace(turn, decision=replace(turn.decision, action="malformed", numbers=(), unread=0, detail=why))


def _tick(state: AgentState, started: float) -> dict[str, Any]:
    """The request with the node's own time added: what waits for a person in between does not count."""
    request = state["request"]
    return {**request, "spent_ms": request["spent_ms"] + (perf_counter() - started) * 1000}


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in ("deeprec-agent", "langgraph", "langchain-core", "openai", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
