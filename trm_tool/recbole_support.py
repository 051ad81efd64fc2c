"""RecBole 1.2.1 on today's NumPy and torch, training whole sequences. Needs the extra `[trm]`; nothing else imports it.

What is RecBole's here: its atomic files, Config, Dataset, data loaders, Trainer and Evaluator. What is ours: one sample
per window instead of one per position, the model, and that nothing is written beside the files we name.
"""

import logging
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import recbole.trainer.trainer as recbole_trainer
import torch
import torch.nn.functional as F
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.dataset import Dataset as RecBoleDataset
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import Trainer
from torch import Tensor

from deeprec.trm_tool.dataset import Dataset
from deeprec.trm_tool.model import PADDING_ROW, PreferenceAwareTRM
from deeprec.trm_tool.preferences import PreferencePool

NAME = "deeprec"
"""Of the files written for RecBole. A data set called ml-100k would make it read its own copy instead."""
TARGETS = "target_list"
_USER, _ITEM, _TIME = "user_id", "item_id", "timestamp"


def write_for_recbole(dataset: Dataset, folder: Path, *, hidden: int = 1) -> None:
    """Write a data set as atomic files that RecBole cannot misread.

    Users and items become `u0`, `i0`, …: RecBole reads through pandas, which would take an id "NA" for a missing value.
    Time stamps become positions, so that its sort keeps our order of ties.

    Args:
        dataset: What to write.
        folder: Where to; the files go to `folder/deeprec/`, which is the layout RecBole expects.
        hidden: How many of each user's last items are left out altogether (1: the test item).
    """
    target = folder / NAME
    target.mkdir(parents=True)
    with (target / f"{NAME}.inter").open("w", encoding="utf-8") as file:
        file.write(f"{_USER}:token\t{_ITEM}:token\t{_TIME}:float\n")
        for number, user in enumerate(dataset.users):
            for position, row in enumerate(dataset.catalogue.rows(dataset.history(user, hidden))):
                file.write(f"u{number}\ti{row}\t{position}\n")
    with (target / f"{NAME}.item").open("w", encoding="utf-8") as file:
        file.write(f"{_ITEM}:token\n")
        file.writelines(f"i{row}\n" for row in range(len(dataset.catalogue)))


class CleanConfig(Config):  # type: ignore[misc]
    """RecBole's Config without its side effects.

    RecBole's own reads the program's command line as settings, hides GPUs from the whole process through an environment
    variable, and sets NumPy names that NumPy 2 does not have.
    """

    def _load_cmd_line(self) -> dict[str, Any]:
        return {}

    def compatibility_settings(self) -> None:
        """Restore the NumPy names that RecBole's metrics use; each was an alias of exactly this."""
        for name, alias in (("float", float), ("bool", np.bool_), ("long", np.int_)):
            if name not in np.__dict__:
                setattr(np, name, alias)

    def _init_device(self) -> None:
        use_gpu = bool(self.final_config_dict["use_gpu"]) and torch.cuda.is_available()
        self.final_config_dict |= {
            "single_spec": True,
            "local_rank": 0,
            "device": torch.device("cuda" if use_gpu else "cpu"),
        }


def make_config(model: str | type, folder: Path, *, max_length: int, **settings: Any) -> CleanConfig:
    """Build a RecBole Config for files that `write_for_recbole` wrote into `folder`.

    Args:
        model: A RecBole model's name, or a model class.
        folder: As given to `write_for_recbole`; RecBole's own folders go below it too.
        max_length: Longest history.
        settings: Any other RecBole setting.
    """
    base: dict[str, Any] = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "USER_ID_FIELD": _USER,
        "ITEM_ID_FIELD": _ITEM,
        "TIME_FIELD": _TIME,
        "load_col": {"inter": [_USER, _ITEM, _TIME], "item": [_ITEM]},
        "user_inter_num_interval": "[0,inf)",
        "item_inter_num_interval": "[0,inf)",
        "MAX_ITEM_LIST_LENGTH": max_length,
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "metrics": ["Recall", "NDCG"],
        "topk": [10, 20],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 6,
        "show_progress": False,
    }
    return CleanConfig(model=model, dataset=NAME, config_dict=base | settings)


