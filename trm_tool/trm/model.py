"""The preference-aware recommender as a plain torch module. Serving needs no RecBole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.trm.meta_device import weightless

PADDING_ROW = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TRMConfig:
    """Architecture of the recommender.

    The paper's numbers are width 128, inner 512, dropout 0.5, 2 layers, 2 heads, 8 experts. The defaults are smaller
    where two CPU cores need it: they are what the embedded ml-100k run was tuned with, on validation only.
    """

    width: int = 64
    inner: int = 256
    layers: int = 2
    heads: int = 2
    dropout: float = 0.3
    experts: int = 8
    """Experts of the adaptor that projects text embeddings into the id space."""
    max_length: int = 50
    """Items of a history that are read, counted from its end."""
    temperature: float = 0.1
    """Cosines are divided by this in the loss. The scores of a retrieval are plain cosines."""
    belief_gate: bool = True
    """Whether a gate weighs a preference by how it fits the history."""
    frequency_gate: bool = True
    """Whether ids and texts of a history are mixed by a gated convolution in the frequency domain, or only added."""

    def __post_init__(self) -> None:
        for name in ("width", "inner", "layers", "heads", "experts", "max_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"TRMConfig.{name} is {getattr(self, name)}. Set it to 1 or more.")
        if self.width % self.heads:
            raise ConfigError(f"TRMConfig.width {self.width} cannot be shared by {self.heads} heads. Use a multiple.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"TRMConfig.dropout is {self.dropout}. Set it to at least 0 and below 1.")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"TRMConfig.temperature is {self.temperature}. Set it above 0.")


class MixtureAdaptor(nn.Module):
    """Projects text embeddings into the id space: a gate mixes linear experts, each with an offset of its own.

    Source:
        Hou et al. 2022 (UniSRec), doi:10.1145/3534678.3539381, section 2.1: whitening and experts.
    """

    def __init__(self, text_width: int, width: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.experts = experts
        self.gate = nn.Linear(text_width, experts)
        self.project = nn.Linear(text_width, experts * width)  # (x - b) W written as x W + b'
        self.dropout = nn.Dropout(dropout)

    def forward(self, text: Tensor) -> Tensor:
        """Adapt text embeddings (..., text_width) -> (..., width)."""
        share = torch.softmax(self.gate(text), dim=-1)  # (..., experts)
        projected = self.project(self.dropout(text)).unflatten(-1, (self.experts, -1))  # (..., experts, width)
        adapted: Tensor = torch.einsum("...e,...ew->...w", share, projected)
        return adapted


class FrequencyGate(nn.Module):
    """Fuses the ids and the texts of a history by convolutions in the frequency domain, each under a gate.

    TedRec convolves circularly over whole sequences, which would show a position its own future once every position is
    trained. Here both sequences are padded with zeros to twice their length: the convolution becomes linear, position
    t reads positions up to t only, and the fusion is otherwise the paper's.

    Source:
        Xu et al. 2024 (TedRec), doi:10.1145/3627673.3679741, sequence-level representation fusion.
    """

    def __init__(self, width: int, max_length: int) -> None:
        super().__init__()
        kernel = torch.empty(max_length, width)
        if not kernel.is_meta:  # `weightless`: nothing to compute with
            kernel = torch.randn(max_length, width) * 0.02
            kernel[0] += 1.0  # starts as the identity
        self.kernel = nn.Parameter(kernel)  # (max_length, width), over lags
        self.id_gate = nn.Linear(width, 1)
        self.fusion_gate = nn.Linear(width, 1)

    def forward(self, ids: Tensor, texts: Tensor) -> Tensor:
        """Fuse ids and texts, both (batch, length, width) and zero at padding, -> the same shape."""
        length = ids.shape[1]
        size = 2 * length
        id_spectrum = torch.fft.rfft(ids, n=size, dim=1)
        text_spectrum = torch.fft.rfft(texts, n=size, dim=1)
        filter_spectrum = torch.fft.rfft(self.kernel[:length], n=size, dim=0)
        both = torch.stack((id_spectrum * filter_spectrum, id_spectrum * text_spectrum))
        filtered, fused = torch.fft.irfft(both, n=size, dim=2)[:, :, :length]
        fused = fused / len(self.kernel) ** 0.5  # not by `length`: padding must change nothing
        gated: Tensor = filtered * self.id_gate(filtered).sigmoid() + fused * self.fusion_gate(fused).sigmoid()
        return gated


class Block(nn.Module):
    """One causal transformer layer, normalised before attention and before the feed-forward part."""

    def __init__(self, config: TRMConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.mix = nn.Linear(config.width, config.width)
        self.forward_norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, config.inner)
        self.contract = nn.Linear(config.inner, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, length, width); position t reads positions up to t."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (batch, heads, length, head width)
            for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.mix(attended))
        inner = F.gelu(self.expand(self.forward_norm(x)))
        transformed: Tensor = x + self.dropout(self.contract(inner))
        return transformed


def pad_histories(histories: Sequence[NDArray[np.int64]], length: int) -> Tensor:
    """Lay out the latest `length` items of each history, oldest first, right-padded -> int64 (histories, length).

    Always the full length, as in training: the model's frequency filter depends on it, so that an answer would
    otherwise depend on the other histories of its batch.
    """
    rows = torch.full((len(histories), length), PADDING_ROW)
    for line, history in zip(rows, histories, strict=True):
        latest = torch.from_numpy(history[-length:])
        line[: len(latest)] = latest
    return rows


class PreferenceAwareTRM(nn.Module):
    """Scores every item of a catalogue for a history and a preference in words.

    Histories are given as catalogue rows, **right-padded** with -1 (`PADDING_ROW`): the oldest item comes first, and
    only the last `max_length` items of a history may be passed.

    Args:
        config: The architecture.
        text_embeddings: Frozen embeddings of the items' texts, float (n_items, text_width), in catalogue order.

    Source:
        Zheng et al. 2025 (DeepRec), arXiv:2505.16810.
    """

    text_embeddings: Tensor

    def __init__(self, config: TRMConfig, text_embeddings: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("text_embeddings", text_embeddings.to(torch.float32), persistent=False)
        items, text_width = text_embeddings.shape
        self.id_embedding = nn.Embedding(items, config.width)
        self.adaptor = MixtureAdaptor(text_width, config.width, config.experts, config.dropout)
        self.frequency_gate = FrequencyGate(config.width, config.max_length) if config.frequency_gate else None
        self.position_embedding = nn.Embedding(config.max_length, config.width)
        self.input_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output_norm = nn.LayerNorm(config.width)
        self.preference_head = nn.Sequential(
            nn.Linear(config.width, config.inner), nn.GELU(), nn.Linear(config.inner, config.width)
        )
        self.belief = (
            nn.Sequential(nn.Linear(3 * config.width, config.width), nn.GELU(), nn.Linear(config.width, 1))
            if config.belief_gate
            else None
        )
        self.apply(_initialise)

    @property
    def item_count(self) -> int:
        """Items that the model knows by id."""
        return self.id_embedding.num_embeddings

    def adapt_text(self, text: Tensor) -> Tensor:
        """Project text embeddings (n, text_width) into the id space -> (n, width)."""
        adapted: Tensor = self.adaptor(text)
        return adapted

    def encode_sequence(self, rows: Tensor, *, item_texts: Tensor | None = None) -> Tensor:
        """Read histories.

        Args:
            rows: int64 (batch, length), right-padded with -1, length at most `max_length`.
            item_texts: `adapt_text(text_embeddings)` (n_items, width) where the caller has it already.

        Returns:
            float (batch, length, width); entry t has read the items up to t. Entries at padding are meaningless.
        """
        known = (rows != PADDING_ROW).unsqueeze(-1)  # (batch, length, 1)
        index = rows.clamp(min=0)
        ids = self.id_embedding(index) * known
        if item_texts is None and index.numel() > self.item_count:
            item_texts = self.adapt_text(self.text_embeddings)  # cheaper than to adapt each item once a history
        texts = (self.adapt_text(self.text_embeddings[index]) if item_texts is None else item_texts[index]) * known
        x = self.frequency_gate(ids, texts) + texts if self.frequency_gate is not None else ids + texts
        x = self.dropout(self.input_norm(x + self.position_embedding.weight[: rows.shape[1]]))
        for block in self.blocks:
            x = block(x)
        encoded: Tensor = self.output_norm(x)
        return encoded

    def adapt_preference(self, preference: Tensor) -> Tensor:
        """Turn embedded preferences (n, text_width) into vectors that are added to a history's state -> (n, width)."""
        shift: Tensor = self.preference_head(self.adapt_text(preference))
        return shift

    def encode_histories(self, rows: Tensor, *, item_texts: Tensor | None = None) -> Tensor:
        """Read whole histories (batch, length), padded as for `encode_sequence` -> (batch, width); empty ones are 0."""
        lengths = (rows != PADDING_ROW).sum(dim=1)  # (batch,)
        if not rows.shape[1] or not bool(lengths.any()):
            return torch.zeros(rows.shape[0], self.config.width, device=rows.device)
        last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, self.config.width)
        return self.encode_sequence(rows, item_texts=item_texts).gather(1, last).squeeze(1) * (lengths > 0).unsqueeze(
            -1
        )

    def combine(
        self,
        states: Tensor,
        preferences: Tensor | None = None,
        trust: float | Tensor = 1.0,
        words: Tensor | None = None,
        words_trust: float | Tensor = 1.0,
    ) -> Tensor:
        """Move states of histories by adapted preferences and by adapted words, each under the gate and its trust.

        Args:
            states: From `encode_histories`, (n, width).
            preferences: From `adapt_preference`, (n, width); a row of zeros moves nothing.
            trust: Weight of the preferences; one for all, or (n, 1).
            words: The persons' own words, adapted like preferences, (n, width).
            words_trust: Weight of the words; one for all, or (n, 1).

        Returns:
            Query vectors (n, width) of length 1.
        """
        moved = states
        for shift, weight in ((preferences, trust), (words, words_trust)):
            if shift is not None:
                moved = moved + weight * self._believed(states, shift)
        return F.normalize(moved, dim=-1)

    def _believed(self, states: Tensor, shift: Tensor) -> Tensor:
        """Weigh adapted texts by how they fit the histories, 0 to 2."""
        if self.belief is None:
            return shift
        return shift * 2 * torch.sigmoid(self.belief(torch.cat((states, shift, states * shift), dim=-1)))

    def query(
        self,
        rows: Tensor,
        preference: Tensor | None = None,
        has_preference: Tensor | None = None,
        trust: float | Tensor = 1.0,
    ) -> Tensor:
        """Turn histories and preferences into query vectors.

        Args:
            rows: int64 (batch, length), right-padded with -1; a row of padding alone is an empty history: the
                preference is then the whole query, or the query is zero where there is no preference either.
            preference: From `encode_preferences`, float (batch, text_width), or None for no preference at all.
            has_preference: bool (batch,); False switches the preference of that row off. None means all True.
            trust: How much weight the preference gets; 0 ignores it, 1 is what training saw. Beside an empty history
                any weight above 0 is the whole weight. One for all, or (batch, 1).

        Returns:
            float (batch, width) of unit length.
        """
        states = self.encode_histories(rows)
        if preference is None:
            return self.combine(states)
        preferences = self.adapt_preference(preference)
        if has_preference is not None:
            preferences = preferences * has_preference.unsqueeze(-1)
        return self.combine(states, preferences, trust)

    def item_vectors(self, rows: Tensor | None = None) -> Tensor:
        """Vectors that a query is compared with: id and adapted text, unit length, (n_items, width).

        `rows`: int64 (n,), the items wanted, in that order; None means all.
        """
        ids, texts = self.id_embedding.weight, self.text_embeddings
        if rows is not None:
            ids, texts = ids[rows], texts[rows]
        return F.normalize(ids + self.adapt_text(texts), dim=-1)

    def with_items(self, id_embeddings: Tensor, text_embeddings: Tensor) -> "PreferenceAwareTRM":
        """The same model over other items; every other weight is shared with this one, not copied.

        Args:
            id_embeddings: float (n_items, width), in the order of the new catalogue.
            text_embeddings: float (n_items, text_width).
        """
        with weightless():  # until the weights below
            model = PreferenceAwareTRM(self.config, text_embeddings)
        model.load_state_dict(self.state_dict() | {"id_embedding.weight": id_embeddings}, assign=True)
        return model.requires_grad_(False).train(self.training)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
