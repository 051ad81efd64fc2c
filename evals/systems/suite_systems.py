"""The systems that a suite can run. Adding one is a function here and its line in `SYSTEMS`.

A system is one of three kinds: something that scores the catalogue (`System`), an agent (`AgentSystem`), or a list
that is read out of the runs of another system (`DerivedSystem`), so that it costs no further call of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from deeprec.agent import AgentConfig, RunTrace, fuse_rankings
from deeprec.evals.requests.cases import Case
from deeprec.evals.suites.result_rows import SHUFFLED
from deeprec.evals.suites.suite import Suite
from deeprec.evals.systems.baselines import make_cooccurrence_scorer, make_popularity_scorer
from deeprec.evals.systems.system import System, all_attributes, make_system, make_trm_system
from deeprec.trm_tool import Artifact, ConfigError, Dataset, Encoder

PATIENCE_S = 7_200.0
"""Wall time of one run: many agents wait for one slow server, and the clock is not what is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What systems are made from."""

    suite: Suite
    dataset: Dataset
    artifact: Artifact
    encoder: Encoder
    cases: Sequence[Case]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSystem:
    """The graph with a language model."""

    config: AgentConfig
    hears_preference: bool = True
    """False: whatever the model writes, the recommender gets the history alone."""
    is_shuffled: bool = False
    """The model is shown what it finds in an order drawn for each user and seed; only where it hears no preference."""

    def __post_init__(self) -> None:
        if self.is_shuffled and self.hears_preference:
            raise ConfigError("A system with is_shuffled hears preferences: set hears_preference=False.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedSystem:
    """A list made from a stored run of another system of the suite; that run's searches and cost are its own too."""

    source: str
    """The system whose runs are read, by the name of its row; or the only one of the suite that is this system."""
    rank: Callable[[RunTrace], list[str]]
    """A run -> item ids, best first."""


AnySystem = System | AgentSystem | DerivedSystem


def popularity(setting: Setting) -> System:
    """Items by how often they were interacted with."""
    holdout = int(setting.artifact.config["holdout"])
    scorer = make_popularity_scorer(setting.dataset, holdout=holdout, catalogue=setting.artifact.catalogue)
    return make_system("popularity", scorer)


def cooccurrence(setting: Setting) -> System:
    """Items that stand near the latest of the history in other histories."""
    holdout = int(setting.artifact.config["holdout"])
    scorer = make_cooccurrence_scorer(setting.dataset, holdout=holdout, catalogue=setting.artifact.catalogue)
    return make_system("co-occurrence", scorer)


def trm(setting: Setting) -> System:
    """The recommender alone, without a preference."""
    return make_trm_system("trm", setting.artifact, setting.encoder)


def trm_oracle(setting: Setting) -> System:
    """The recommender, told every attribute of the target: an upper bound, not a competitor."""
    told = all_attributes(setting.cases, setting.artifact.catalogue)
    return make_trm_system("trm-oracle", setting.artifact, setting.encoder, wishes=told, oracle=True)


def one_retrieval(setting: Setting) -> AgentSystem:
    """The recommender's own list, ranked again by the model."""
    return AgentSystem(config=_config(setting.suite, retrievals=1), hears_preference=False)


def one_retrieval_shuffled(setting: Setting) -> AgentSystem:
    """`one-retrieval`, its candidates shown in a drawn order: how much of its ranking is the order it was shown?"""
    return replace(one_retrieval(setting), is_shuffled=True)


def deeprec_one_turn(setting: Setting) -> AgentSystem:
    """One preference, one retrieval, and the ranking."""
    return AgentSystem(config=_config(setting.suite, retrievals=1))


def deeprec_guided(setting: Setting) -> AgentSystem:
    """The whole loop, the model held to the format by the server."""
    return AgentSystem(config=_config(setting.suite, retrievals=setting.suite.max_retrievals))


def deeprec_free(setting: Setting) -> AgentSystem:
    """The whole loop, the model left to itself."""
    return AgentSystem(config=_config(setting.suite, retrievals=setting.suite.max_retrievals, guided=False))


def fused(setting: Setting) -> DerivedSystem:
    """What `deeprec-guided` retrieved, ranked by reciprocal rank fusion and by no model."""
    return DerivedSystem(source="deeprec-guided", rank=fused_ranking)


SYSTEMS: Mapping[str, Callable[[Setting], AnySystem]] = {
    "popularity": popularity,
    "co-occurrence": cooccurrence,
    "trm": trm,
    "trm-oracle": trm_oracle,
    "one-retrieval": one_retrieval,
    "one-retrieval" + SHUFFLED: one_retrieval_shuffled,
    "deeprec-one-turn": deeprec_one_turn,
    "deeprec-guided": deeprec_guided,
    "deeprec-free": deeprec_free,
    "fused": fused,
}


def fused_ranking(trace: RunTrace) -> list[str]:
    """Everything that a run retrieved, by reciprocal rank fusion; ties by when it was found."""
    return list(fuse_rankings([item.id for item in retrieval.items] for retrieval in trace.retrievals))


def _config(suite: Suite, *, retrievals: int, guided: bool = True) -> AgentConfig:
    return AgentConfig(
        guided=guided,
        temperature=suite.temperature,
        k=suite.k,
        retrieve_k=suite.retrieve_k,
        trust=suite.trust,
        max_history=suite.max_history,
        min_retrievals=min(2, retrievals),
        max_retrievals=retrievals,
        max_turn_tokens=suite.max_turn_tokens,
        max_seconds=PATIENCE_S,
    )
