"""Train the recommender on a data set and write its artifact."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.preference_file import WrittenPreference
from deeprec.trm_tool.data.requests.folds import ConversationFold
from deeprec.trm_tool.data.requests.request import Request
from deeprec.trm_tool.encoders.embedding_cache import CachedEncoder
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.trm.artifact import save_artifact
from deeprec.trm_tool.trm.artifact_folder import check_destination
from deeprec.trm_tool.trm.model import PreferenceAwareTRM, TRMConfig
from deeprec.trm_tool.trm.training.preferences import (
    PreferenceConfig,
    PreferencePool,
    encode_preferences,
    write_preferences,
)
from deeprec.trm_tool.trm.training.request_examples import RequestExamples, collect_requests
from deeprec.trm_tool.trm.training.trust_calibration import (
    calibrate_trust,
    calibrate_words_trust,
    write_probes,
)
from deeprec.trm_tool.trm.training.written_preferences import collect_training_texts

if TYPE_CHECKING:
    from deeprec.trm_tool.trm.training.sequence_windows import EpochResult

DEFAULT_EPOCHS = 28
CALIBRATION_USERS = 2_000
"""Users whose validation targets the default trust is chosen on, at most."""
MIN_ITEMS = 20
"""Recall and NDCG are measured at 10 and 20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How the weights are found. The defaults were tuned on the validation part of ml-100k."""

    learning_rate: float = 6e-3
    """Adam's learning rate, which falls linearly to a twentieth over the epochs."""
    batch_size: int = 128
    """Windows a step."""
    window_overlap: int = 0
    """Items that two neighbouring windows of a person share: context for the first positions of the later one."""
    patience: int = 8
    """Epochs without a better validation (`run_recbole`) before training stops."""
    sampled_softmax: int = 20_000
    """Catalogues above this size are scored on the batch's targets and this many random items, not in full."""
    weight_average: float = 0.99
    """Decay a step of the running average of the weights, which is what is validated and kept; 0 keeps the last.
    Smaller where six epochs have fewer steps than it looks back over."""
    clip_norm: float = 5.0
    """Gradients are scaled down to this norm."""
    request_batch: int = 64
    """Requests a step, beside the windows, where there are requests to train on."""
    request_weight: float = 0.25
    """Weight of their loss beside that of the windows."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "sampled_softmax", "clip_norm", "request_batch", "request_weight"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"TrainingConfig.{name} is {getattr(self, name)}. Set it above 0.")
        if not 0 <= self.weight_average < 1:
            raise ConfigError(
                f"TrainingConfig.weight_average is {self.weight_average}. Set it to at least 0 and below 1."
            )
        for name in ("window_overlap", "patience"):
            if getattr(self, name) < 0:
                raise ConfigError(f"TrainingConfig.{name} is {getattr(self, name)}. Set it to 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """State of a training, for `on_progress`: before and during encoding, before the first epoch, and after each."""

    epoch: int
    """Epochs done; 0 before the first."""
    epochs: int
    """Epochs at most; early stopping may end sooner."""
    stage: str
    """ "encoding" or "training"."""
    loss: float = float("nan")
    recall_at_10: float = float("nan")
    """Recall@10 of the validation targets, seen items masked, without a preference."""
    ndcg_at_10: float = float("nan")
    told_ndcg_at_10: float = float("nan")
    """NDCG@10 with all phrases of each target as the preference. The epoch with the best mean of the two is kept."""
    heard_ndcg_at_10: float = float("nan")
    """NDCG@10 of held-out requests with their histories and words, which then counts as well."""
    texts_done: int = 0
    """Texts that have a vector already, of `texts`."""
    texts: int = 0
    """Distinct texts to encode; 0 while that is not known."""
    seconds: float = 0.0
    """Time since `train_trm` began."""


def train_trm(
    dataset: Dataset,
    out: Path,
    *,
    config: TRMConfig | None = None,
    encoder: Encoder,
    epochs: int = DEFAULT_EPOCHS,
    holdout: int = 2,
    without_last: int = 0,
    seed: int = 0,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    training: TrainingConfig | None = None,
    preferences: PreferenceConfig | None = None,
    cache: Path | None = None,
    written: Iterable[WrittenPreference] | None = None,
    requests: Iterable[Request] | None = None,
    without_fold: ConversationFold | None = None,
) -> dict[str, Any]:
    """Train with RecBole's Trainer and Evaluator, stop early on validation, and write the artifact.

    The validation target is the item before the last of each person. The last item is never read at all. The epoch is
    kept that has the best mean of NDCG@10 without a preference and with all phrases of the target as one. After
    training, the default trust in a preference is chosen on validation targets (`calibrate_trust`). Equal arguments
    give equal weights on the same machine with the same number of threads.

    Args:
        dataset: Catalogue and sequences.
        out: Folder of the artifact; one that is there already is replaced.
        config: The architecture.
        encoder: Encodes item texts and preference texts, once each.
        epochs: Passes over the training windows, at most.
        holdout: How many of each person's last items never touch training: 2 leaves out the test and the validation
            target, 3 also the target that reinforcement learning uses.
        cache: Folder that keeps text embeddings, so that no text is encoded twice and a killed run resumes
            (`CachedEncoder`); None keeps nothing.
        without_last: Train as if the last so many interactions of each person had not happened yet, so that each of
            them is a fair target (`deeprec trm eval --positions`). The artifact's holdout grows by as many.
        seed: Seeds weights, batches, dropout and preference texts.
        on_progress: Called at every stage and epoch.
        training: Optimiser settings.
        preferences: How often which preference is trained.
        written: Preferences that logged runs wrote, from `read_preference_file`: trained at the positions that they
            were written for, where that leaks nothing that is held out (`collect_training_texts`).
        requests: What people asked in their own words and what they took, from `read_requests`: trained beside the
            interactions, each target with its request's history and message, where that leaks nothing that is held out
            (`collect_requests`). A tenth of the conversations chooses the epoch and the trust in words.
        without_fold: The conversations of `requests` that are left out, to evaluate on them.

    Returns:
        What `metrics.json` holds: `validation` by protocol (masked or unmasked, and masked with all phrases of the
        target as the preference), `users`, `best_epoch`, `epochs`, `seconds`, and the counts of `written` and of
            `requests`.

    Raises:
        ConfigError: a setting that cannot work, or RecBole is not installed.
        DataError: no person has two items left to train on, or nothing of `written` or `requests` can be trained on.
    """
    started = perf_counter()
    config, training, preferences = (
        config or TRMConfig(),
        training or TrainingConfig(),
        preferences or PreferenceConfig(),
    )
    learned = dataset.without_last(without_last)
    _check(learned, out, epochs, holdout, seed)
    own = None if written is None else collect_training_texts(dataset, holdout + without_last, written)
    asked = (
        None
        if requests is None
        else collect_requests(dataset, holdout + without_last, requests, without_fold=without_fold)
    )
    report = on_progress or (lambda progress: None)

    report(TrainingProgress(stage="encoding", epoch=0, epochs=epochs))
    reading = encoder if cache is None else CachedEncoder(encoder, cache)
    if cache is not None:
        encoder = CachedEncoder(
            encoder,
            cache,
            on_progress=lambda done, texts: report(
                TrainingProgress(stage="encoding", epoch=0, epochs=epochs, texts_done=done, texts=texts)
            ),
        )
    catalogue = dataset.catalogue
    text_embeddings = torch.from_numpy(encoder.encode([item.text for item in catalogue]))
    popularity = count_interactions(learned, holdout)
    texts = write_preferences(catalogue, preferences, seed)
    pool = PreferencePool(texts, encoder, catalogue, preferences, own.texts if own else None)
    examples, held_out = (
        RequestExamples.of(part, encoder, catalogue, config.max_length) if part else None
        for part in ((asked.training, asked.validation) if asked else (None, None))
    )
    encoding_s = perf_counter() - started
    report(TrainingProgress(stage="training", epoch=0, epochs=epochs, seconds=encoding_s))

    def report_epoch(result: "EpochResult") -> None:
        report(
            TrainingProgress(
                stage="training",
                epoch=result.epoch,
                epochs=epochs,
                loss=result.loss,
                recall_at_10=result.recall_at_10,
                ndcg_at_10=result.ndcg_at_10,
                told_ndcg_at_10=result.told_ndcg_at_10,
                heard_ndcg_at_10=result.heard_ndcg_at_10,
                seconds=perf_counter() - started,
            )
        )

    from deeprec.trm_tool.trm.training.sequence_windows import run_recbole

    with tempfile.TemporaryDirectory(prefix="deeprec-") as scratch:
        model, found = run_recbole(
            learned,
            lambda: PreferenceAwareTRM(config, text_embeddings),
            pool,
            folder=Path(scratch),
            training=training,
            epochs=epochs,
            holdout=holdout,
            seed=seed,
            on_epoch=report_epoch,
            requests=examples,
            held_out=held_out,
        )
    curve = _calibrate(model, learned, reading, seed)
    words = asdict(calibrate_words_trust(model, held_out, curve["chosen"]))
    metrics = (
        found
        | {"trust": curve}
        | ({"written_preferences": own.to_dict()} if own else {})
        | ({"requests": asked.to_dict() | {"trust": words}} if asked else {})
        | {"seconds": round(perf_counter() - started, 1), "encoding_seconds": round(encoding_s, 1)}
    )
    save_artifact(
        out,
        model,
        catalogue,
        encoder_id=encoder.id,
        text_embeddings=text_embeddings,
        popularity=popularity,
        dataset_fingerprint=dataset.fingerprint,
        dataset_name=dataset.name,
        holdout=holdout + without_last,
        without_last=without_last,
        trust=curve["chosen"],
        words_trust=words["chosen"],
        without_fold=without_fold,
        metrics=metrics,
        seed=seed,
    )
    return metrics


def _calibrate(model: PreferenceAwareTRM, dataset: Dataset, encoder: Encoder, seed: int) -> dict[str, Any]:
    """Measure the trust curve on the validation targets of at most `CALIBRATION_USERS` people."""
    catalogue = dataset.catalogue
    users = [user for user in dataset.users if len(dataset.history(user, 2))][:CALIBRATION_USERS]
    targets = [dataset.target(user, 2) for user in users]
    preferences = {}
    for kind, written in write_probes([catalogue.phrases_of(target) for target in targets], seed).items():
        has = torch.tensor([bool(text) for text in written])
        preferences[kind] = torch.from_numpy(encode_preferences(encoder, catalogue, written)), has
    histories = [catalogue.rows(dataset.history(user, 2)) for user in users]
    return asdict(calibrate_trust(model, histories, catalogue.rows(targets), preferences))


def count_interactions(dataset: Dataset, holdout: int) -> NDArray[np.float64]:
    """Count the interactions of items, without the last `holdout` of each person -> (items,), in catalogue order."""
    counts = Counter(item_id for user in dataset.users for item_id in dataset.history(user, holdout))
    return np.array([counts[item_id] for item_id in dataset.catalogue.ids], dtype=np.float64)


def _check(dataset: Dataset, out: Path, epochs: int, holdout: int, seed: int) -> None:
    if epochs < 1:
        raise ConfigError(f"epochs is {epochs}; nothing would be trained. Set it to 1 or more.")
    if holdout < 2:
        raise ConfigError(
            f"holdout is {holdout}, so training would see its own validation target. Hold out 2 items, or 3 for an "
            "artifact that collects rollouts."
        )
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed is {seed}. Give a whole number from 0 to 4294967295.")
    if find_spec("recbole") is None:
        raise ConfigError("Training needs RecBole. Install it with `pip install 'deeprec-agent[trm]'`.")
    check_destination(Path(out))
    if len(dataset.catalogue) < MIN_ITEMS:
        raise DataError(
            f"{dataset.name} has {len(dataset.catalogue)} items; a ranking is measured on its first {MIN_ITEMS}. "
            "Give more items."
        )
    longest = max((len(sequence) for sequence in dataset.sequences.values()), default=0)
    if longest < holdout + 2:
        raise DataError(
            f"{dataset.name} has no user with {holdout + 2} interactions (the most is {longest}), so with "
            f"holdout {holdout} nothing is left to train on. Give more data."
        )
