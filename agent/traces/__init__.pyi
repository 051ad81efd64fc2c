from .admin.disk_usage import Reclaimed as Reclaimed
from .admin.redaction import RedactReport as RedactReport, redact_person as redact_person
from .admin.retention import (
    PruneReason as PruneReason,
    PruneReport as PruneReport,
    PruneRules as PruneRules,
    pin_runs as pin_runs,
    prune_runs as prune_runs,
)
from .conversation_records import (
    ConversationSummary as ConversationSummary,
    ConversationTrace as ConversationTrace,
    ConversationTurn as ConversationTurn,
    Reaction as Reaction,
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
from .export.requests import (
    RequestExport as RequestExport,
    export_requests as export_requests,
    read_choices as read_choices,
)
from .frames.traces import Traces as Traces
from .records import (
    PARTS as PARTS,
    CaseRecord as CaseRecord,
    ChainTurn as ChainTurn,
    Part as Part,
    RecommendationRecord as RecommendationRecord,
    RetrievalRecord as RetrievalRecord,
    RewardRecord as RewardRecord,
    RunChain as RunChain,
    RunOutcome as RunOutcome,
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
from .store.conversations import (
    ConversationFilter as ConversationFilter,
    ConversationNotFoundError as ConversationNotFoundError,
)
from .store.filters import RunFilter as RunFilter, RunNotFoundError as RunNotFoundError
from .store.recorder import (
    ConversationRecorder as ConversationRecorder,
    NullRecorder as NullRecorder,
    Recorder as Recorder,
    SqlRecorder as SqlRecorder,
)
from .store.run_pairs import (
    RunPair as RunPair,
    pair_sets as pair_sets,
    read_pairs as read_pairs,
    write_pairs as write_pairs,
)
from .store.snapshot import RunCount as RunCount, Snapshot as Snapshot
from .store.store import (
    TraceStore as TraceStore,
)
from .store.writes import StepConflictError as StepConflictError
