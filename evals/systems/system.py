"""Systems that score a whole catalogue for a case, which evaluations compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.requests.cases import Case
from deeprec.evals.systems.baselines import Scorer
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.recommender import CatalogueView, Query, Recommender, retrieve_batch
from deeprec.trm_tool.trm.artifact import Artifact
from deeprec.trm_tool.trm.scoring import EncodedTexts, score_encoded
from deeprec.trm_tool.trm.snapshot import Snapshot
from deeprec.trm_tool.trm.training.preferences import SEPARATOR, encode_preferences

FILTERED = 10.0
"""Taken from the score of an item for each phrase that is not true of it; cosines lie within 1 of 0."""
ScoreCases = Callable[[Sequence[Case]], NDArray[np.floating]]
"""Cases -> scores (cases, items) in catalogue order, higher is better. The caller masks items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Something that scores a whole catalogue for a history."""

    name: str
    score: ScoreCases
    oracle: bool = False
    """Whether it knows something of the target: an upper bound, not a competitor."""


def make_system(name: str, score: Scorer) -> System:
    """Build a system out of a scorer, which sees histories and never a target."""
    return System(name=name, score=lambda cases: score([case.history for case in cases]))


def all_attributes(cases: Sequence[Case], catalogue: CatalogueView) -> dict[Case, str]:
    """Write the preference of the oracle: every phrase that is true of a case's target, and never its title."""
    return {case: SEPARATOR.join(catalogue.phrases_of(case.target)) for case in cases}


def make_recommender_system(
    name: str,
    recommender: Recommender,
    *,
    k: int,
    preferences: Mapping[Case, str] | None = None,
    hears_words: bool = False,
    oracle: bool = False,
) -> System:
    """Build a system out of what any recommender retrieves: 1 / rank for its `k` best, -inf for every other item.

    Args:
        name: Of the row.
        recommender: Answers with the history masked, so that seen items have -inf.
        k: Items that are retrieved.
        preferences: Case -> the preference it is given, "" or no entry for none; None gives no case a preference.
        hears_words: Whether it gets the words and the constraints of a request.
        oracle: Whether the preferences hold something about the target.
    """
    positions = {item_id: position for position, item_id in enumerate(recommender.catalogue.ids)}

    def score(cases: Sequence[Case]) -> NDArray[np.floating]:
        scores = np.full((len(cases), len(positions)), -np.inf)
        queries = [
            Query(
                history=case.history,
                preference=(preferences or {}).get(case) or None,
                words=case.message if hears_words else None,
                where=case.where if hears_words else None,
            )
            for case in cases
        ]
        for line, retrieved in zip(scores, retrieve_batch(recommender, queries, k=k), strict=True):
            for rank, item in enumerate(retrieved, start=1):
                line[positions[item.id]] = 1 / rank
        return scores

    return System(name=name, score=score, oracle=oracle)


def make_trm_system(
    name: str,
    artifact: Artifact,
    encoder: Encoder,
    *,
    preferences: Mapping[Case, str] | None = None,
    trust: float | None = None,
    oracle: bool = False,
) -> System:
    """Build a system that scores the catalogue with the TRM, in the retriever's own order.

    Args:
        name: Of the row.
        artifact: Whose model scores.
        encoder: The artifact's own.
        preferences: Case -> the preference it is given, "" or no entry for none; None gives no case a preference.
        trust: In a preference; None is the artifact's own.
        oracle: Whether the preferences hold something about the target.
    """
    catalogue, snapshot = artifact.catalogue, Snapshot.of(artifact)
    weight = trust_of(artifact) if trust is None else trust

    @cache
    def encoded() -> dict[str, NDArray[np.float32]]:
        """Every preference and its vector, encoded together: once, and not before somebody scores."""
        texts = list(dict.fromkeys(filter(None, (preferences or {}).values())))
        vectors = encode_preferences(encoder, catalogue, texts)
        return dict(zip(texts, vectors, strict=True)) | {"": np.zeros_like(vectors[0])}

    def score(cases: Sequence[Case]) -> NDArray[np.floating]:
        histories = [catalogue.rows(case.history) for case in cases]
        texts = [(preferences or {}).get(case, "") for case in cases]
        given = None
        if any(texts):
            vectors = np.stack([encoded()[text] for text in texts])
            given = EncodedTexts(vectors, [bool(text) for text in texts], [weight] * len(cases))
        return score_encoded(snapshot, histories, given)

    return System(name=name, score=score, oracle=oracle)


def make_filter_system(
    name: str, artifact: Artifact, encoder: Encoder, phrases: Mapping[Case, tuple[str, ...]]
) -> System:
    """Build the alternative to a preference: items of which all phrases are true first, by the TRM without one."""
    ranked = make_trm_system(name, artifact, encoder)
    catalogue = artifact.catalogue
    true_of = {phrase: np.zeros(len(catalogue), dtype=np.bool_) for of_case in phrases.values() for phrase in of_case}
    for row, item_id in enumerate(catalogue.ids):
        for phrase in catalogue.phrases_of(item_id):
            if phrase in true_of:
                true_of[phrase][row] = True

    def score(cases: Sequence[Case]) -> NDArray[np.floating]:
        scores = ranked.score(cases)
        for line, case in zip(scores, cases, strict=True):
            for phrase in phrases[case]:
                line[~true_of[phrase]] -= FILTERED
        return scores

    return System(name=name, score=score, oracle=True)


def trust_of(artifact: Artifact) -> float:
    """Return how far the artifact trusts a preference by default."""
    return float(artifact.config["trust"])
