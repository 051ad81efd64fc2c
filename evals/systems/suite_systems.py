"""The systems that a suite can run. Adding one is a function here and its line in `SYSTEMS`.

A system is one of three kinds: something that scores the catalogue (`System`), an agent (`AgentSystem`), or a list
that is read out of the runs of another system (`DerivedSystem`), so that it costs no further call of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from deeprec.agent import AgentConfig, RunTrace, fuse_rankings
from deeprec.evals.requests.leaks import check_disjoint, evaluated_pairs
from deeprec.evals.systems.baselines import make_cooccurrence_scorer, make_popularity_scorer
from deeprec.evals.systems.request_systems import (
    bm25,
    closest_phrases,
    dense,
    requests_popularity,
    words,
    words_history,
)
from deeprec.evals.systems.setting import Setting
from deeprec.evals.systems.system import (
    System,
    all_attributes,
    make_recommender_system,
    make_system,
    make_trm_system,
)
from deeprec.trm_tool import ConfigError, Query, Recommender, Retriever, fit_reranking, retrieve_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSystem:
    """The graph with a language model."""

    config: AgentConfig
    hears_preference: bool = True
    """False: whatever the model writes, the recommender gets the history alone."""
    hears_words: bool = False
    """Whether the recommender still gets the words of a request where it hears no preference."""
    is_shuffled: bool = False
    """The model is shown what it finds in an order drawn for each user and seed; only where it hears no preference."""

    def __post_init__(self) -> None:
        if self.is_shuffled and self.hears_preference:
            raise ConfigError("A system with is_shuffled hears preferences: set hears_preference=False.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedSystem:
    """A list made from a stored run of another system of the suite; that run's retrievals and cost are its own too."""

    source: str
    """The system whose runs are read, by the name of its row; or the only one of the suite that is this system."""
    rank: Callable[[RunTrace], list[str]]
    """A run -> item ids, best first."""


_OWN_K = 30
_ONE_RETRIEVAL = {"min_retrievals": 1, "max_retrievals": 1}

AnySystem = System | AgentSystem | DerivedSystem


def popularity(setting: Setting) -> System:
    """Items by how often they were interacted with."""
    scorer = make_popularity_scorer(setting.dataset, holdout=setting.holdout, catalogue=setting.recommender.catalogue)
    return make_system("popularity", scorer)


def cooccurrence(setting: Setting) -> System:
    """Items that other histories hold near the latest items of this one."""
    scorer = make_cooccurrence_scorer(setting.dataset, holdout=setting.holdout, catalogue=setting.recommender.catalogue)
    return make_system("co-occurrence", scorer)


def trm(setting: Setting) -> System:
    """The recommender alone, without a preference."""
    if setting.weights is None:
        return make_recommender_system("trm", setting.recommender, k=setting.suite.k)
    return make_trm_system("trm", setting.weights, setting.encoder)


def trm_signals(setting: Setting) -> System:
    """The recommender alone, its first items ordered again by complementary signals.

    Raises:
        ConfigError: the suite's targets are those that the weights of the signals are fitted on, such as those of the
            split `valid`; or as `fit_reranking`.
    """
    return make_recommender_system("trm-signals", with_signals(setting), k=setting.suite.k)


def deep_list(setting: Setting) -> System:
    """The recommender's own first items by history and words, ordered again by complementary signals.

    It is what a deep list gives without a search and without a model. Refuses what `trm-signals` does.
    """
    return make_recommender_system("deep-list", with_signals(setting), k=setting.suite.k, hears_words=True)


def trm_oracle(setting: Setting) -> System:
    """The recommender with every attribute of the target as its preference: an upper bound, not a competitor."""
    preferences = all_attributes(setting.cases, setting.recommender.catalogue)
    if setting.weights is None:
        return make_recommender_system(
            "trm-oracle", setting.recommender, k=setting.suite.k, preferences=preferences, oracle=True
        )
    return make_trm_system("trm-oracle", setting.weights, setting.encoder, preferences=preferences, oracle=True)


def one_retrieval(setting: Setting) -> AgentSystem:
    """The recommender's own list, ranked again by the model."""
    return AgentSystem(config=setting.suite.agent_config(guided=True, **_ONE_RETRIEVAL), hears_preference=False)


