"""The trace store."""

from deeprec.agent.traces.codec import decode_logprobs, decode_tokens, encode_logprobs, encode_tokens
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
from deeprec.agent.traces.render import Titles, render_run, visible
from deeprec.agent.traces.store import RunFilter, RunNotFoundError, StepConflictError, TraceStore

__all__ = [
    "LoggedPreference",
    "NullRecorder",
    "PreferenceExport",
    "RecommendationRecord",
    "Recorder",
    "RetrievalRecord",
    "RewardRecord",
    "RunFilter",
    "RunNotFoundError",
    "RunOutcome",
    "RunPreferences",
    "RunRecord",
    "RunSummary",
    "RunTrace",
    "SqlRecorder",
    "StepConflictError",
    "StoredSteps",
    "Titles",
    "TraceStore",
    "TraceStoreError",
    "TurnRecord",
    "decode_logprobs",
    "decode_tokens",
    "encode_logprobs",
    "encode_tokens",
    "export_preferences",
    "render_run",
    "visible",
]