class WholeSequenceDataset(SequentialDataset):  # type: ignore[misc]
    """RecBole's sequential data set with one training sample a window of a user's sequence, not one a position.

    A window holds up to `MAX_ITEM_LIST_LENGTH` items and, for each, the item that follows; windows of one user overlap
    by `window_overlap` items, and together they hold every step of the sequence. RecBole's augmentation would repeat
    the prefix for every step: 97,171 samples for ml-100k, against some 2,400 windows.

    The last `held_back` items of each user never enter a window. The last item is the target of validation.
    """

    def __init__(self, config: Config) -> None:
        with warnings.catch_warnings():
            # `feat[field].fillna(inplace=True)`: nothing is missing in what `write_for_recbole` wrote.
            warnings.filterwarnings("ignore", message="A value is trying to be set on a copy", category=FutureWarning)
            super().__init__(config)

    def build(self) -> list["WholeSequenceDataset"]:
        """Split into training windows and validation rows (there is no test part: it is never handed to RecBole)."""
        RecBoleDataset._change_feat_format(self)  # past SequentialDataset, which would augment
        self._aug_presets()
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        users = self.inter_feat[self.uid_field]
        items = self.inter_feat[self.iid_field]
        _, counts = torch.unique_consecutive(users, return_counts=True)
        starts = torch.cumsum(counts, 0) - counts
        spans = list(zip(starts.tolist(), (starts + counts).tolist(), strict=True))
        held_back = int(self.config["held_back"])
        return [
            self.copy(self._windows(users, [(start, items[start : end - held_back]) for start, end in spans])),
            self._validation(users, [(start, items[start:end]) for start, end in spans if end - start > 1]),
        ]

    def _windows(self, users: Tensor, sequences: list[tuple[int, Tensor]]) -> Interaction:
        length = self.max_item_list_len
        stride = max(length - int(self.config["window_overlap"]), 1)
        owners, inputs, targets = [], [], []
        for start, items in sequences:
            steps = len(items) - 1
            if steps < 1:
                continue
            # From the end backwards, so that the latest window is a full one.
            ends = list(range(steps, min(length, steps) - 1, -stride))
            if ends[-1] > length:
                ends.append(min(length, steps))
            for end in ends:
                begin = max(end - length, 0)
                owners.append(users[start])
                inputs.append(items[begin:end])
                targets.append(items[begin + 1 : end + 1])
        return Interaction(
            {
                self.uid_field: torch.stack(owners) if owners else torch.empty(0, dtype=torch.int64),
                self.item_id_list_field: _pad(inputs, length),
                TARGETS: _pad(targets, length),
            }
        )

    def _validation(self, users: Tensor, sequences: list[tuple[int, Tensor]]) -> "WholeSequenceDataset":
        histories = [items[:-1] for _, items in sequences]
        latest = [items[-self.max_item_list_len :] for items in histories]
        validation: WholeSequenceDataset = self.copy(
            Interaction(
                {
                    self.uid_field: torch.stack([users[start] for start, _ in sequences]),
                    self.iid_field: torch.stack([items[-1] for _, items in sequences]),
                    self.item_id_list_field: _pad(latest, self.max_item_list_len),
                    self.item_list_length_field: torch.tensor([len(items) for items in latest]),
                }
            )
        )
        validation.histories = histories
        return validation


class SeenMaskedLoader(FullSortEvalDataLoader):  # type: ignore[misc]
    """RecBole's full-sort loader, telling its Trainer to mask what each user has had: its own one does not."""

    def collate_fn(self, index: list[int]) -> tuple[Interaction, tuple[Tensor, Tensor], Tensor, Tensor]:
        """Collect a batch, with the (row, item) pairs of all histories."""
        interaction, _, positive_u, positive_i = super().collate_fn(index)
        histories = [self._dataset.histories[number] for number in index]
        rows = torch.repeat_interleave(torch.arange(len(index)), torch.tensor([len(items) for items in histories]))
        return interaction, (rows, torch.cat(histories)), positive_u, positive_i


