from .cli.llm import wait_with_progress as wait_with_progress
from .graph.build import build_graph as build_graph, build_state_graph as build_state_graph
from .graph.config import AgentConfig as AgentConfig, make_agent_config as make_agent_config
from .graph.grounding import fill_list as fill_list, ground as ground
from .graph.many_runs import run_many as run_many, step_text as step_text
from .graph.outages import outage_counts as outage_counts
from .graph.partial_results import (
    FoundItem as FoundItem,
    FoundPart as FoundPart,
    ListedItem as ListedItem,
    ListPart as ListPart,
    PartialResult as PartialResult,
    PreferencePart as PreferencePart,
    ThoughtPart as ThoughtPart,
)
from .graph.rank_fusion import fuse_rankings as fuse_rankings
from .graph.recommend_tool import make_recommend_tool as make_recommend_tool
from .graph.recommender_calls import (
    ItemFilter as ItemFilter,
    RetrieverUnavailableError as RetrieverUnavailableError,
)
from .graph.resume import aresume_thread as aresume_thread, resume_thread as resume_thread
from .graph.state import (
    AgentInput as AgentInput,
    AgentOutput as AgentOutput,
    AgentState as AgentState,
    Candidate as Candidate,
    Ending as Ending,
    Failure as Failure,
    GuessedConstraint as GuessedConstraint,
    HardConstraint as HardConstraint,
    Lineage as Lineage,
    Nearest as Nearest,
    RankedItem as RankedItem,
    Recommended as Recommended,
    RunConstraints as RunConstraints,
    RunRequest as RunRequest,
)
from .graph.turn_seeds import SeedRule as SeedRule, derive_seed as derive_seed, turn_seed as turn_seed
from .policy.chat_model import make_chat_model as make_chat_model
from .policy.completion import (
    Completion as Completion,
    CompletionPolicy as CompletionPolicy,
    SamplingConfig as SamplingConfig,
    ServedModel as ServedModel,
)
from .policy.openai_endpoint import (
    PolicyAccessError as PolicyAccessError,
    PolicyError as PolicyError,
    PolicyRejectedError as PolicyRejectedError,
    PolicyUnavailableError as PolicyUnavailableError,
)
from .policy.token_policy import TokenPolicy as TokenPolicy
from .policy.weight_fingerprints import (
    fingerprint_adapter as fingerprint_adapter,
    fingerprint_base as fingerprint_base,
)
from .protocols.prompts import Prompts as Prompts
from .protocols.tagged import TaggedProtocol as TaggedProtocol
from .protocols.tagged_text import read_tagged as read_tagged
from .protocols.tool_messages import read_tool_calls as read_tool_calls
from .protocols.tools import ToolsProtocol as ToolsProtocol
from .protocols.turn import (
    AdjustableProtocol as AdjustableProtocol,
    AgentProtocol as AgentProtocol,
    Allowance as Allowance,
    Briefing as Briefing,
    Conversation as Conversation,
    Decision as Decision,
    PolicyLineage as PolicyLineage,
    Remark as Remark,
    RemarkingProtocol as RemarkingProtocol,
    Turn as Turn,
)
from .replay.replay import Replay as Replay, fork_run as fork_run, replay_run as replay_run
from .serving.adapter_loading import load_adapter as load_adapter
from .serving.model_server import (
    ModelServer as ModelServer,
    make_server as make_server,
    open_model_server as open_model_server,
)
from .serving.server_process import ServerError as ServerError, ServerProcess as ServerProcess
from .serving.servers import VllmServer as VllmServer
from .serving.shipped_adapter import (
    load_shipped_adapter as load_shipped_adapter,
    shipped_settings as shipped_settings,
)
from .serving.smollm2 import pull_embedded_model as pull_embedded_model
from .traces.admin.redaction import redact_person as redact_person
from .traces.admin.retention import PruneRules as PruneRules, pin_runs as pin_runs, prune_runs as prune_runs
from .traces.export.json_lines import export_jsonl as export_jsonl, import_jsonl as import_jsonl
from .traces.export.otel import OtelRecorder as OtelRecorder, export_spans as export_spans
from .traces.export.parquet import export_parquet as export_parquet
from .traces.frames.traces import Traces as Traces
from .traces.records import RunTrace as RunTrace, TraceStoreError as TraceStoreError
from .traces.store.filters import RunFilter as RunFilter
from .traces.store.recorder import NullRecorder as NullRecorder, SqlRecorder as SqlRecorder
from .traces.store.store import TraceStore as TraceStore
from .views.comparison import compare_runs as compare_runs
from .views.html.comparison_page import compare_html as compare_html
from .views.html.run_page import run_fragment as run_fragment, run_html as run_html
from .views.text.run import render_run as render_run
from .views.tokens import read_tokenizer as read_tokenizer
from .views.visible_text import visible as visible

__version__: str