def own_list(setting: Setting) -> AgentSystem:
    """The recommender's own list by history and words, ranked by the model, which is left to itself."""
    return AgentSystem(config=setting.suite.agent_config(**_ONE_RETRIEVAL), hears_preference=False, hears_words=True)


def one_retrieval_shuffled(setting: Setting) -> AgentSystem:
    """`one-retrieval`, its candidates shown in a drawn order: how much of its ranking is the order it was shown?"""
    return replace(one_retrieval(setting), is_shuffled=True)


def deeprec_one_turn(setting: Setting) -> AgentSystem:
    """One preference, one retrieval, and the ranking."""
    return AgentSystem(config=setting.suite.agent_config(guided=True, **_ONE_RETRIEVAL))


def deeprec_guided(setting: Setting) -> AgentSystem:
    """The whole loop, the model held to the format by the server."""
    return AgentSystem(config=setting.suite.agent_config(guided=True))


def deeprec_free(setting: Setting) -> AgentSystem:
    """The whole loop, the model left to itself."""
    return AgentSystem(config=setting.suite.agent_config())


def fused(setting: Setting) -> DerivedSystem:
    """What `deeprec-guided` retrieved, ranked by reciprocal rank fusion and by no model."""
    return DerivedSystem(source="deeprec-guided", rank=fused_ranking)


def fused_own(setting: Setting) -> DerivedSystem:
    """What `deeprec-guided` retrieved, fused with the first 30 items of the recommender's own list (`own_k`)."""
    return DerivedSystem(source="deeprec-guided", rank=_fused_with(setting.recommender))


def fused_signals(setting: Setting) -> DerivedSystem:
    """`fused-own`, the own list ordered by complementary signals; refuses what `trm-signals` does."""
    return DerivedSystem(source="deeprec-guided", rank=_fused_with(with_signals(setting)))


SYSTEMS: Mapping[str, Callable[[Setting], AnySystem]] = {
    "popularity": popularity,
    "co-occurrence": cooccurrence,
    "trm": trm,
    "trm-signals": trm_signals,
    "deep-list": deep_list,
    "trm-oracle": trm_oracle,
    "one-retrieval": one_retrieval,
    "one-retrieval-shuffled": one_retrieval_shuffled,
    "own-list": own_list,
    "deeprec-one-turn": deeprec_one_turn,
    "deeprec-guided": deeprec_guided,
    "deeprec-free": deeprec_free,
    "fused": fused,
    "fused-own": fused_own,
    "fused-signals": fused_signals,
    "words": words,
    "words-history": words_history,
    "closest-phrases": closest_phrases,
    "bm25": bm25,
    "dense": dense,
    "requests-popularity": requests_popularity,
}


def fused_ranking(trace: RunTrace) -> list[str]:
    """Everything that a run retrieved, by reciprocal rank fusion; ties by when it was found."""
    return list(fuse_rankings([item.id for item in retrieval.items] for retrieval in trace.retrievals))


def _fused_with(recommender: Recommender) -> Callable[[RunTrace], list[str]]:
    """Rank what a run retrieved beside the recommender's own list for the run's history, words and constraints."""

    def rank(trace: RunTrace) -> list[str]:
        query = Query(history=trace.run.history, words=trace.run.message, where=trace.run.config.get("where"))
        [own] = retrieve_batch(recommender, [query], k=_OWN_K)
        searched = [retrieval.items for retrieval in trace.retrievals]
        return list(fuse_rankings([item.id for item in found] for found in (own, *searched)))

    return rank


def with_signals(setting: Setting) -> Retriever:
    """The recommender of a suite with complementary signals, whose weights are fitted on none of the suite's targets.

    Raises:
        ConfigError: as `trm_signals`.
    """
    dataset, holdout = setting.dataset, setting.holdout
    fitted_on = {(user, dataset.target(user, holdout)) for user in dataset.users if dataset.history(user, holdout)}
    check_disjoint(evaluated_pairs(setting.cases), fitted_on, by="the weights of the signals")
    plain = Retriever(setting.artifact, setting.encoder)
    return Retriever(setting.artifact, setting.encoder, reranking=fit_reranking(plain, dataset))
