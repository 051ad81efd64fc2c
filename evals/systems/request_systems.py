"""Systems of suites on requests: what the words find alone, beside the history, or by a search engine's means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.graph.offered_phrases import phrases_of_message
from deeprec.evals.requests.cases import Case
from deeprec.evals.systems.setting import Setting
from deeprec.evals.systems.system import System
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import PhraseSimilarity, Query, retrieve_batch
from deeprec.trm_tool.text import plain
from deeprec.trm_tool.trm.scoring import score
from deeprec.trm_tool.trm.snapshot import Snapshot

_STOP_WORDS = "en"
_PHRASES = 2


def words(setting: Setting) -> System:
    """The recommender with the person's words alone; their history only masks what they have seen."""
    return make_query_system(
        "words", setting, lambda case: Query(words=case.message, exclude=frozenset(case.history), where=case.where)
    )


def words_history(setting: Setting) -> System:
    """The recommender with history and words, both as they are: what an agent in front of it has to beat."""
    return make_query_system(
        "words-history", setting, lambda case: Query(history=case.history, words=case.message, where=case.where)
    )


def closest_phrases(setting: Setting) -> System:
    """The recommender with history, words and the two phrases of the catalogue that are closest to the words.

    What an agent does whose model writes the first two phrases on offer: a model has to choose better.

    Raises:
        ConfigError: the recommender does not rank phrases by a text.
    """
    recommender = setting.recommender
    if not isinstance(recommender, PhraseSimilarity):
        raise ConfigError(
            "The system closest-phrases needs a recommender with `closest_phrases`, which this one lacks. "
            "Leave that system out."
        )
    spotter = PhraseSpotter(recommender.catalogue.phrases())

    def query_of(case: Case) -> Query:
        message = case.message or ""
        ranked = phrases_of_message(message, spotter, recommender.closest_phrases(message, _PHRASES))
        preference = "; ".join(ranked[:_PHRASES]) or None
        return Query(history=case.history, words=case.message, preference=preference, where=case.where)

    return make_query_system("closest-phrases", setting, query_of)


def bm25(setting: Setting) -> System:
    """The items whose texts share the rarest words with the message, as a search engine ranks them.

    Ties, such as those of a message that shares no word with any item, are in catalogue order.

    Raises:
        ConfigError: bm25s is not installed.

    Source:
        Robertson & Zaragoza 2009, doi:10.1561/1500000019; as in Lucene, k1 = 1.5 and b = 0.75 (the library's).
    """
    try:
        import bm25s
    except ModuleNotFoundError:
        raise ConfigError(
            "The system bm25 needs bm25s, which is not installed. Install it with: pip install 'deeprec-agent[bm25]'; "
            "or leave that system out."
        ) from None
    catalogue = setting.recommender.catalogue
    items = [catalogue.item(item_id) for item_id in catalogue.ids]

    @cache
    def index() -> bm25s.BM25:
        texts = [item.text or item.title for item in items]
        made = bm25s.BM25()
        made.index(bm25s.tokenize(texts, stopwords=_STOP_WORDS, show_progress=False), show_progress=False)
        return made

    def score_cases(cases: Sequence[Case]) -> NDArray[np.float64]:
        scores = np.zeros((len(cases), len(items)))
        for line, case in zip(scores, cases, strict=True):
            message = case.message or ""
            [tokens] = bm25s.tokenize(message, stopwords=_STOP_WORDS, return_ids=False, show_progress=False)
            known = [token for token in tokens if token in index().vocab_dict]
            if known:
                line[:] = index().get_scores(known)
        return scores

    return System(name="bm25", score=score_cases)


def dense(setting: Setting) -> System:
    """The items whose texts are the most similar to the message, by the cosine of the artifact's text encoder.

    Raises:
        ConfigError: the recommender is not the TRM, which has the encoder.
    """
    encoder = setting.encoder
    items = _unit(setting.artifact.text_embeddings.double().cpu().numpy())

    def score_cases(cases: Sequence[Case]) -> NDArray[np.float64]:
        messages = [plain(case.message or "", MAX_TEXT_CHARS) for case in cases]
        said = np.array([bool(message) for message in messages])
        scores = np.zeros((len(cases), len(items)))
        if said.any():
            vectors = encoder.encode([message for message in messages if message], role="preference")
            scores[said] = _unit(vectors.astype(np.float64)) @ items.T
        return scores

    return System(name="dense", score=score_cases)


def requests_popularity(setting: Setting) -> System:
    """The targets of the suite's other conversations, the commonest first; each case is scored without its own."""
    catalogue = setting.recommender.catalogue
    rows = {item_id: row for row, item_id in enumerate(catalogue.ids)}
    counts = np.zeros(len(rows))
    own: dict[str, Counter[int]] = {}
    for case in setting.cases:
        counts[rows[case.target]] += 1
        own.setdefault(case.cluster, Counter())[rows[case.target]] += 1

    def score_cases(cases: Sequence[Case]) -> NDArray[np.float64]:
        scores = np.tile(counts, (len(cases), 1))
        for line, case in zip(scores, cases, strict=True):
            for row, count in own[case.cluster].items():
                line[row] -= count
        return scores

    return System(name="requests-popularity", score=score_cases)


def make_query_system(name: str, setting: Setting, query_of: Callable[[Case], Query]) -> System:
    """Build a system out of queries: the TRM's scores of all items, or what another recommender retrieves.

    Args:
        name: Of the row.
        setting: The recommender, and how many items it retrieves.
        query_of: Makes a case's query. It must not read the target.
    """
    recommender, weights = setting.recommender, setting.weights
    if weights is not None:
        snapshot, encoder = Snapshot.of(weights), setting.encoder
        return System(name=name, score=lambda cases: score(snapshot, encoder, [query_of(case) for case in cases])[0])
    positions = {item_id: position for position, item_id in enumerate(recommender.catalogue.ids)}

    def score_cases(cases: Sequence[Case]) -> NDArray[np.float64]:
        scores = np.full((len(cases), len(positions)), -np.inf)
        found = retrieve_batch(recommender, [query_of(case) for case in cases], k=setting.suite.k)
        for line, retrieved in zip(scores, found, strict=True):
            for rank, item in enumerate(retrieved, start=1):
                line[positions[item.id]] = 1 / rank
        return scores

    return System(name=name, score=score_cases)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
