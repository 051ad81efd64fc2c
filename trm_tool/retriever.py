"""The retriever: a history and a preference in words in, the best items of the catalogue out."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.trm_tool.artifact import Artifact, load_artifact, save_changed
from deeprec.trm_tool.catalogue import Catalogue, Item
from deeprec.trm_tool.catalogue_changes import Change, add_items, remove_items, update_items
from deeprec.trm_tool.encoder import MAX_TEXT_CHARS, Encoder, make_encoder
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.filters import Where
from deeprec.trm_tool.model import PADDING_ROW
from deeprec.trm_tool.snapshot import Snapshot
from deeprec.trm_tool.text import plain

MAX_BATCH = 256
"""Queries of one forward pass; a longer batch takes several."""
SMALL_BATCH = 32
"""Up to this many queries are scored on one thread."""


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item and how well it fits: a cosine in [-1, 1], or the share of the most popular item's popularity."""

    id: str
    score: float


class Retrieved(list[ScoredItem]):
    """Items, best first, and what of the query could not be held."""

    def __init__(self, items: Sequence[ScoredItem] = (), *, unenforced: tuple[str, ...] = ()) -> None:
        super().__init__(items)
        self.unenforced = unenforced
        """Attributes that `where` constrains and that the catalogue lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question to the retriever."""

    history: Sequence[str] = ()
    """Item ids, oldest first; of anybody, known from training or not."""
    preference: str | None = None
    trust: float | None = None
    """How far the preference is trusted beside the history, 0 to 1; None is what the artifact's validation found."""
    exclude: Collection[str] = ()
    where: Where | None = None
    include_seen: bool = False
    """Whether items of the history may come back."""


