"""The retriever: it finds the best items of a catalogue for a history and a preference in words."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deeprec.trm_tool.catalogue.catalogue import Catalogue, Item
from deeprec.trm_tool.catalogue.filters import Filtered, Where
from deeprec.trm_tool.encoders.text_encoder import Encoder, encoder_of_artifact
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import How, Query, RecommenderIdentity, Retrieved
from deeprec.trm_tool.score_ranking import check_k, ranked
from deeprec.trm_tool.signals.reranking import DEPTH, SignalReranking
from deeprec.trm_tool.trm.artifact import Artifact, load_artifact, save_changed
from deeprec.trm_tool.trm.catalogue_changes import Change, add_items, remove_items, update_items
from deeprec.trm_tool.trm.closest_phrases import ClosestPhrases
from deeprec.trm_tool.trm.ranking import POOL, best, diversify, ranks_with_ties
from deeprec.trm_tool.trm.scoring import has_text, score
from deeprec.trm_tool.trm.snapshot import Snapshot

MAX_BATCH = 256
"""Queries of one forward pass; a longer batch takes several."""


class Retriever:
    """Ranks a catalogue by a trained artifact. The items' vectors are computed once; safe to share between threads.

    Items can be added, updated and removed while other threads ask: an answer comes from the catalogue before a change
    or from the one after it, never from a mixture. Changes live in memory until `save`.
    """

    def __init__(
        self, artifact: Artifact, encoder: Encoder | None = None, *, reranking: SignalReranking | None = None
    ) -> None:
        """Lay out an artifact.

        Args:
            artifact: The trained model with its catalogue.
            encoder: The one that the artifact was trained with; None makes it by its id (`encoder_of_artifact`).
            reranking: Orders the first items again where a query has a history and neither a preference nor words.

        Raises:
            ConfigError: `encoder` is another one than the artifact was trained with, or `reranking` counts other data
                than its training, or more of each person's.
        """
        trained_with = str(artifact.config["encoder_id"])
        self.encoder: Encoder = encoder_of_artifact(trained_with) if encoder is None else encoder
        if self.encoder.id != trained_with:
            raise ConfigError(
                f"The artifact was trained with the text encoder {trained_with!r}; {self.encoder.id!r} would not fit. "
                "Leave the encoder out, or train the artifact again with it."
            )
        self.reranking = reranking
        if reranking is not None:
            _check_reranking(reranking, artifact)
        self._snapshot = Snapshot.of(artifact)  # every answer reads it once; a change replaces it as a whole
        self._loaded_as = self._saved_as = artifact.fingerprint
        self._saved_in: dict[Path, str] = {}  # fingerprint by folder
        self._closest = ClosestPhrases(self.encoder)
        self._changing = Lock()  # one change at a time; retrievals do not wait for it

    @property
    def catalogue(self) -> Catalogue:
        """The items as they are now, those that were removed included."""
        return self._snapshot.artifact.catalogue

    @property
    def artifact(self) -> Artifact:
        """The artifact as it is now, changes included."""
        return self._snapshot.artifact

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the artifact; after a change another one, until `save` gives that of what it wrote."""
        return self._snapshot.artifact.fingerprint

    @property
    def dataset_fingerprint(self) -> str:
        """`Dataset.fingerprint` of the data that the artifact was trained on."""
        return str(self.artifact.config["dataset_fingerprint"])

    @property
    def holdout(self) -> int:
        """How many of each person's last items training did not see."""
        return int(self.artifact.config["holdout"])

    @property
    def identity(self) -> RecommenderIdentity:
        """Fingerprints and holdout of the artifact as it is now, for the lineage of runs; a re-ranking counts."""
        own = self.artifact.identity
        if self.reranking is None:
            return own
        both = f"{own.fingerprint} {self.reranking.fingerprint}".encode()
        return replace(own, fingerprint=sha256(both).hexdigest()[:16])

    @classmethod
    def load(
        cls,
        folder: Path | str,
        encoder: Encoder | None = None,
        *,
        reranking: SignalReranking | Path | str | None = None,
    ) -> "Retriever":
        """Load the artifact in a folder.

        Args:
            folder: What `deeprec trm train` wrote.
            encoder: As for `Retriever`.
            reranking: As for `Retriever`, or its file, which `deeprec trm signals` wrote.

        Raises:
            ArtifactError: names the file and the field that does not fit.
            ConfigError: as `Retriever` raises it.
        """
        artifact = load_artifact(Path(folder))
        if isinstance(reranking, Path | str):
            reranking = SignalReranking.load(reranking)
        return cls(artifact, encoder, reranking=reranking)

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
        include_seen: bool = False,
        diversity: float = 0.0,
        strict: bool = False,
    ) -> Retrieved:
        """Find the `k` items that fit best.

        Without a history preference and words alone decide; without any of them, popularity does. Each is read up to
        2,000 characters; a preference of white space only is none, and so are words without a letter or a digit.

        Args:
            history: Item ids, oldest first, of any person. Empty is allowed.
            preference: The preference in words.
            k: Items to return; fewer come back when the query allows fewer.
            trust: How far the preference is trusted beside the history: 0 ignores it, 1 believes it as training did;
                None is what the artifact's validation found. Without a history it decides alone, however little.
            words: What the person wrote themselves, in any language, beside a preference that a model wrote.
            words_trust: As `trust`, for the words.
            exclude: Item ids that must not come back.
            where: Constraints on attributes, such as `{"year": {"min": 1990}, "genre": {"not_in": ["Horror"]}}`.
            include_seen: Let items of the history come back.
            diversity: How much the list avoids items that are like those above them, 0 to 1, by maximal marginal
                relevance (`ranking.diversify`) over the 300 best; 0 is the order of the scores alone.
            strict: Whether ids that the catalogue lacks are refused. Else they are skipped and named in
                `unknown_items`: a shop's catalogue runs ahead of an artifact.

        Returns:
            Best first, ties in catalogue order; with `diversity`, in the order of choice, while the scores remain
            those of the items alone, comparable within the call. `unenforced` names the attributes of `where` that the
            catalogue lacks, `unknown_values` the values that no item has.

        Raises:
            UnknownItemError: `strict`, and an id of `history` or `exclude` never was in the catalogue; one that was
                removed is read. `retrieve_batch` and `ranks_of` are always strict.
            ConfigError: `k` is below 1, a trust or `diversity` is not from 0 to 1, or a condition makes no sense.
        """
        unknown: list[str] = []
        if not strict:
            history, exclude = self._known(history, unknown), self._known(exclude, unknown)
        query = Query(
            history=history,
            preference=preference,
            trust=trust,
            words=words,
            words_trust=words_trust,
            exclude=exclude,
            where=where,
            include_seen=include_seen,
            diversity=diversity,
        )
        [found] = self.retrieve_batch([query], k=k)
        found.unknown_items = tuple(dict.fromkeys(unknown))
        return found

    def retrieve_batch(self, queries: Sequence[Query], *, k: int) -> list[Retrieved]:
        """`retrieve` for many queries in one forward pass; the answers come in the order of the queries."""
        check_k(k)
        retrieved, snapshot = [], self._snapshot
        for start in range(0, len(queries), MAX_BATCH):
            batch = queries[start : start + MAX_BATCH]
            scores, filtered = self._score(snapshot, batch)
            for query, own, held in zip(batch, scores, filtered, strict=True):
                rows = best(own, max(k, POOL) if query.diversity else k)
                if query.diversity:
                    vectors = snapshot.item_vectors[torch.from_numpy(rows[:POOL])].cpu().numpy()
                    order = diversify(own[rows[:POOL]], vectors, k=k, diversity=query.diversity)
                    rows = np.concatenate((rows[order], rows[POOL:]))[:k]
                retrieved.append(ranked(snapshot.artifact.catalogue, own, rows, held))
        return retrieved

    def item_vectors(self, item_ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors that items are scored by, of unit length, float32 (n, width)."""
        snapshot = self._snapshot
        rows = torch.from_numpy(snapshot.artifact.catalogue.rows(item_ids))
        vectors: NDArray[np.float32] = snapshot.item_vectors[rows].cpu().numpy()
        return vectors

    def closest_phrases(self, text: str, n: int, *, min_cosine: float = -1.0) -> list[str]:
        """Rank the catalogue's phrases by how close they are to a text; see `ClosestPhrases.find`.

        The first call encodes the phrases of the catalogue, 3,000 at most; `warm_up` does so beforehand.
        """
        artifact = self._snapshot.artifact
        return self._closest.find(artifact.catalogue, artifact.text_embeddings, text, n, min_cosine)

    def warm_up(self) -> None:
        """Load the text encoder and encode the catalogue's phrases, so that the first request does not wait for them.

        Raises:
            ConfigError: the encoder cannot be loaded.
        """
        self.retrieve([], "anything", k=1)
        self.closest_phrases("anything", 1)

    def evidence(self, history: Sequence[str], item_ids: Sequence[str]) -> list[str]:
        """Write what the signals of the re-ranking say for each item; "" without a re-ranking, or without evidence."""
        if self.reranking is None:
            return [""] * len(item_ids)
        catalogue = self.catalogue
        lines = []
        for found in self.reranking.signals.evidence(history, item_ids):
            said = []
            if found.together is not None:
                said.append(f"chosen with {catalogue.item(found.together).title}")
            if found.next is not None:
                is_same = found.next == found.together
                said.append(f"often next after {'it' if is_same else catalogue.item(found.next).title}")
            if found.is_recent:
                said.append("much chosen lately")
            lines.append("; ".join(said))
        return lines

    def also_chosen(self, item_ids: Sequence[str], how: How, *, k: int, exclude: Collection[str] = ()) -> list[str]:
        """Find what people chose beside items, by the signals of the re-ranking (`CoChoices`); none without them."""
        if self.reranking is None:
            return []
        catalogue = self.catalogue
        left_out = {*item_ids, *exclude, *catalogue.removed}
        found = self.reranking.signals.also_chosen(item_ids, how)
        return [each for each in found if each in catalogue and each not in left_out][:k]

    def rank_of(self, item_id: str, query: Query) -> int:
        """1-based rank of an item by its score; one that the query masks comes after all that it allows."""
        return int(self.ranks_of([item_id], [query])[0])

    def ranks_of(self, item_ids: Sequence[str], queries: Sequence[Query]) -> NDArray[np.int64]:
        """`rank_of` for many pairs of an item and a query in one forward pass -> int64 (n,)."""
        if len(item_ids) != len(queries):
            raise ConfigError(f"{len(item_ids)} items for {len(queries)} queries. Give one item a query.")
        snapshot = self._snapshot
        targets = snapshot.artifact.catalogue.rows(item_ids)
        ranks = np.empty(len(queries), dtype=np.int64)
        for start in range(0, len(queries), MAX_BATCH):
            batch = slice(start, start + MAX_BATCH)
            scores, _ = self._score(snapshot, queries[batch])
            allowed = (scores > -np.inf).sum(axis=1)
            ranks[batch] = np.minimum(ranks_with_ties(scores, targets[batch]), 1 + allowed)
        return ranks

    def add_items(self, items: Iterable[Item]) -> None:
        """Add items that training never saw, or bring back removed ones; see `catalogue_changes.add_items`.

        Each is ranked by its text at once, and may stand in histories. If one of them is refused, none is added.

        Raises:
            DataError: an item is in the catalogue already, stands twice, or does not fit; item and field are named.
        """
        self._change(lambda artifact: add_items(artifact, items, self.encoder))

    def update_items(self, items: Iterable[Item]) -> None:
        """Replace title, text and attributes of items; their id embeddings stay.

        Raises:
            UnknownItemError: an item is not in the catalogue, or was removed; nothing changes.
            DataError: an item stands twice, or does not fit the catalogue; the item and the field are named.
        """
        self._change(lambda artifact: update_items(artifact, items, self.encoder))

    def remove_items(self, item_ids: Collection[str]) -> None:
        """Take items out of every answer. Histories may still hold them, and they are read as before.

        Raises:
            UnknownItemError: an id is not in the catalogue, or was removed already; nothing changes.
        """
        self._change(lambda artifact: remove_items(artifact, item_ids))

    def save(self, folder: Path | str) -> None:
        """Write the artifact as it is now, changes included, at once; loaded again, it gives the same answers.

        An artifact in the folder is replaced only if it is the one that this retriever loaded, or the last that it
        saved there: any other has changes of somebody else, which would be lost.

        Raises:
            ConfigError: the folder holds such another artifact, or something else, or cannot be written.
        """
        with self._changing:
            place = Path(os.path.realpath(folder))
            over = {self._loaded_as, self._saved_in.get(place, self._loaded_as)}
            saved = save_changed(place, self._snapshot.artifact, changed_from=self._saved_as, over=over)
            self._snapshot = replace(self._snapshot, artifact=saved)
            self._saved_as = self._saved_in[place] = saved.fingerprint

    def _known(self, item_ids: Any, unknown: list[str]) -> Any:
        """The ids without those that the catalogue lacks, which go to `unknown`; what holds no ids is refused later."""
        if isinstance(item_ids, str | bytes) or not isinstance(item_ids, Collection):
            return item_ids
        catalogue = self.catalogue
        unknown += [item_id for item_id in item_ids if isinstance(item_id, str) and item_id not in catalogue]
        return [item_id for item_id in item_ids if not isinstance(item_id, str) or item_id in catalogue]

    def _score(self, snapshot: Snapshot, queries: Sequence[Query]) -> tuple[NDArray[np.float32], list[Filtered]]:
        """`score`; a re-ranking hands the scores of the first items out in its own order."""
        scores, filtered = score(snapshot, self.encoder, queries)
        if self.reranking is None:
            return scores, filtered
        ids = snapshot.artifact.catalogue.ids
        for line, query in zip(scores, queries, strict=True):
            if not query.history or has_text(query):
                continue
            rows = best(line, DEPTH)
            if len(rows) < 2:
                continue  # there is nothing to order, nor anything to compare a signal with
            order = self.reranking.order(query.history, [ids[row] for row in rows], line[rows])
            line[rows[order]] = line[rows]
        return scores, filtered

    def _change(self, make: Callable[[Artifact], Change]) -> None:
        with self._changing:
            self._snapshot = self._snapshot.after(make(self._snapshot.artifact))


def _check_reranking(reranking: SignalReranking, artifact: Artifact) -> None:
    signals, trained = reranking.signals, artifact.identity
    if signals.dataset_fingerprint != trained.dataset_fingerprint or signals.holdout != trained.holdout:
        raise ConfigError(
            f"The re-ranking counts other interactions (holdout {signals.holdout}, data "
            f"{signals.dataset_fingerprint[:16]}) than the artifact was trained on (holdout {trained.holdout}, data "
            f"{str(trained.dataset_fingerprint)[:16]}), so that it may know what is held out. Make it for "
            "this artifact with `deeprec trm signals`."
        )
    fitted_for = reranking.fitted_for
    if fitted_for is not None and trained.trained_as is not None and fitted_for != trained.trained_as:
        raise ConfigError(
            f"The re-ranking was fitted for another artifact ({fitted_for[:16]}) than this one "
            f"({trained.trained_as[:16]}), whose scores differ. Make it for this artifact with `deeprec trm signals`."
        )
