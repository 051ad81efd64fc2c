"""RecBole's SASRec whose state is moved by a vector of knowledge. It needs the extra `[trm]`: import it lazily.

Source:
    Kang & McAuley 2018, arXiv:1808.09781 (SASRec); Sun et al. 2024, arXiv:2410.05939 (knowledge that is encoded and
    added to a sequential recommender).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender import SASRec
from torch import Tensor, nn

from deeprec.trm_tool.trm.training.preferences import PreferencePool
from deeprec.trm_tool.trm.training.sequence_windows import TARGETS, WRITTEN


class KnowledgeSASRec(SASRec):  # type: ignore[misc]
    """SASRec as RecBole has it, with the loss at every position, and with a knowledge vector added to each state.

    Args:
        config: RecBole's, with the settings of SASRec and `text_width`.
        dataset: Where RecBole asks for the number of items.
        pool: Knowledge to train on; None to serve.
        seed: Of the draws from the pool.
    """

    def __init__(self, config: Any, dataset: Any, pool: PreferencePool | None = None, seed: int = 0) -> None:
        super().__init__(config, dataset)
        width, inner = self.hidden_size, self.inner_size
        self.knowledge = nn.Sequential(nn.Linear(config["text_width"], inner), nn.GELU(), nn.Linear(inner, width))
        self.knowledge.apply(self._init_weights)
        self.pool = pool
        self.with_exact_preferences = False
        self.generator = torch.Generator().manual_seed(seed)
        if pool is not None:
            tokens = dataset.id2token(self.ITEM_ID, range(1, self.n_items))
            self.row_of = torch.tensor([-1, *(int(token[1:]) for token in tokens)])  # RecBole's number -> catalogue row

    def states(self, items: Tensor) -> Tensor:
        """Read histories in RecBole's item numbers (batch, length), right-padded with 0 -> (batch, length, width)."""
        hidden = self.item_embedding(items) + self.position_embedding.weight[: items.shape[1]]
        hidden = self.dropout(self.LayerNorm(hidden))
        encoded: Tensor = self.trm_encoder(hidden, self.get_attention_mask(items), output_all_encoded_layers=True)[-1]
        return encoded

    def latest(self, items: Tensor) -> Tensor:
        """The states after the last item of each history (batch, width); 0 for an empty one."""
        lengths = (items != 0).sum(dim=1)
        states: Tensor = self.gather_indexes(self.states(items), (lengths - 1).clamp(min=0))
        return states * (lengths > 0).unsqueeze(1)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy over the catalogue at every position of every window, each with knowledge or without."""
        assert self.pool is not None
        targets = interaction[TARGETS]
        trained = targets != 0
        states, targets = self.states(interaction[self.ITEM_SEQ])[trained], targets[trained]
        slots = interaction[WRITTEN][trained] if self.pool.slots else None
        chosen, has = self.pool.draw(self.row_of[targets.cpu()], self.generator, slots)
        if bool(has.any()):
            unique, index = torch.unique(chosen[has], return_inverse=True)
            read = self.knowledge(self.pool.embeddings[unique].to(states.device))
            states = states.index_add(0, has.nonzero()[:, 0].to(states.device), read[index.to(states.device)])
        return F.cross_entropy(states @ self.item_embedding.weight.T, targets)

    @contextmanager
    def exact_preferences(self) -> Iterator[None]:
        """Inside the block, every prediction has all phrases of its target as the knowledge."""
        self.with_exact_preferences = True
        try:
            yield
        finally:
            self.with_exact_preferences = False

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Score all items, in RecBole's item numbers -> (batch, items with padding)."""
        states = self.latest(interaction[self.ITEM_SEQ])
        if self.with_exact_preferences and self.pool is not None:
            index, has = self.pool.all_phrases(self.row_of[interaction[self.POS_ITEM_ID].cpu()])
            read = self.knowledge(self.pool.embeddings[index].to(states.device))
            states = states + read * has.unsqueeze(1).to(states.device)
        scores: Tensor = states @ self.item_embedding.weight.T
        return scores