class Retriever:
    """Ranks a catalogue by a trained artifact. The items' vectors are computed once; safe to share between threads.

    Items can be added, updated and removed while others ask: an answer comes from the catalogue before a change or from
    the one after it, never from a mixture. Changes live in memory until `save`.
    """

    def __init__(self, artifact: Artifact, encoder: Encoder | None = None) -> None:
        """`encoder`: the one that the artifact was trained with; None makes it by its id (nothing loads before use).

        Raises:
            ConfigError: `encoder` is another one than the artifact was trained with.
        """
        trained_with = str(artifact.config["encoder_id"])
        self.encoder: Encoder = make_encoder(trained_with) if encoder is None else encoder
        if self.encoder.id != trained_with:
            raise ConfigError(
                f"The artifact was trained with the text encoder {trained_with!r}; {self.encoder.id!r} would not fit. "
                "Leave the encoder out, or train the artifact again with it."
            )
        self.dataset_fingerprint = str(artifact.config["dataset_fingerprint"])
        """`Dataset.fingerprint` of the data that the artifact was trained on."""
        self.holdout = int(artifact.config["holdout"])
        """How many of each person's last items training did not see."""
        self._snapshot = Snapshot.of(artifact)  # read once by every answer, and replaced whole
        self._saved_as = artifact.fingerprint
        self._changing = Lock()  # one change at a time; nobody who asks waits for it

    @property
    def catalogue(self) -> Catalogue:
        """The items as they are now, those that were removed included."""
        return self._snapshot.artifact.catalogue

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the artifact; after a change another one, until `save` gives that of what it wrote."""
        return self._snapshot.artifact.fingerprint

    @classmethod
    def load(cls, folder: Path | str, encoder: Encoder | None = None) -> "Retriever":
        """Load the artifact in a folder.

        Raises:
            ArtifactError: names the file and the field that does not fit.
        """
        return cls(load_artifact(Path(folder)), encoder)

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
        include_seen: bool = False,
    ) -> Retrieved:
        """Find the `k` items that fit best.

        Without a history the preference alone decides; without either, popularity does. A preference is read up to
        2,000 characters; one of white space only is none.

        Args:
            history: Item ids, oldest first; of anybody. Empty is allowed.
            preference: What is wanted, in words.
            k: Items to return; fewer come back when the query allows fewer.
            trust: How far the preference is trusted beside the history: 0 ignores it, 1 believes it as training did;
                None is what the artifact's validation found. Without a history it decides alone, however little.
            exclude: Item ids that must not come back.
            where: Constraints on attributes, such as `{"year": {"min": 1990}, "genre": {"not_in": ["Horror"]}}`.
            include_seen: Let items of the history come back.

        Returns:
            Best first, ties in catalogue order; `unenforced` names the attributes of `where` the catalogue lacks.

        Raises:
            UnknownItemError: an id of `history` or `exclude` never was in the catalogue; one that was removed is read.
            ConfigError: `k` is below 1, or a condition makes no sense.
        """
        query = Query(
            history=history,
            preference=preference,
            trust=trust,
            exclude=exclude,
            where=where,
            include_seen=include_seen,
        )
        return self.retrieve_batch([query], k=k)[0]

    def retrieve_batch(self, queries: Sequence[Query], *, k: int) -> list[Retrieved]:
        """`retrieve` for many queries in one forward pass; the answers come in the order of the queries."""
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ConfigError(f"k is {k!r}; no item would come back. Set k to 1 or more.")
        retrieved, snapshot = [], self._snapshot
        for start in range(0, len(queries), MAX_BATCH):
            scores, unenforced = self._scores(snapshot, queries[start : start + MAX_BATCH])
            for row_scores, names in zip(scores, unenforced, strict=True):
                items = [
                    ScoredItem(snapshot.artifact.catalogue.ids[row], float(row_scores[row]))
                    for row in _best(row_scores, k)
                ]
                retrieved.append(Retrieved(items, unenforced=names))
        return retrieved

    def rank_of(self, item_id: str, query: Query) -> int:
        """1-based rank of an item for a query; one that the query masks comes after all that it allows."""
        return int(self.ranks_of([item_id], [query])[0])

    def ranks_of(self, item_ids: Sequence[str], queries: Sequence[Query]) -> NDArray[np.int64]:
        """`rank_of` for many pairs of an item and a query in one forward pass -> int64 (n,)."""
        if len(item_ids) != len(queries):
            raise ConfigError(f"{len(item_ids)} items for {len(queries)} queries. Give one item a query.")
        snapshot = self._snapshot
        targets = snapshot.artifact.catalogue.rows(item_ids)
        ranks = np.empty(len(queries), dtype=np.int64)
        for start in range(0, len(queries), MAX_BATCH):
            scores, _ = self._scores(snapshot, queries[start : start + MAX_BATCH])
            for offset, row_scores in enumerate(scores):
                target = targets[start + offset]
                own = row_scores[target]
                allowed = row_scores > -np.inf
                ahead = (row_scores > own).sum() + (allowed & (row_scores == own))[:target].sum()
                ranks[start + offset] = 1 + (ahead if own > -np.inf else allowed.sum())
        return ranks

    def add_items(self, items: Iterable[Item]) -> None:
        """Add items that training never saw, or bring back removed ones; see `catalogue_changes.add_items`.

        Each is ranked by its text at once, and may stand in histories. A mistake in one of them changes nothing.

        Raises:
            DataError: an item is there already, stands twice, or does not fit the catalogue: names item and field.
        """
        self._change(lambda artifact: add_items(artifact, items, self.encoder))

    def update_items(self, items: Iterable[Item]) -> None:
        """Give items another title, text and attributes; what was learnt of them by id stays.

        Raises:
            UnknownItemError: an item is not in the catalogue, or was removed; nothing changes.
            DataError: an item stands twice, or does not fit the catalogue: names item and field.
        """
        self._change(lambda artifact: update_items(artifact, items, self.encoder))

    def remove_items(self, item_ids: Collection[str]) -> None:
        """Take items out of every answer. Histories may still hold them, and they are read as before.

        Raises:
            UnknownItemError: an id is not in the catalogue, or was removed already; nothing changes.
        """
        self._change(lambda artifact: remove_items(artifact, item_ids))

    def save(self, folder: Path | str) -> None:
        """Write the artifact as it is now, changes included, at once; what is loaded from it gives the same answers.

        Raises:
            ConfigError: the folder holds something other than an artifact, or cannot be written.
        """
        with self._changing:
            saved = save_changed(Path(folder), self._snapshot.artifact, changed_from=self._saved_as)
            self._snapshot = replace(self._snapshot, artifact=saved)
            self._saved_as = saved.fingerprint

    def _change(self, make: Callable[[Artifact], Change]) -> None:
        with self._changing:
            self._snapshot = self._snapshot.after(make(self._snapshot.artifact))

    def _scores(
        self, snapshot: Snapshot, queries: Sequence[Query]
    ) -> tuple[NDArray[np.float32], list[tuple[str, ...]]]:
        """Scores (queries, items), -inf where masked, and the constraints not held."""
        catalogue, model = snapshot.artifact.catalogue, snapshot.artifact.model
        histories = [_rows(catalogue, query.history, "history") for query in queries]
        masks, unenforced = zip(
            *(_mask(snapshot, query, history) for query, history in zip(queries, histories, strict=True)), strict=True
        )
        trusts = [_trust(query, snapshot) for query in queries]
        wishes = [
            plain(query.preference or "", MAX_TEXT_CHARS) if trust else ""
            for query, trust in zip(queries, trusts, strict=True)
        ]
        # Always the full length, as in training: the model's frequency filter depends on it, so that an answer would
        # otherwise depend on the other histories of its batch.
        length = model.config.max_length
        rows = torch.full((len(queries), length), PADDING_ROW)
        for index, history in enumerate(histories):
            latest = torch.from_numpy(history[-length:])
            rows[index, : len(latest)] = latest
        device = snapshot.item_vectors.device
        has = torch.tensor([bool(wish) for wish in wishes])
        preference = self._encode(snapshot, wishes).to(device) if has.any() else None
        with torch.inference_mode(), _few_threads(len(queries)):
            weights = torch.tensor(trusts, device=device).unsqueeze(1)
            vectors = model.query(rows.to(device), preference, has.to(device) if has.any() else None, weights)
            scores: NDArray[np.float32] = (vectors @ snapshot.item_vectors.T).cpu().numpy()
        for index, (history, wish) in enumerate(zip(histories, wishes, strict=True)):
            if not len(history) and not wish:
                scores[index] = snapshot.popularity
        scores[~np.stack(masks)] = -np.inf
        return scores, list(unenforced)

    def _encode(self, snapshot: Snapshot, wishes: Sequence[str]) -> torch.Tensor:
        encoded = self.encoder.encode(wishes)
        width = snapshot.artifact.text_embeddings.shape[1]
        if encoded.shape != (len(wishes), width):
            raise ConfigError(
                f"The text encoder {self.encoder.id!r} gave vectors of shape {encoded.shape} where the artifact needs "
                f"({len(wishes)}, {width}). Use the encoder that the artifact was trained with."
            )
        return torch.from_numpy(encoded)


def _mask(snapshot: Snapshot, query: Query, history: NDArray[np.int64]) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    filtered = snapshot.attributes.filter({} if query.where is None else query.where)
    mask, unenforced = filtered.mask, filtered.unenforced
    mask &= snapshot.artifact.catalogue.available
    if not query.include_seen:
        mask[history] = False
    mask[_rows(snapshot.artifact.catalogue, query.exclude, "exclude")] = False
    return mask, unenforced


def _trust(query: Query, snapshot: Snapshot) -> float:
    trust = float(snapshot.artifact.config["trust"]) if query.trust is None else query.trust
    if not 0 <= trust <= 1:  # also refuses NaN
        raise ConfigError(f"trust is {trust}. Give a weight from 0 (ignore the preference) to 1 (believe it).")
    return trust


def _rows(catalogue: Catalogue, item_ids: Collection[str], name: str) -> NDArray[np.int64]:
    if isinstance(item_ids, str):
        raise ConfigError(f"{name} is the text {item_ids[:80]!r}. Give a list of item ids.")
    return catalogue.rows(list(item_ids))


@contextmanager
def _few_threads(queries: int) -> Iterator[None]:
    """Score a small batch on one thread.

    The sums are so small that threads mostly wait for each other: on two cores with other work on them (load average
    3.4), one query took 183 ms on two threads and 2 ms on one.
    """
    threads = torch.get_num_threads()
    if queries > SMALL_BATCH or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions of the `k` highest finite scores, best first, ties by position."""
    allowed = np.flatnonzero(scores > -np.inf)
    if len(allowed) > k:
        kth = np.partition(scores[allowed], len(allowed) - k)[len(allowed) - k]
        allowed = allowed[scores[allowed] >= kth]  # a tie with the k-th stays, so that position decides
    return allowed[np.argsort(-scores[allowed], kind="stable")[:k]]
