from .diagnosis.diagnose import diagnose as diagnose
from .diagnosis.order_dependence import (
    OrderDependence as OrderDependence,
    Overlap as Overlap,
    ShownRun as ShownRun,
    measure_order as measure_order,
)
from .diagnosis.plots import (
    plot_ceiling as plot_ceiling,
    plot_cost as plot_cost,
    plot_diagnosis as plot_diagnosis,
    plot_endings as plot_endings,
    plot_positions as plot_positions,
)
from .diagnosis.records import (
    CeilingPoint as CeilingPoint,
    CopyFigures as CopyFigures,
    CostFigures as CostFigures,
    Diagnosis as Diagnosis,
    Ending as Ending,
    ListFigures as ListFigures,
    MisheardPhrase as MisheardPhrase,
    PositionFigures as PositionFigures,
    PreferenceFigures as PreferenceFigures,
    TargetFigures as TargetFigures,
    WordFigures as WordFigures,
    WorthReading as WorthReading,
)
from .example_runs import make_example_runs as make_example_runs
from .metrics.heard_words import (
    HeardWords as HeardWords,
    compare_with_words as compare_with_words,
    make_support_reward as make_support_reward,
)
from .metrics.ranking import (
    Interval as Interval,
    average_precision as average_precision,
    clustered_interval as clustered_interval,
    mean_interval as mean_interval,
    ndcg_at_k as ndcg_at_k,
    ndcg_from_ranks as ndcg_from_ranks,
    paired_interval as paired_interval,
    recall_at_k as recall_at_k,
    recall_from_ranks as recall_from_ranks,
    reciprocal_from_ranks as reciprocal_from_ranks,
    reciprocal_rank as reciprocal_rank,
    target_ranks as target_ranks,
)
from .metrics.rewards import (
    FORMAT_ERROR as FORMAT_ERROR,
    REWARD_SCHEME as REWARD_SCHEME,
    Reward as Reward,
    format_fault as format_fault,
    format_reward as format_reward,
    found_reward as found_reward,
    hit_reward as hit_reward,
    invocation_reward as invocation_reward,
    make_diversity_reward as make_diversity_reward,
    make_rewards as make_rewards,
    make_similarity_reward as make_similarity_reward,
    rank_reward as rank_reward,
    score_run as score_run,
)
from .metrics.run_metrics import (
    MeasureList as MeasureList,
    make_list_measures as make_list_measures,
    measure_run as measure_run,
    names_target as names_target,
    ranks_from_reciprocals as ranks_from_reciprocals,
)
from .metrics.statistics import (
    holm as holm,
    randomisation_test as randomisation_test,
    smallest_difference as smallest_difference,
)
from .metrics.streaming import Spread as Spread, proportion_interval as proportion_interval
from .recommenders.evaluation import (
    SystemScores as SystemScores,
    TRMEvaluation as TRMEvaluation,
    evaluate_systems as evaluate_systems,
    evaluate_trm as evaluate_trm,
)
from .recommenders.requests import (
    RequestEvaluation as RequestEvaluation,
    RequestScores as RequestScores,
    evaluate_requests as evaluate_requests,
)
from .recommenders.written_preferences import (
    WrittenEvaluation as WrittenEvaluation,
    WrittenScores as WrittenScores,
    evaluate_written as evaluate_written,
    written_table as written_table,
)
from .requests.agent_requests import make_agent_request as make_agent_request, run_seed as run_seed
from .requests.cases import Case as Case, make_cases as make_cases
from .requests.leaks import (
    TrainedRecommender as TrainedRecommender,
    check_cases as check_cases,
    check_disjoint as check_disjoint,
    check_holdout as check_holdout,
    check_request_cases as check_request_cases,
)
from .requests.request_cases import RequestCases as RequestCases, make_request_cases as make_request_cases
from .simulation.cart_requests import CartRequest as CartRequest
from .simulation.conversations import (
    AgentReply as AgentReply,
    ConversingAgent as ConversingAgent,
    run_conversations as run_conversations,
)
from .simulation.drawn_needs import (
    DrawnNeed as DrawnNeed,
    NeedConfig as NeedConfig,
    make_need_cards as make_need_cards,
)
from .simulation.environment import (
    SimulationEnvironment as SimulationEnvironment,
    simulation_rows as simulation_rows,
)
from .simulation.graph_agent import make_graph_agent as make_graph_agent
from .simulation.model_voice import ModelVoice as ModelVoice, make_model_voice as make_model_voice
from .simulation.need_card import Need as Need, NeedCard as NeedCard
from .simulation.outcomes import (
    ConversationOutcome as ConversationOutcome,
    compare_conversations as compare_conversations,
    measure_conversations as measure_conversations,
)
from .simulation.person import (
    PersonConfig as PersonConfig,
    Reply as Reply,
    ShownItem as ShownItem,
    SimulatedPerson as SimulatedPerson,
    Utterance as Utterance,
)
from .simulation.person_words import (
    TEST_PERSON_WORDS as TEST_PERSON_WORDS,
    TRAINING_PERSON_WORDS as TRAINING_PERSON_WORDS,
    PersonWords as PersonWords,
)
from .simulation.plain_agents import (
    make_all_messages_agent as make_all_messages_agent,
    make_last_message_agent as make_last_message_agent,
    make_model_agent as make_model_agent,
)
from .simulation.target_leaks import find_target_leaks as find_target_leaks
from .suites.comparison import (
    Difference as Difference,
    compare_all as compare_all,
    compare_slices as compare_slices,
    compare_systems as compare_systems,
)
from .suites.harness import run_suite as run_suite
from .suites.progress import SuiteProgress as SuiteProgress
from .suites.report import SuiteReport as SuiteReport, make_report as make_report
from .suites.report_page import key_plot as key_plot, render_html as render_html
from .suites.results import SuiteResults as SuiteResults, SystemResults as SystemResults, load_results as load_results
from .suites.served_runs import ServerLostError as ServerLostError, run_on_server as run_on_server
from .suites.suite import (
    Entry as Entry,
    Suite as Suite,
    load_suite as load_suite,
    packaged_suites as packaged_suites,
    suite_cases as suite_cases,
    suite_label as suite_label,
)
from .systems.baselines import (
    CoOccurrenceConfig as CoOccurrenceConfig,
    make_cooccurrence_scorer as make_cooccurrence_scorer,
    make_popularity_scorer as make_popularity_scorer,
)
from .systems.recommender_variants import HistoryOnly as HistoryOnly, ShuffledHistoryOnly as ShuffledHistoryOnly
from .systems.setting import Setting as Setting
from .systems.suite_systems import (
    SYSTEMS as SYSTEMS,
    AgentSystem as AgentSystem,
    AnySystem as AnySystem,
    DerivedSystem as DerivedSystem,
    fused_ranking as fused_ranking,
)
from .systems.system import (
    System as System,
    all_attributes as all_attributes,
    make_filter_system as make_filter_system,
    make_recommender_system as make_recommender_system,
    make_system as make_system,
    make_trm_system as make_trm_system,
)

__version__: str
