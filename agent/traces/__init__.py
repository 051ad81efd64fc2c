"""The trace store."""

from deeprec.agent.traces.codec import decode_logprobs, decode_tokens, encode_logprobs, encode_tokens
from deeprec.agent.traces.frames import Traces
from deeprec.agent.traces.preferences import PreferenceExport, export_preferences
from deeprec.agent.traces.recorder import NullRecorder, Recorder, SqlRecorder
from deeprec.agent.traces.records import (
    LoggedPreference,
    RecommendationRecord,
    RetrievalRecord,
    RewardRecord,
    RunOutcome,
    RunPreferences,
    RunRecord,
    RunSummary,
    RunTrace,
    StoredSteps,
    TraceStoreError,
    TurnRecord,
)
from deeprec.agent.traces.redaction import RedactReport, redact_person
from deeprec.agent.traces.render import Titles, render_run, visible
from deeprec.agent.traces.retention import PruneReport, PruneRules, pin_runs, prune_runs
from deeprec.agent.traces.store import RunFilter, RunNotFoundError, StepConflictError, TraceStore
from deeprec.agent.traces.views import ComparisonView, RunView

__all__ = [
    "ComparisonView",
    "LoggedPreference",
    "NullRecorder",
    "PreferenceExport",
    "PruneReport",
    "PruneRules",
    "RecommendationRecord",
    "Recorder",
    "RedactReport",
    "RetrievalRecord",
    "RewardRecord",
    "RunFilter",
    "RunNotFoundError",
    "RunOutcome",
    "RunPreferences",
    "RunRecord",
    "RunSummary",
    "RunTrace",
    "RunView",
    "SqlRecorder",
    "StepConflictError",
    "StoredSteps",
    "Titles",
    "TraceStore",
    "TraceStoreError",
    "Traces",
    "TurnRecord",
    "decode_logprobs",
    "decode_tokens",
    "encode_logprobs",
    "encode_tokens",
    "export_preferences",
    "pin_runs",
    "prune_runs",
    "redact_person",
    "render_run",
    "visible",
]
