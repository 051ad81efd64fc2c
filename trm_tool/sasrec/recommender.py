"""RecBole's SASRec with knowledge as a recommender, and the file that keeps it."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.catalogue.filters import AttributeIndex, Where
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS, Encoder
from deeprec.trm_tool.errors import ArtifactError, ConfigError, reason_of
from deeprec.trm_tool.recommender import Query, RecommenderIdentity, Retrieved
from deeprec.trm_tool.score_ranking import allowed_items, check_k, item_rows, ranked
from deeprec.trm_tool.text import plain, readable_words
from deeprec.trm_tool.trm.model import PADDING_ROW, pad_histories
from deeprec.trm_tool.trm.ranking import best, ranks_with_ties
from deeprec.trm_tool.trm.training.preferences import encode_preferences

FORMAT = 1
_POPULARITY = "popularity"
_MOST = 4096
"""The largest number that an architecture may have."""
_BATCH = 256
_REMEDY = "Train it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class SasrecConfig:
    """The architecture of SASRec, in RecBole's terms. The defaults are the size of the embedded TRM."""

    hidden_size: int = 64
    inner_size: int = 256
    n_layers: int = 2
    n_heads: int = 2
    dropout: float = 0.3
    """The share of hidden states and attention weights that training drops."""
    max_length: int = 50
    """Items of a history that are read, counted from its end."""

    def __post_init__(self) -> None:
        for name in ("hidden_size", "inner_size", "n_layers", "n_heads", "max_length"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= _MOST:
                raise ConfigError(f"SasrecConfig.{name} is {str(value)[:80]}. Set a whole number from 1 to {_MOST}.")
        if self.hidden_size % self.n_heads:
            raise ConfigError(
                f"SasrecConfig.hidden_size {self.hidden_size} cannot be shared by {self.n_heads} heads. Use a multiple."
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"SasrecConfig.dropout is {self.dropout}. Set it to at least 0 and below 1.")

    def recbole(self) -> dict[str, Any]:
        """The settings as RecBole's SASRec reads them."""
        return {
            **{name: getattr(self, name) for name in ("hidden_size", "inner_size", "n_layers", "n_heads")},
            "hidden_dropout_prob": self.dropout,
            "attn_dropout_prob": self.dropout,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "initializer_range": 0.02,
            "loss_type": "CE",
        }


class SasrecRecommender:
    """Ranks a catalogue by SASRec; preferences and words are knowledge vectors that are added to the history's state.

    Without a history they decide alone; without any of them, popularity does. Make it with `load_sasrec`.
    """

    def __init__(
        self,
        network: Any,
        catalogue: Catalogue,
        encoder: Encoder,
        popularity: NDArray[np.float64],
        identity: RecommenderIdentity,
    ) -> None:
        self.catalogue, self.encoder, self.identity = catalogue, encoder, identity
        self._network, self._popularity = network, popularity
        self._attributes = AttributeIndex(catalogue)

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        words: str | None = None,
        words_trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        """Find the `k` items that fit best, as `Recommender.retrieve` asks; a trust that is None is 1."""
        query = Query(
            history=history,
            preference=preference,
            trust=trust,
            words=words,
            words_trust=words_trust,
            exclude=exclude,
            where=where,
        )
        return self.retrieve_batch([query], k=k)[0]

    def retrieve_batch(self, queries: Sequence[Query], *, k: int) -> list[Retrieved]:
        """`retrieve` for many queries; the answers come in the order of the queries."""
        check_k(k)
        found = []
        for start in range(0, len(queries), _BATCH):
            batch = queries[start : start + _BATCH]
            for query, scores in zip(batch, self._scores(batch), strict=True):
                history = item_rows(self.catalogue, query.history, "history")
                filtered = allowed_items(self.catalogue, self._attributes, query, history)
                scores[~filtered.mask] = -np.inf
                found.append(ranked(self.catalogue, scores, best(scores, k), filtered))
        return found

    def ranks_of(self, item_ids: Sequence[str], queries: Sequence[Query]) -> NDArray[np.int64]:
        """1-based rank of an item for each query, int64 (n,); an item that its query masks ranks after all others."""
        if len(item_ids) != len(queries):
            raise ConfigError(f"{len(item_ids)} items for {len(queries)} queries. Give one item a query.")
        targets, ranks = self.catalogue.rows(item_ids), np.empty(len(queries), dtype=np.int64)
        for start in range(0, len(queries), _BATCH):
            part = slice(start, start + _BATCH)
            scores = self._scores(queries[part])
            for query, line in zip(queries[part], scores, strict=True):
                history = item_rows(self.catalogue, query.history, "history")
                line[~allowed_items(self.catalogue, self._attributes, query, history).mask] = -np.inf
            allowed = (scores > -np.inf).sum(axis=1)
            ranks[part] = np.minimum(ranks_with_ties(scores, targets[part]), 1 + allowed)
        return ranks

    def _scores(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Scores of all items (queries, items), in catalogue order; nothing is masked."""
        for query in queries:
            if query.diversity:
                raise ConfigError("SASRec offers no `diversity`. Leave it out of the query.")
        histories = [item_rows(self.catalogue, query.history, "history") for query in queries]
        rows = pad_histories(histories, self._network.max_seq_length)
        knowledge = [
            ([plain(query.preference or "", MAX_TEXT_CHARS) for query in queries], [query.trust for query in queries]),
            (
                [readable_words(query.words, MAX_TEXT_CHARS) for query in queries],
                [query.words_trust for query in queries],
            ),
        ]
        with torch.inference_mode():
            states = self._network.latest(torch.where(rows == PADDING_ROW, 0, rows + 1))
            for texts, trusts in knowledge:
                if any(texts):
                    states = states + self._vectors(texts, trusts)
            scores: NDArray[np.float32] = (states @ self._network.item_embedding.weight[1:].T).numpy()
        for line, history, *texts in zip(scores, histories, knowledge[0][0], knowledge[1][0], strict=True):
            if not len(history) and not any(texts):
                line[:] = self._popularity
        return scores

    def _vectors(self, texts: Sequence[str], trusts: Sequence[float | None]) -> Tensor:
        encoded = torch.from_numpy(encode_preferences(self.encoder, self.catalogue, texts))
        weights = [
            (1.0 if trust is None else trust) if text else 0.0 for text, trust in zip(texts, trusts, strict=True)
        ]
        vectors: Tensor = self._network.knowledge(encoded) * torch.tensor(weights).unsqueeze(1)
        return vectors


def save_sasrec(
    path: Path, weights: Mapping[str, Tensor], settings: Mapping[str, Any], *, popularity: NDArray[np.float64]
) -> None:
    """Write a trained SASRec to one safetensors file, as a whole, with its settings in the file's metadata.

    Raises:
        ConfigError: it cannot be written; what was there before is unchanged.
    """
    path = Path(path)
    staged = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            dict(weights) | {_POPULARITY: torch.from_numpy(popularity)},
            staged,
            metadata={"deeprec": json.dumps({"format": FORMAT, **settings}, sort_keys=True)},
        )
        os.chmod(staged, 0o644)
        staged.replace(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path} cannot be written: {reason_of(error)}. Name another file.") from None


def load_sasrec(path: Path, catalogue: Catalogue | Dataset, encoder: Encoder) -> SasrecRecommender:
    """Load what `train_knowledge_sasrec` wrote.

    Args:
        path: The file. It holds weights and settings, and no code.
        catalogue: The catalogue that it was trained on, or the data with it.
        encoder: The one that it was trained with.

    Raises:
        ArtifactError: the file is missing, damaged, or does not fit the catalogue.
        ConfigError: `encoder` is another one, or RecBole is not installed.
    """
    items = catalogue.catalogue if isinstance(catalogue, Dataset) else catalogue
    try:
        with safe_open(path, "pt") as file:
            settings = parse_json((file.metadata() or {})["deeprec"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not isinstance(settings, dict) or settings.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        architecture = {each.name: settings["architecture"][each.name] for each in fields(SasrecConfig)}
        config, width = SasrecConfig(**architecture), int(settings["text_width"])
        encoder_id, holdout, data = (
            settings["encoder_id"],
            int(settings["holdout"]),
            str(settings["dataset_fingerprint"]),
        )
        popularity = weights.pop(_POPULARITY).numpy()
        if popularity.shape != (len(items),) or not 1 <= width <= _MOST:
            raise ValueError(f"it has {popularity.shape} items where the catalogue has {len(items)}")
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise ValueError("it holds values that are not finite")
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. {_REMEDY}") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise ArtifactError(f"{path} is not a SASRec of this catalogue ({reason_of(error)}). {_REMEDY}") from None
    if encoder.id != encoder_id:
        raise ConfigError(
            f"{path} was trained with the text encoder {str(encoder_id)[:80]!r}; {encoder.id!r} would not fit. Use "
            "the one that it was trained with."
        )
    network = make_network(config, width, len(items))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtifactError(f"{path} does not fit its own settings ({reason_of(error)}). {_REMEDY}") from None
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    identity = RecommenderIdentity(fingerprint=digest, dataset_fingerprint=data, holdout=holdout)
    return SasrecRecommender(network.requires_grad_(False).eval(), items, encoder, popularity, identity)


def make_network(config: SasrecConfig, text_width: int, items: int) -> Any:
    """SASRec without weights, as RecBole builds it, for items in catalogue order behind the padding."""
    try:
        from deeprec.trm_tool.sasrec.network import KnowledgeSASRec
    except ModuleNotFoundError:
        raise ConfigError("SASRec needs RecBole. Install it with `pip install 'deeprec-agent[trm]'`.") from None
    names = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "LIST_SUFFIX": "_list", "NEG_PREFIX": "neg_"}
    settings = {
        **names,
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "MAX_ITEM_LIST_LENGTH": config.max_length,
        "device": torch.device("cpu"),
        "text_width": text_width,
        **config.recbole(),
    }
    with torch.random.fork_rng():
        return KnowledgeSASRec(settings, SimpleNamespace(num=lambda field: items + 1))
