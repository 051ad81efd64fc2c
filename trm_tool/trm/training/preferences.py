"""Preference texts to train on, made from the target's attributes: often partial, sometimes wrong, often absent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.encoders.text_encoder import Encoder
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.trm.training.written_preferences import Position

SEPARATOR = "; "
NAMED = np.float32(0.5)
"""Weight of the phrases that a preference names, beside the preference itself."""
MAX_TEXTS = 50_000
"""Texts that training writes and encodes, as long as that leaves each distinct set of phrases two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceConfig:
    """Which share of the training positions has which kind of preference."""

    empty: float = 0.5
    """Share of the positions that are trained without a preference."""
    wrong: float = 0.1
    """Share of the positions with a preference whose text was made for another item of the same batch."""
    noisy: float = 0.2
    """Share of the texts that hold one phrase which is not true of the item they were made for."""
    cold: float = 0.05
    """Share of the positions with a preference that are trained without their history."""
    written: float = 0.5
    """Share of the preferences that come from logged runs, at positions that such runs wrote some for."""
    variants: int = 48
    """Texts written for each distinct set of phrases. Each is encoded once: more texts slow encoding, not training."""

    def __post_init__(self) -> None:
        for name in ("empty", "wrong", "noisy", "cold", "written"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"PreferenceConfig.{name} is {getattr(self, name)}. Give a share from 0 to 1.")
        if self.variants < 1:
            raise ConfigError(f"PreferenceConfig.variants is {self.variants}. Set it to 1 or more.")


def write_preferences(catalogue: Catalogue, config: PreferenceConfig, seed: int) -> list[tuple[str, ...]]:
    """Write preference texts for every item: lists of a random part of the phrases true of it.

    Items with the same phrases share their texts. The first text of an item lists all its phrases. An item without
    phrases gets no text. An item's own title is never among its phrases, not even as one borrowed from another item.
    A catalogue with very many distinct sets of phrases gets fewer texts a set (`MAX_TEXTS` in all, at least 2 a set).

    Args:
        catalogue: Its phrases are used.
        config: The shares to write by.
        seed: Seeds every draw.

    Returns:
        One tuple of texts for each item, in catalogue order.
    """
    rng = np.random.default_rng(seed)
    phrases = [catalogue.phrases_of(item_id) for item_id in catalogue.ids]
    # A wrong phrase is drawn as often as items have it, so that noise has the distribution of true phrases.
    frequent = [phrase for own in phrases for phrase in own]
    titles: dict[tuple[str, ...], set[str]] = {}
    for item, own in zip(catalogue, phrases, strict=True):
        titles.setdefault(own, set()).add(" ".join(item.title.lower().split()))
    count = max(2, min(config.variants, MAX_TEXTS // max(len(titles), 1)))
    texts: dict[tuple[str, ...], tuple[str, ...]] = {(): ()}
    for own in titles:
        variants = [SEPARATOR.join(own)] if own else []
        while own and len(variants) < min(config.variants, count):
            chosen = [own[index] for index in rng.permutation(len(own))[: rng.integers(1, len(own) + 1)]]
            if rng.random() < config.noisy:
                borrowed = frequent[rng.integers(len(frequent))]
                if borrowed not in own and borrowed not in titles[own]:
                    chosen.insert(int(rng.integers(len(chosen) + 1)), borrowed)
            variants.append(SEPARATOR.join(chosen))
        texts[own] = tuple(variants)
    return [texts[own] for own in phrases]


def encode_preferences(encoder: Encoder, catalogue: Catalogue, texts: Sequence[str]) -> NDArray[np.float32]:
    """Encode preferences, each as a mean of its text and of the list of the catalogue's phrases that it names.

    A sentence embedding dilutes the phrases that matter by the words around them; the list restores their weight.

    Returns:
        float32 (len(texts), text width), each row of length 1, or zeros for a text without words.
    """
    named = [SEPARATOR.join(catalogue.spot(text)) for text in texts]
    rows = {text: row for row, text in enumerate(dict.fromkeys([*texts, *named]))}
    vectors = encoder.encode(tuple(rows), role="preference")
    both = vectors[[rows[text] for text in texts]] + NAMED * vectors[[rows[text] for text in named]]
    lengths = np.linalg.norm(both, axis=1, keepdims=True)
    encoded: NDArray[np.float32] = both / np.maximum(lengths, 1e-12)
    return encoded


class PreferencePool:
    """Preference texts of all items, each unique text encoded once; training draws from it position by position.

    Args:
        texts: Texts of each item, in catalogue order, as `write_preferences` returns them.
        encoder: Encodes each unique text once.
        catalogue: Its phrases are found in the texts.
        config: The shares to draw by.
        written: Texts that logged runs wrote for a position of a user's sequence, at least one, as
            `collect_training_texts` returns them.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        encoder: Encoder,
        catalogue: Catalogue,
        config: PreferenceConfig,
        written: Mapping[Position, Sequence[str]] | None = None,
    ) -> None:
        every = [text for own in (*texts, *(written or {}).values()) for text in own]
        unique = {text: index for index, text in enumerate(dict.fromkeys(every))}
        self.config = config
        self.texts = tuple(unique)
        self.embeddings = torch.from_numpy(encode_preferences(encoder, catalogue, self.texts))  # (texts, text width)
        widest = max((len(own) for own in texts), default=0)
        self._variants = torch.full((len(texts), max(widest, 1)), -1)  # (items, variants), into `texts`
        for row, own in enumerate(texts):
            self._variants[row, : len(own)] = torch.tensor([unique[text] for text in own], dtype=torch.int64)
        self._counts = torch.tensor([len(own) for own in texts])
        self.slots: dict[Position, int] = {position: slot for slot, position in enumerate(written or {}, start=1)}
        """Position that logged runs wrote for -> its number in `draw`; 0 is any other position."""
        runs = [torch.tensor([unique[text] for text in own]) for own in (written or {}).values()]
        self._written = pad_sequence([torch.zeros(1, dtype=torch.int64), *runs], batch_first=True)  # (slots, texts)
        self._written_counts = torch.tensor([0, *(len(own) for own in runs)])

    def draw(self, targets: Tensor, generator: torch.Generator, slots: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw a preference for each training position.

        Args:
            targets: int64 (positions,), catalogue rows of the items to predict.
            generator: On the CPU; the draw is repeatable by its seed.
            slots: int64 (positions,), from the attribute `slots`; None where no position has written texts.

        Returns:
            Index into `texts` (positions,), meaningless where there is none; whether there is one, bool (positions,).
        """
        size = targets.shape[0]
        about = targets.cpu()
        chance = torch.rand(3, size, generator=generator)
        wrong = chance[0] < self.config.wrong
        about = torch.where(wrong, about[torch.randperm(size, generator=generator)], about)
        counts = self._counts[about]
        variant = (chance[1] * counts).long().clamp(max=self._variants.shape[1] - 1)
        present = chance[2] >= self.config.empty
        drawn, has = self._variants[about, variant].clamp(min=0), present & (counts > 0)
        if slots is None:
            return drawn, has
        slots = slots.cpu()
        chance, counts = torch.rand(2, size, generator=generator), self._written_counts[slots]
        own = (chance[0] < self.config.written) & (counts > 0)
        choice = (chance[1] * counts).long().clamp(max=self._written.shape[1] - 1)
        return torch.where(own, self._written[slots, choice], drawn), has | (present & own)

    def all_phrases(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The text with all phrases of each target: index into `texts`, and whether there is one, both (targets,)."""
        about = targets.cpu()
        return self._variants[about, 0].clamp(min=0), self._counts[about] > 0
