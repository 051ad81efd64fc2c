"""Runs as OpenTelemetry spans in the GenAI conventions, so that Phoenix, Langfuse or any OTLP backend shows them.

One `invoke_agent deeprec` a run, under the caller's own span where there is one; below it a `text_completion MODEL` (or
`chat MODEL`) for each call of the policy and an `execute_tool retrieve_items` for each call of the recommender. What
people and models wrote, and which items they were about, is left out unless it is asked for.

Source:
    OpenTelemetry semantic conventions for generative AI, 1.41 (in development): agent, inference and tool spans.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from deeprec.agent.traces.conversation_records import ConversationTurn
from deeprec.agent.traces.export.spans import (
    AGENT,
    TOOL,
    outcome_attributes,
    retrieval_attributes,
    run_attributes,
    turn_attributes,
    turn_operation,
)
from deeprec.agent.traces.records import RetrievalRecord, RunOutcome, RunRecord, TurnRecord
from deeprec.agent.traces.store.recorder import ConversationRecorder
from deeprec.agent.traces.store.schema import Retrieval, Turn
from deeprec.agent.traces.store.store import TraceStore
from deeprec.trm_tool.errors import ConfigError

MAX_OPEN_RUNS = 1024
"""Unfinished runs whose root span is kept open; beyond it the oldest is ended as it is."""
_FAILED = {"malformed", "fallback", "ungrounded", "truncated", "refused", "filtered", "aborted"}
_log = logging.getLogger(__name__)


def require_otel() -> Any:
    """The module `opentelemetry.trace`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from opentelemetry import trace
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Spans need OpenTelemetry, which is not installed. Install it with: pip install 'deeprec-agent[otel]'"
        ) from error
    return trace


@dataclass(slots=True)
class _OpenRun:
    """A run whose root span has not ended, and the clock that its spans share: it never jumps."""

    record: RunRecord
    span: Any
    wall_ns: int
    steady_ns: int
    totals: dict[str, int] = field(default_factory=lambda: {"turns": 0, "retrievals": 0, "input": 0, "output": 0})

    def at(self, steady_ns: int) -> int:
        return self.wall_ns + steady_ns - self.steady_ns

    def count(self, turn: TurnRecord) -> None:
        self.totals["turns"] += 1
        self.totals["input"] += turn.prompt_tokens
        self.totals["output"] += turn.completion_tokens


