"""Whole sequences through RecBole: one training sample a window of a history, a loss at every position of it.

Files, Config, Dataset, loaders, Trainer and Evaluator are RecBole's; the windows and the model are ours.
The module needs the extra `[trm]`: import it lazily.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.dataset import Dataset as RecBoleDataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.trm.model import PADDING_ROW, PreferenceAwareTRM
from deeprec.trm_tool.trm.training.preferences import PreferencePool
from deeprec.trm_tool.trm.training.recbole_support import QuietTrainer, make_config, seeded, write_for_recbole
from deeprec.trm_tool.trm.training.request_examples import RequestExamples, request_ranks

if TYPE_CHECKING:
    from deeprec.trm_tool.trm.training.train import TrainingConfig

TARGETS = "target_list"
"""Field of a window with the item that follows each of its items."""
WORDLESS, HISTORYLESS = 0.1, 0.1
"""Shares of the requests with both a history and words that are trained without the one or the other."""
WRITTEN = "written_list"
"""Field of a window with the slot of the texts that logged runs wrote for each target (`PreferencePool.slots`)."""


class WholeSequenceDataset(SequentialDataset):  # type: ignore[misc]
    """RecBole's sequential data set with one training sample a window of a user's sequence, not one a position.

    A window holds up to `MAX_ITEM_LIST_LENGTH` items and, for each, the item that follows; windows of one user overlap
    by `window_overlap` items (the earliest by more, so that it is full), and together they hold every step. RecBole's
    augmentation would repeat the prefix for every step: 97,171 samples for ml-100k, against some 2,400 windows.

    The last `held_back` items of each user never enter a window. The last item is the target of validation.
    """

    def __init__(self, config: Config, slots: Mapping[tuple[str, int], int] | None = None) -> None:
        """`slots`: RecBole's token of a user, and the index of a target in that user's sequence -> its `WRITTEN`."""
        with warnings.catch_warnings():
            # `feat[field].fillna(inplace=True)`: nothing is missing in what `write_for_recbole` wrote.
            warnings.filterwarnings("ignore", message="A value is trying to be set on a copy", category=FutureWarning)
            super().__init__(config)
        self.slots = dict(slots or {})

    def build(self) -> list["WholeSequenceDataset"]:
        """Split into training windows and validation rows (RecBole never gets the test items)."""
        RecBoleDataset._change_feat_format(self)  # not SequentialDataset's method, which would augment
        self._aug_presets()
        # Not RecBole's sort: it hands tensors to NumPy in a way that NumPy 2 deprecates.
        order = np.lexsort((self.inter_feat[self.time_field].numpy(), self.inter_feat[self.uid_field].numpy()))
        users = self.inter_feat[self.uid_field][order]
        items = self.inter_feat[self.iid_field][order]
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
        owners, inputs, targets, written = [], [], [], []
        for start, items in sequences:
            steps = len(items) - 1
            if steps < 1:
                continue
            user = str(self.id2token(self.uid_field, int(users[start])))
            # Windows are cut from the end backwards, so that the latest one is full.
            ends = list(range(steps, min(length, steps) - 1, -stride))
            if ends[-1] > length:
                ends.append(min(length, steps))
            for end in ends:
                begin = max(end - length, 0)
                owners.append(users[start])
                inputs.append(items[begin:end])
                targets.append(items[begin + 1 : end + 1])
                written.append(torch.tensor([self.slots.get((user, at), 0) for at in range(begin + 1, end + 1)]))
        return Interaction(
            {
                self.uid_field: torch.stack(owners) if owners else torch.empty(0, dtype=torch.int64),
                self.item_id_list_field: _pad(inputs, length),
                TARGETS: _pad(targets, length),
                WRITTEN: _pad(written, length),
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
    """RecBole's full-sort loader with the histories, which its Trainer then masks; RecBole's own loader gives none."""

    def collate_fn(self, index: list[int]) -> tuple[Interaction, tuple[Tensor, Tensor], Tensor, Tensor]:
        """Collect a batch, with the (row, item) pairs of all histories."""
        interaction, _, positive_u, positive_i = super().collate_fn(index)
        histories = [self._dataset.histories[number] for number in index]
        rows = torch.repeat_interleave(torch.arange(len(index)), torch.tensor([len(items) for items in histories]))
        return interaction, (rows, torch.cat(histories)), positive_u, positive_i


class PreferenceAwareRecommender(SequentialRecommender):  # type: ignore[misc]
    """`PreferenceAwareTRM` as RecBole sees a model. RecBole's item numbers stay on this side of it."""

    def __init__(
        self,
        config: Config,
        dataset: RecBoleDataset,
        trm: PreferenceAwareTRM,
        pool: PreferencePool,
        seed: int,
        requests: RequestExamples | None = None,
    ) -> None:
        super().__init__(config, dataset)
        self.trm = trm
        self.pool = pool
        self.requests = requests
        self.pool_embeddings = pool.embeddings.to(self.device)
        self.with_exact_preferences = False
        self.sampled_softmax = int(config["sampled_softmax"])
        self.request_batch, self.request_weight = int(config["request_batch"]), float(config["request_weight"])
        self.generator = torch.Generator().manual_seed(seed)
        self.request_generator = torch.Generator().manual_seed(seed)
        tokens = dataset.id2token(self.ITEM_ID, np.arange(1, self.n_items))
        rows = torch.tensor([PADDING_ROW, *(int(token[1:]) for token in tokens)])
        self.row_of = rows.to(self.device)  # RecBole's item number -> catalogue row

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy over the catalogue at every position of every window, each with a preference or without.

        Where there are requests, that of a batch of them is added.
        """
        rows, targets = self.row_of[interaction[self.ITEM_SEQ]], self.row_of[interaction[TARGETS]]
        trm = self.trm
        in_full = trm.item_count <= self.sampled_softmax
        item_texts = trm.adapt_text(trm.text_embeddings) if in_full else None
        trained = targets != PADDING_ROW
        hidden = trm.encode_sequence(rows, item_texts=item_texts)[trained]  # (positions, width)
        targets = targets[trained]
        slots = interaction[WRITTEN][trained] if self.pool.slots else None
        chosen, has = (part.to(self.device) for part in self.pool.draw(targets, self.generator, slots))
        cold = has & (torch.rand(len(has), generator=self.generator) < self.pool.config.cold).to(self.device)
        preferences = None
        if bool(has.any()):
            unique, index = torch.unique(chosen[has], return_inverse=True)
            adapted = trm.adapt_preference(self.pool_embeddings[unique])
            preferences = torch.zeros_like(hidden).masked_scatter(has.unsqueeze(-1), adapted[index])
            hidden = hidden * ~cold.unsqueeze(-1)
        queries = trm.combine(hidden, preferences)
        asked, taken = queries[:0], targets[:0]
        if self.requests is not None:
            asked, taken = self._draw_requests(self.requests, item_texts)
        if item_texts is not None:
            vectors = F.normalize(trm.id_embedding.weight + item_texts, dim=-1)
        else:
            others = torch.randint(trm.item_count, (self.sampled_softmax,), generator=self.generator).to(self.device)
            candidates, index = torch.unique(torch.cat((targets, taken, others)), return_inverse=True)
            vectors, index = trm.item_vectors(candidates), index[: len(targets) + len(taken)]
            targets, taken = index[: len(targets)], index[len(targets) :]
        loss = F.cross_entropy(queries @ vectors.T / trm.config.temperature, targets)
        if self.requests is not None:
            loss = loss + self.request_weight * F.cross_entropy(asked @ vectors.T / trm.config.temperature, taken)
        return loss

    def _draw_requests(self, requests: RequestExamples, item_texts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Query vectors of a batch of requests (batch, width), and the catalogue rows of their targets (batch,)."""
        generator = self.request_generator
        index = torch.randint(len(requests), (self.request_batch,), generator=generator)
        chance = torch.rand(2, self.request_batch, generator=generator)
        known = requests.rows[index, 0] != PADDING_ROW
        heard = requests.has_words[index] & ((chance[0] >= WORDLESS) | ~known)
        cold = heard & (chance[1] < HISTORYLESS)
        targets = requests.targets[index].to(self.device)
        rows = requests.rows[index]
        rows = rows[:, : max(1, int((rows != PADDING_ROW).sum(dim=1).max()))]  # most histories are short
        states = self.trm.encode_histories(rows.to(self.device), item_texts=item_texts)
        words = self.trm.adapt_preference(requests.embeddings[requests.messages[index]].to(self.device))
        states = states * ~cold.unsqueeze(-1).to(self.device)
        return self.trm.combine(states, words=words * heard.unsqueeze(-1).to(self.device)), targets

    @contextmanager
    def exact_preferences(self) -> Iterator[None]:
        """Inside the block, every prediction has all phrases of its target as the preference."""
        self.with_exact_preferences = True
        try:
            yield
        finally:
            self.with_exact_preferences = False

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items, in RecBole's item numbers -> (batch, items with padding).

        There is no preference, except inside `exact_preferences`.
        """
        preference = has = None
        if self.with_exact_preferences:
            index, has = self.pool.all_phrases(self.row_of[interaction[self.POS_ITEM_ID]])
            preference, has = self.pool_embeddings[index], has.to(self.device)
        scores = self.trm.query(self.row_of[interaction[self.ITEM_SEQ]], preference, has) @ self.trm.item_vectors().T
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
    told_ndcg_at_10: float
    """NDCG@10 with all phrases of each target as the preference; NaN where no item has any."""
    heard_ndcg_at_10: float = float("nan")
    """NDCG@10 of the held-out requests with their histories and words; NaN where there are none."""


class TwofoldTrainer(QuietTrainer):
    """Keeps the epoch with the best mean of NDCG@10 without a preference and with all phrases of each target as one.

    The preference side still learns after the rest has converged: selection by the first figure alone ends too early.
    Where there are held-out requests, their NDCG@10 is the third of the mean.
    """

    def __init__(
        self,
        config: Config,
        model: PreferenceAwareRecommender,
        on_epoch: Callable[[EpochResult], None] | None = None,
        held_out: RequestExamples | None = None,
    ) -> None:
        super().__init__(config, model)
        self.on_epoch, self.held_out = on_epoch, held_out

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        score, result = super()._valid_epoch(valid_data, show_progress)
        exact = float("nan")
        if self.model.pool.texts:
            with self.model.exact_preferences():
                exact, _ = super()._valid_epoch(valid_data, show_progress)
            score = (score + exact) / 2
        heard = float("nan")
        if self.held_out is not None:
            with self._averaged():
                self.model.eval()
                ranks = request_ranks(self.model.trm, self.held_out)
            heard = float(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0.0).mean())
            score = (2 * score + heard) / 3
        if self.on_epoch:
            self.on_epoch(
                EpochResult(
                    epoch=len(self.train_loss_dict),
                    loss=self._loss,
                    recall_at_10=float(result["recall@10"]),
                    ndcg_at_10=float(result["ndcg@10"]),
                    told_ndcg_at_10=float(exact),
                    heard_ndcg_at_10=heard,
                )
            )
        return score, result


def run_recbole(
    dataset: Dataset,
    make_model: Callable[[], PreferenceAwareTRM],
    pool: PreferencePool,
    *,
    folder: Path,
    training: "TrainingConfig",
    epochs: int,
    holdout: int,
    seed: int,
    on_epoch: Callable[[EpochResult], None] | None = None,
    masked: bool = True,
    requests: RequestExamples | None = None,
    held_out: RequestExamples | None = None,
) -> tuple[PreferenceAwareTRM, dict[str, Any]]:
    """Train a model with RecBole and measure it on the validation targets.

    Args:
        dataset: Sequences by user.
        make_model: Builds the model; called with the seed set.
        pool: Preferences to train on.
        folder: An empty folder for RecBole's files.
        training: Optimiser settings.
        epochs: Passes, at most.
        holdout: Items of each user that no window holds, counted from the end.
        seed: Seeds everything that is drawn.
        on_epoch: Called after every epoch.
        masked: Whether the validation between epochs masks what a user has had, as a recommender does when it serves.
        requests: Requests to train on beside the sequences.
        held_out: Requests that choose the epoch beside the validation targets.

    Returns:
        The model with its best weights, and what was measured.
    """
    write_for_recbole(dataset, folder)
    with seeded(seed):
        trm = make_model()
        config = make_config(
            PreferenceAwareRecommender,
            folder,
            max_length=trm.config.max_length,
            held_back=holdout - 1,  # the test item is not in the files
            window_overlap=training.window_overlap,
            train_batch_size=training.batch_size,
            eval_batch_size=512,
            learning_rate=training.learning_rate,
            decay=True,
            weight_average=training.weight_average,
            clip_grad_norm={"max_norm": training.clip_norm},
            stopping_step=training.patience,
            sampled_softmax=training.sampled_softmax,
            request_batch=training.request_batch,
            request_weight=training.request_weight,
            epochs=epochs,
            seed=seed,
        )
        tokens = {user: f"u{number}" for number, user in enumerate(dataset.users)}  # as `write_for_recbole` names them
        whole = WholeSequenceDataset(config, {(tokens[user], at): slot for (user, at), slot in pool.slots.items()})
        windows, validation = whole.build()
        model = PreferenceAwareRecommender(config, whole, trm, pool, seed, requests).to(config["device"])
        trainer = TwofoldTrainer(config, model, on_epoch, held_out)
        seen_masked = SeenMaskedLoader(config, validation, None)
        plain = FullSortEvalDataLoader(config, validation, None)
        trainer.fit(
            TrainDataLoader(config, windows, None, shuffle=True), seen_masked if masked else plain, verbose=False
        )
        model.load_state_dict(trainer.best_state)
        measured = {"masked": trainer.measure(seen_masked), "unmasked": trainer.measure(plain)}
        if pool.texts:
            with model.exact_preferences():
                measured["masked, told all attributes of the target"] = trainer.measure(seen_masked)
    return trm.cpu().eval(), {
        "validation": measured,
        "users": len(validation),
        "best_epoch": trainer.best_epoch,
        "epochs": len(trainer.train_loss_dict),
    }


def _pad(sequences: list[Tensor], length: int) -> Tensor:
    out = torch.zeros(len(sequences), length, dtype=torch.int64)  # RecBole pads with item 0
    for row, items in enumerate(sequences):
        out[row, : len(items)] = items
    return out
