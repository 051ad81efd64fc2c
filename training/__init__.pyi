from .ablation.ablation import run_ablation as run_ablation
from .ablation.plan import (
    AblationPlan as AblationPlan,
    AblationSize as AblationSize,
    load_ablation_plan as load_ablation_plan,
    packaged_ablations as packaged_ablations,
)
from .ablation.results import AblationResult as AblationResult
from .ablation.row_settings import (
    AblationRow as AblationRow,
    AblationTest as AblationTest,
    RowSettings as RowSettings,
    TrainingPart as TrainingPart,
)
from .ablation.table import AblatedRow as AblatedRow, AblationTable as AblationTable
from .demonstrations.collection import (
    DemonstrationConfig as DemonstrationConfig,
    Demonstrations as Demonstrations,
    collect_demonstrations as collect_demonstrations,
)
from .feedback.collection import (
    KnowledgeConfig as KnowledgeConfig,
    KnowledgeRuns as KnowledgeRuns,
    collect_knowledge as collect_knowledge,
)
from .feedback.feedback import FeedbackResult as FeedbackResult, run_feedback as run_feedback
from .feedback.feedback_config import FeedbackConfig as FeedbackConfig
from .feedback.feedback_report import (
    BackboneReport as BackboneReport,
    FeedbackReport as FeedbackReport,
    report_lines as report_lines,
)
from .feedback.knowledge import (
    Factor as Factor,
    Knowledge as Knowledge,
    catalogue_factors as catalogue_factors,
    read_knowledge as read_knowledge,
)
from .feedback.knowledge_cases import knowledge_cases as knowledge_cases
from .feedback.knowledge_runs import (
    KnowledgeRun as KnowledgeRun,
    as_written_preferences as as_written_preferences,
    read_knowledge_runs as read_knowledge_runs,
)
from .feedback.knowledge_scores import (
    KNOWLEDGE_SCHEME as KNOWLEDGE_SCHEME,
    KnowledgeScoring as KnowledgeScoring,
    score_knowledge as score_knowledge,
)
from .feedback.reranking import (
    RerankedRow as RerankedRow,
    first_items as first_items,
    pairwise_agreement as pairwise_agreement,
    reranked_ranks as reranked_ranks,
)
from .loop.config import (
    LoopConfig as LoopConfig,
    StagePlan as StagePlan,
    ValidationPlan as ValidationPlan,
    WarmStart as WarmStart,
    load_loop_config as load_loop_config,
    packaged_loops as packaged_loops,
)
from .loop.loop import LoopResult as LoopResult, run_loop as run_loop
from .pairs.export import export_pairs as export_pairs
from .pairs.pairing import (
    PairingReport as PairingReport,
    StoredReward as StoredReward,
    make_pairs as make_pairs,
)
from .pairs.rollout_pairs import RolloutPair as RolloutPair, read_rollout_pairs as read_rollout_pairs
from .rewards.custom import load_rewards as load_rewards
from .rewards.reward_tally import RewardFigures as RewardFigures
from .rewards.stage_rewards import (
    ScoringReport as ScoringReport,
    read_rewarded as read_rewarded,
    read_scored as read_scored,
    score_stored_runs as score_stored_runs,
)
from .rewards.stages import (
    REWARD_PRESETS as REWARD_PRESETS,
    StageReward as StageReward,
    stage_reward as stage_reward,
)
from .rewards.turn_credit import (
    PartCredit as PartCredit,
    credit_parts as credit_parts,
    credit_turns as credit_turns,
)
from .rewards.variance import VarianceShares as VarianceShares
from .rollouts.advantages import (
    GroupFaults as GroupFaults,
    RewardedRollout as RewardedRollout,
    ScoredRollout as ScoredRollout,
    TokenCredit as TokenCredit,
    advantages as advantages,
    score_groups as score_groups,
)
from .rollouts.collection import Collection as Collection, collect_groups as collect_groups
from .rollouts.export import RolloutExport as RolloutExport, export_rollouts as export_rollouts
from .rollouts.instances import Instance as Instance, Selection as Selection, select_instances as select_instances
from .rollouts.logprob_gap import (
    CurrentPolicy as CurrentPolicy,
    LogprobGap as LogprobGap,
    importance_ratios as importance_ratios,
    load_current_policy as load_current_policy,
)
from .rollouts.page import rollout_fragment as rollout_fragment
from .rollouts.request_instances import select_request_instances as select_request_instances
from .rollouts.rollout_filter import PolicyWeights as PolicyWeights
from .rollouts.rollouts import (
    Rollout as Rollout,
    RolloutError as RolloutError,
    read_rollouts as read_rollouts,
    rollout_from_run as rollout_from_run,
)
from .store_report.records import (
    Distance as Distance,
    GroupSizes as GroupSizes,
    PolicyRuns as PolicyRuns,
    RecommenderRuns as RecommenderRuns,
    Refusals as Refusals,
    StoreReport as StoreReport,
)
from .store_report.report import report_store as report_store
from .trainers.adapter_lineage import (
    AdapterLineage as AdapterLineage,
    read_lineage as read_lineage,
    write_lineage as write_lineage,
)
from .trainers.alarms import Alarm as Alarm
from .trainers.dpo import train_dpo as train_dpo
from .trainers.first_answers import FirstAnswer as FirstAnswer
from .trainers.grpo import train_grpo as train_grpo
from .trainers.model_folders import save_adapter as save_adapter
from .trainers.policy_model import PolicyModel as PolicyModel, load_policy as load_policy
from .trainers.sft import train_sft as train_sft
from .trainers.step_report import StepReport as StepReport, TrainingError as TrainingError
from .trainers.trainer_config import (
    AdapterConfig as AdapterConfig,
    DpoConfig as DpoConfig,
    GrpoConfig as GrpoConfig,
    SftConfig as SftConfig,
)

__version__: str
