"""The trace store."""

from deeprec.agent.traces.analytic import export_parquet
from deeprec.agent.traces.codec import decode_logprobs, decode_tokens, encode_logprobs, encode_tokens
from deeprec.agent.traces.frames import Traces
from deeprec.agent.traces.interchange import TraceExport, TraceImport, export_jsonl, import_jsonl
from deeprec.agent.traces.otel import OtelRecorder, export_spans
from deeprec.agent.traces.outlines import PlaceOutline, RetrievalOutline, RunOutline, TurnOutline, read_outlines
from deeprec.agent.traces.preferences import PreferenceExport, export_preferences
from deeprec.agent.traces.recorder import NullRecorder, Recorder, SqlRecorder
from deeprec.agent.traces.records import (
    ChainTurn,
    LoggedPreference,
    RecommendationRecord,
    RetrievalRecord,
    RewardRecord,
    RunChain,
    RunOutcome,
    RunPreferences,
    RunRecord,
    RunSummary,
    RunTrace,
    TraceStoreError,
    TurnRecord,
)
from deeprec.agent.traces.redaction import RedactReport, redact_person
from deeprec.agent.traces.render import Titles, render_run, visible
from deeprec.agent.traces.retention import PruneReport, PruneRules, pin_runs, prune_runs
from deeprec.agent.traces.store import RunFilter, RunNotFoundError, StepConflictError, TraceStore
from deeprec.agent.traces.views import ComparisonDisplay, RunDisplay

__all__ = [
    "ChainTurn",
    "ComparisonDisplay",
    "LoggedPreference",
    "NullRecorder",
    "OtelRecorder",
    "PlaceOutline",
    "PreferenceExport",
    "PruneReport",
    "PruneRules",
    "RecommendationRecord",
    "Recorder",
    "RedactReport",
    "RetrievalOutline",
    "RetrievalRecord",
    "RewardRecord",
    "RunChain",
    "RunDisplay",
    "RunFilter",
    "RunNotFoundError",
    "RunOutcome",
    "RunOutline",
    "RunPreferences",
    "RunRecord",
    "RunSummary",
    "RunTrace",
    "SqlRecorder",
    "StepConflictError",
    "Titles",
    "TraceExport",
    "TraceImport",
    "TraceStore",
    "TraceStoreError",
    "Traces",
    "TurnOutline",
    "TurnRecord",
    "decode_logprobs",
    "decode_tokens",
    "encode_logprobs",
    "encode_tokens",
    "export_jsonl",
    "export_parquet",
    "export_preferences",
    "export_spans",
    "import_jsonl",
    "pin_runs",
    "prune_runs",
    "read_outlines",
    "redact_person",
    "render_run",
    "visible",
]
