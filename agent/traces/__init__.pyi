from .admin.redaction import RedactReport as RedactReport, redact_person as redact_person
from .admin.retention import (
    PruneReport as PruneReport,
    PruneRules as PruneRules,
    pin_runs as pin_runs,
    prune_runs as prune_runs,
)
from .export.json_lines import (
    TraceExport as TraceExport,
    TraceImport as TraceImport,
    export_jsonl as export_jsonl,
    import_jsonl as import_jsonl,
)
from .export.otel import OtelRecorder as OtelRecorder, export_spans as export_spans
from .export.parquet import export_parquet as export_parquet
from .export.preferences import PreferenceExport as PreferenceExport, export_preferences as export_preferences
from .frames.traces import Traces as Traces
from .records import (
    ChainTurn as ChainTurn,
    LoggedPreference as LoggedPreference,
    RecommendationRecord as RecommendationRecord,
    RetrievalRecord as RetrievalRecord,
    RewardRecord as RewardRecord,
    RunChain as RunChain,
    RunOutcome as RunOutcome,
    RunPreferences as RunPreferences,
    RunRecord as RunRecord,
    RunSummary as RunSummary,
    RunTrace as RunTrace,
    TraceStoreError as TraceStoreError,
    TurnRecord as TurnRecord,
)
from .store.codec import (
    decode_logprobs as decode_logprobs,
    decode_tokens as decode_tokens,
    encode_logprobs as encode_logprobs,
    encode_tokens as encode_tokens,
)
from .store.recorder import NullRecorder as NullRecorder, Recorder as Recorder, SqlRecorder as SqlRecorder
from .store.run_outlines import (
    PlaceOutline as PlaceOutline,
    RetrievalOutline as RetrievalOutline,
    RunOutline as RunOutline,
    TurnOutline as TurnOutline,
    read_outlines as read_outlines,
)
from .store.store import (
    RunFilter as RunFilter,
    RunNotFoundError as RunNotFoundError,
    StepConflictError as StepConflictError,
    TraceStore as TraceStore,
)