class PreferenceAwareRecommender(SequentialRecommender):  # type: ignore[misc]
    """`PreferenceAwareTRM` as RecBole sees a model. RecBole's item numbers stay on this side of it."""

    def __init__(
        self, config: Config, dataset: RecBoleDataset, trm: PreferenceAwareTRM, pool: PreferencePool, seed: int
    ) -> None:
        super().__init__(config, dataset)
        self.trm = trm
        self.pool = pool
        self.pool_embeddings = pool.embeddings.to(self.device)
        self.sampled_softmax = int(config["sampled_softmax"])
        self.generator = torch.Generator().manual_seed(seed)
        tokens = dataset.id2token(self.ITEM_ID, np.arange(1, self.n_items))
        rows = torch.tensor([PADDING_ROW, *(int(token[1:]) for token in tokens)])
        self.row_of = rows.to(self.device)  # RecBole's item number -> catalogue row

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy over the catalogue at every position of every window, each with a preference or without."""
        rows, targets = self.row_of[interaction[self.ITEM_SEQ]], self.row_of[interaction[TARGETS]]
        trm = self.trm
        item_texts = trm.adapt_text(trm.text_embeddings)
        trained = targets != PADDING_ROW
        hidden = trm.encode_sequence(rows, item_texts=item_texts)[trained]  # (positions, width)
        targets = targets[trained]
        chosen, has = (part.to(self.device) for part in self.pool.draw(targets, self.generator))
        cold = has & (torch.rand(len(has), generator=self.generator) < self.pool.config.cold).to(self.device)
        if bool(has.any()):
            unique, index = torch.unique(chosen[has], return_inverse=True)
            wishes = trm.adapt_preference(self.pool_embeddings[unique])
            wish = torch.zeros_like(hidden).masked_scatter(has.unsqueeze(-1), wishes[index])
            hidden = hidden * ~cold.unsqueeze(-1) + wish
        vectors = F.normalize(trm.id_embedding.weight + item_texts, dim=-1)
        if len(vectors) > self.sampled_softmax:
            others = torch.randint(len(vectors), (self.sampled_softmax,), generator=self.generator).to(self.device)
            candidates, index = torch.unique(torch.cat((targets, others)), return_inverse=True)
            vectors, targets = vectors[candidates], index[: len(targets)]
        logits = F.normalize(hidden, dim=-1) @ vectors.T / trm.config.temperature
        return F.cross_entropy(logits, targets)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items without a preference, in RecBole's item numbers -> (batch, items with padding)."""
        scores = self.trm.query(self.row_of[interaction[self.ITEM_SEQ]]) @ self.trm.item_vectors().T
        padding = torch.full((len(scores), 1), -torch.inf, device=scores.device)
        return torch.cat((padding, scores[:, self.row_of[1:]]), dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """One pass over the training windows and the validation after it."""

    epoch: int
    """1-based."""
    loss: float
    """Mean over the pass."""
    recall_at_10: float
    ndcg_at_10: float
    seconds: float
    """Since training began, validation included."""


class QuietTrainer(Trainer):  # type: ignore[misc]
    """RecBole's Trainer that keeps the best weights in memory and writes no file.

    RecBole's own writes TensorBoard events into the working folder and its checkpoints as pickles.
    """

    def __init__(
        self, config: Config, model: torch.nn.Module, on_epoch: Callable[[EpochResult], None] | None = None
    ) -> None:
        with _replaced(recbole_trainer, "get_tensorboard", lambda logger: _NullWriter()):
            super().__init__(config, model)
        self.logger = logging.getLogger(__name__)
        self.on_epoch = on_epoch
        self.best_state: dict[str, Tensor] = {}
        self.best_epoch = 0
        self._start = perf_counter()

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as RecBole does; the clock of `EpochResult.seconds` starts here."""
        self._start = perf_counter()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.cuda.amp.GradScaler", category=FutureWarning)
            return super().fit(*args, **kwargs)

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        warmup, floor = 1, 0.05
        progress = max(epoch_idx - warmup, 0) / max(self.epochs - warmup, 1)
        if self.config["decay"]:
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * (floor + (1 - floor) * (1 - progress))
        loss = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        self._loss = loss / len(train_data)
        return loss

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        score, result = super()._valid_epoch(valid_data, show_progress)
        if self.on_epoch:
            self.on_epoch(
                EpochResult(
                    epoch=len(self.train_loss_dict),
                    loss=self._loss,
                    recall_at_10=float(result["recall@10"]),
                    ndcg_at_10=float(result["ndcg@10"]),
                    seconds=perf_counter() - self._start,
                )
            )
        return score, result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        self.best_epoch = epoch + 1
        self.best_state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that RecBole and torch draw from, and give the caller's state back afterwards."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def make_train_loader(config: Config, dataset: WholeSequenceDataset) -> TrainDataLoader:
    """RecBole's loader of training windows, in an order drawn from `config["seed"]`."""
    return TrainDataLoader(config, dataset, None, shuffle=True)


class _NullWriter:
    """Stands in for TensorBoard's writer."""

    def add_scalar(self, *args: object) -> None: ...

    def add_hparams(self, *args: object) -> None: ...


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _pad(sequences: list[Tensor], length: int) -> Tensor:
    out = torch.zeros(len(sequences), length, dtype=torch.int64)  # RecBole pads with item 0
    for row, items in enumerate(sequences):
        out[row, : len(items)] = items
    return out