class OtelRecorder:
    """Forwards to another recorder, and makes a span of everything that passes.

    Spans never stop a run: what fails is logged once. They are handed to the provider when a step ends. A provider that
    exports in batches (`make_provider` makes one) costs a run microseconds, also when its endpoint is unavailable.
    Steps of a run that this recorder did not see start (resumed in another process) make no spans; `export_spans` makes
    them from the store.
    """

    def __init__(self, inner: ConversationRecorder, tracer_provider: Any = None, *, with_content: bool = False) -> None:
        """Wrap a recorder.

        Args:
            inner: where the run is logged; its reads are used as they are.
            tracer_provider: makes the spans; the process' own by default.
            with_content: add what people and models wrote, ids of items and of the person.
        Raises:
            ConfigError: OpenTelemetry is not installed.
        """
        trace = require_otel()
        self._inner = inner
        self._tracer = (tracer_provider or trace.get_tracer_provider()).get_tracer("deeprec")
        self._with_content = with_content
        self._open: dict[UUID, _OpenRun] = {}
        self._has_failed = False

    async def start_run(self, record: RunRecord) -> None:
        """Open a run, and its root span.

        Raises:
            StepConflictError: the run id is another request's.
        """
        wall_ns, steady_ns = time.time_ns(), time.perf_counter_ns()
        await self._inner.start_run(record)
        if record.run_id in self._open:
            return
        try:
            span = self._tracer.start_span(
                AGENT, attributes=run_attributes(record, self._with_content), start_time=wall_ns
            )
            self._open[record.run_id] = _OpenRun(record, span, wall_ns, steady_ns)
            while len(self._open) > MAX_OPEN_RUNS:
                self._open.pop(next(iter(self._open))).span.end()
        except Exception as error:
            self._fail(error)

    async def load_turn(self, run_id: UUID, position: int) -> TurnRecord | None:
        """The turn of a run that is already stored at a position; None if none is."""
        return await self._inner.load_turn(run_id, position)

    async def load_retrieval(self, run_id: UUID, position: int) -> RetrievalRecord | None:
        """The retrieval of a run that is already stored at a position; None if none is."""
        return await self._inner.load_retrieval(run_id, position)

    async def record_turn(self, run_id: UUID, turn: TurnRecord) -> None:
        """Log one call of the policy, and make its span."""
        now = time.perf_counter_ns()
        await self._inner.record_turn(run_id, turn)
        run = self._open.get(run_id)
        if run is not None:
            try:
                run.count(turn)
                _turn_span(self._tracer, run.span, run.record, turn, run.at(now), run.wall_ns, self._with_content)
            except Exception as error:
                self._fail(error)

    async def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        """Log one call of the recommender, and make its span."""
        now = time.perf_counter_ns()
        await self._inner.record_retrieval(run_id, retrieval)
        run = self._open.get(run_id)
        if run is not None:
            try:
                run.totals["retrievals"] += 1
                _retrieval_span(self._tracer, run.span, retrieval, run.at(now), run.wall_ns, self._with_content)
            except Exception as error:
                self._fail(error)

    async def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        """Close a run with its lists, and end its root span."""
        now = time.perf_counter_ns()
        await self._inner.finish_run(run_id, outcome)
        run = self._open.pop(run_id, None)
        if run is not None:
            try:
                _end_run(run.span, outcome, run.totals, run.at(now), self._with_content)
            except Exception as error:
                self._fail(error)

    async def record_conversation_turn(self, turn: ConversationTurn) -> None:
        """Log one turn of a conversation. It makes no span: the run of its search has one."""
        await self._inner.record_conversation_turn(turn)

    def _fail(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            _log.warning("Spans cannot be made: %s. The runs go on without them.", error)


def export_spans(
    store: TraceStore, runs: Sequence[UUID | str], tracer_provider: Any, *, with_content: bool = False
) -> int:
    """Make the spans of stored runs, with the times at which they happened.

    Args:
        store: where they are.
        runs: ids, or as much of their beginnings as is unique.
        tracer_provider: makes the spans.
        with_content: as for `OtelRecorder`.
    Returns:
        how many spans were made.
    Raises:
        RunNotFoundError: one of them names no run, or several; no span was made.
        ConfigError: OpenTelemetry is not installed.
    """
    require_otel()
    from opentelemetry.context import Context

    tracer = tracer_provider.get_tracer("deeprec")
    traces = [store.run(run) for run in runs]
    made = 0
    for trace in traces:
        turn_ends, retrieval_ends = _ends(store, trace.run.run_id)
        start = _ns(trace.started_at)
        ends = [start, *turn_ends.values(), *retrieval_ends.values()]
        span = tracer.start_span(
            AGENT, context=Context(), attributes=run_attributes(trace.run, with_content), start_time=start
        )
        run = _OpenRun(trace.run, span, start, 0)
        for turn in trace.turns:
            run.count(turn)
            _turn_span(tracer, span, trace.run, turn, turn_ends[turn.position], start, with_content)
        for retrieval in trace.retrievals:
            _retrieval_span(tracer, span, retrieval, retrieval_ends[retrieval.position], start, with_content)
        run.totals["retrievals"] = len(trace.retrievals)
        made += 1 + len(trace.turns) + len(trace.retrievals)
        if trace.status == "running":
            span.set_attribute("deeprec.run.status", trace.status)
            span.end(max(ends))
            continue
        outcome = RunOutcome(
            status=trace.status,
            detail=trace.detail,
            written=trace.written,
            recommended=trace.recommended,
            ungrounded=trace.ungrounded,
            latency_ms=math.nan if trace.latency_ms is None else trace.latency_ms,
        )
        end = max(ends) if trace.finished_at is None else _ns(trace.finished_at)
        _end_run(span, outcome, run.totals, max(end, start), with_content)
    return made


def _turn_span(
    tracer: Any, parent: Any, record: RunRecord, turn: TurnRecord, end: int, earliest: int, with_content: bool
) -> None:
    kind, parts = require_otel().SpanKind.CLIENT, turn_attributes(record, turn, with_content)
    name = f"{turn_operation(record)} {parts['gen_ai.request.model']}"
    error = "unavailable" if turn.action == "unavailable" else None
    detail = turn.detail if with_content else None
    _step_span(tracer, parent, name, kind, parts, (end, turn.latency_ms, earliest), error, detail)


def _retrieval_span(
    tracer: Any, parent: Any, retrieval: RetrievalRecord, end: int, earliest: int, with_content: bool
) -> None:
    kind, parts = require_otel().SpanKind.INTERNAL, retrieval_attributes(retrieval, with_content)
    error = None if retrieval.detail is None else "unavailable"
    detail = retrieval.detail if with_content else None
    _step_span(tracer, parent, TOOL, kind, parts, (end, retrieval.latency_ms, earliest), error, detail)


def _step_span(
    tracer: Any,
    parent: Any,
    name: str,
    kind: Any,
    attributes: dict[str, Any],
    times: tuple[int, float, int],
    error: str | None,
    detail: str | None,
) -> None:
    end, latency_ms, earliest = times
    start = end if math.isnan(latency_ms) else end - int(latency_ms * 1e6)
    span = tracer.start_span(
        name,
        context=require_otel().set_span_in_context(parent),
        kind=kind,
        attributes=attributes,
        start_time=max(earliest, min(start, end)),
    )
    if error is not None:
        _mark(span, error, detail)
    span.end(max(earliest, end))


def _end_run(span: Any, outcome: RunOutcome, totals: dict[str, int], end: int, with_content: bool) -> None:
    span.set_attributes(outcome_attributes(outcome, totals, with_content))
    if outcome.status in _FAILED:
        _mark(span, outcome.status, outcome.detail if with_content else None)
    span.end(end)


def _mark(span: Any, error: str, detail: str | None) -> None:
    trace = require_otel()
    span.set_attribute("error.type", error)
    span.set_status(trace.Status(trace.StatusCode.ERROR, detail))


def _ends(store: TraceStore, run_id: UUID) -> tuple[dict[int, int], dict[int, int]]:
    """The times at which each turn and each retrieval was stored, by position, in nanoseconds since 1970."""
    with store.reading() as connection:
        turns, retrievals = (
            connection.execute(select(step.position, step.recorded_at).where(step.run_id == run_id)).all()
            for step in (Turn, Retrieval)
        )
    return {at: _ns(time) for at, time in turns}, {at: _ns(time) for at, time in retrievals}


def _ns(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000
