"""Recommenders that are augmented by a policy's knowledge: the preference-aware TRM, and RecBole's SASRec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deeprec.agent.traces import RunFilter, TraceStore
from deeprec.evals.requests.cases import SPLITS
from deeprec.training.feedback.knowledge_runs import as_written_preferences
from deeprec.training.rollouts.instances import SPLIT
from deeprec.trm_tool import Dataset, Encoder, Retriever, load_sasrec, train_knowledge_sasrec, train_trm
from deeprec.trm_tool.errors import DataError
from deeprec.trm_tool.recommender import BatchRecommender
from deeprec.trm_tool.sasrec.training import SasrecTraining

_WEIGHTS = "sasrec.safetensors"


def train_augmented(
    backbone: str,
    path: Path,
    *,
    dataset: Dataset,
    encoder: Encoder,
    store: TraceStore,
    where: RunFilter,
    epochs: int,
    seed: int = 0,
    cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> BatchRecommender:
    """Train a recommender with knowledge, without the three last items of each person, and load it.

    One that is there already is loaded only.

    Args:
        backbone: `trm` or `sasrec`.
        path: Its folder.
        dataset: What it is trained on.
        encoder: Of items and knowledge.
        store: The store of the knowledge runs.
        where: Which runs; each is trained at the position that it was written for.
        epochs: Passes over the data, at most.
        seed: Of the training.
        cache: Folder that keeps text embeddings.
        say: Called after each epoch.

    Raises:
        DataError: none of the runs has knowledge to train on; the message counts them.
    """

    def say_epoch(epoch: int, ndcg_at_10: float) -> None:
        say(f"epoch {epoch}, NDCG@10 {ndcg_at_10:.4f}")

    weights = path if backbone == "trm" else path / _WEIGHTS
    if not weights.exists():
        written = list(as_written_preferences(store, dataset, where))
        if not written:
            runs = sum(len(page) for page in store.run_ids(where))
            raise DataError(
                f"None of {runs} answers under {where.label} is knowledge, so no recommender can learn from it. Hold "
                "the policy to factors and values of the catalogue (leave out --free), or use a larger model."
            )
        if backbone == "trm":
            train_trm(
                dataset,
                weights,
                encoder=encoder,
                epochs=epochs,
                holdout=SPLITS[SPLIT],
                seed=seed,
                cache=cache,
                written=written,
                on_progress=lambda done: say_epoch(done.epoch, done.ndcg_at_10) if done.epoch else None,
            )
        else:
            train_knowledge_sasrec(
                dataset,
                weights,
                encoder=encoder,
                training=SasrecTraining(epochs=epochs),
                holdout=SPLITS[SPLIT],
                seed=seed,
                cache=cache,
                written=written,
                on_epoch=say_epoch,
            )
    return Retriever.load(weights, encoder) if backbone == "trm" else load_sasrec(weights, dataset, encoder)
