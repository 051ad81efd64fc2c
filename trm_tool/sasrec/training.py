"""Training of RecBole's SASRec with knowledge, on RecBole's Trainer and Evaluator, and the file that it is kept in."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.preference_file import WrittenPreference
from deeprec.trm_tool.encoders.embedding_cache import CachedEncoder
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.sasrec.recommender import SasrecConfig, save_sasrec
from deeprec.trm_tool.trm.training.preferences import PreferenceConfig, PreferencePool, write_preferences
from deeprec.trm_tool.trm.training.train import count_interactions
from deeprec.trm_tool.trm.training.written_preferences import collect_training_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class SasrecTraining:
    """How the weights are found."""

    epochs: int = 40
    learning_rate: float = 3e-3
    batch_size: int = 128
    """Windows a step."""
    patience: int = 8
    """Epochs without a better validation before training stops."""
    weight_average: float = 0.99
    """Decay a step of the running average of the weights, which is what is validated and kept."""

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_size"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"SasrecTraining.{name} is {getattr(self, name)}. Set it above 0.")


def train_knowledge_sasrec(
    dataset: Dataset,
    out: Path,
    *,
    encoder: Encoder,
    config: SasrecConfig | None = None,
    training: SasrecTraining | None = None,
    holdout: int = 2,
    seed: int = 0,
    written: Iterable[WrittenPreference] | None = None,
    cache: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train SASRec with a knowledge vector on the sequences of a data set, and write it to one file.

    Its knowledge in training is that of the preference-aware TRM: phrases of the targets, often partial and sometimes
    wrong, and at the positions that logged runs wrote for, what they wrote. Validation is as in `train_trm`.

    Args:
        dataset: Catalogue and sequences.
        out: The file; one of an earlier training is replaced.
        encoder: Of the knowledge.
        config: The architecture.
        training: Optimiser settings.
        holdout: How many of each person's last items never touch training, 2 or more; 3 for a reward model.
        seed: Of weights, batches, dropout and draws.
        written: Knowledge of logged runs (`as_written_preferences`).
        cache: Folder that keeps text embeddings.
        on_epoch: Called after every epoch with its number, from 1, and the NDCG@10 of validation without knowledge.

    Returns:
        What was measured on the validation targets, the best epoch, and the counts of `written`.

    Raises:
        ConfigError: a setting cannot work, RecBole is not installed, or `out` cannot be written.
        DataError: nothing of `written` can be trained on.
    """
    started = perf_counter()
    config, training = config or SasrecConfig(), training or SasrecTraining()
    if holdout < 2:
        raise ConfigError(f"holdout is {holdout}, so training would see its own validation target. Hold out 2 or more.")
    try:
        from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader

        from deeprec.trm_tool.sasrec.network import KnowledgeSASRec
        from deeprec.trm_tool.trm.training.recbole_support import make_config, seeded, write_for_recbole
        from deeprec.trm_tool.trm.training.sequence_windows import (
            SeenMaskedLoader,
            TwofoldTrainer,
            WholeSequenceDataset,
        )
    except ModuleNotFoundError:
        raise ConfigError("Training needs RecBole. Install it with `pip install 'deeprec-agent[trm]'`.") from None
    own = None if written is None else collect_training_texts(dataset, holdout, written)
    shares = PreferenceConfig()
    reading = encoder if cache is None else CachedEncoder(encoder, cache)
    texts = write_preferences(dataset.catalogue, shares, seed)
    pool = PreferencePool(texts, reading, dataset.catalogue, shares, own.texts if own else None)
    with tempfile.TemporaryDirectory(prefix="deeprec-") as scratch, seeded(seed):
        write_for_recbole(dataset, Path(scratch))
        settings = make_config(
            KnowledgeSASRec,
            Path(scratch),
            max_length=config.max_length,
            held_back=holdout - 1,  # the test item is not in the files
            window_overlap=0,
            train_batch_size=training.batch_size,
            eval_batch_size=512,
            learning_rate=training.learning_rate,
            decay=True,
            weight_average=training.weight_average,
            clip_grad_norm={"max_norm": 5.0},
            stopping_step=training.patience,
            epochs=training.epochs,
            seed=seed,
            text_width=pool.embeddings.shape[1],
            **config.recbole(),
        )
        tokens = {user: f"u{number}" for number, user in enumerate(dataset.users)}
        whole = WholeSequenceDataset(settings, {(tokens[user], at): slot for (user, at), slot in pool.slots.items()})
        windows, validation = whole.build()
        model = KnowledgeSASRec(settings, whole, pool, seed).to(settings["device"])
        report = on_epoch or (lambda epoch, ndcg_at_10: None)
        trainer = TwofoldTrainer(settings, model, lambda result: report(result.epoch, result.ndcg_at_10))
        masked = SeenMaskedLoader(settings, validation, None)
        trainer.fit(TrainDataLoader(settings, windows, None, shuffle=True), masked, verbose=False)
        model.load_state_dict(trainer.best_state)
        measured = {
            "masked": trainer.measure(masked),
            "unmasked": trainer.measure(FullSortEvalDataLoader(settings, validation, None)),
        }
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        order = torch.argsort(model.row_of[1:]) + 1  # RecBole's numbers, in the order of the catalogue
        weights["item_embedding.weight"] = weights["item_embedding.weight"][torch.cat((torch.zeros(1).long(), order))]
    metrics: dict[str, Any] = {
        "validation": measured,
        "best_epoch": trainer.best_epoch,
        "epochs": len(trainer.train_loss_dict),
        "written_preferences": own.to_dict() if own else None,
        "seconds": round(perf_counter() - started, 1),
    }
    save_sasrec(
        out,
        weights,
        {
            "architecture": asdict(config),
            "text_width": int(pool.embeddings.shape[1]),
            "encoder_id": encoder.id,
            "dataset_fingerprint": dataset.fingerprint,
            "holdout": holdout,
            "seed": seed,
            "metrics": metrics,
        },
        popularity=count_interactions(dataset, holdout),
    )
    return metrics
