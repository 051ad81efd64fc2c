"""Complementary signals: counts of what people chose together, in which order and lately, which no recommender reads.

They come from the interactions that the recommender was trained on, and from no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import How
from deeprec.trm_tool.signals.item_links import WINDOW, ItemLinks, following_counts, together_links

MAX_ITEMS = 10_000
"""Items of the largest catalogue: links are estimated by inverting a matrix of items by items."""
LATEST = 5
"""Items at the end of a history whose links count for `nearby` and `next`."""
RECENT = 20
"""Items at the end of a person's sequence that count as chosen lately."""
LATELY = 0.1
"""Share of the common items that count as chosen lately, those of the highest `recency`."""
LINKS = ("together", "nearby", "next")
"""The signals that depend on the history."""
SIGNALS = (*LINKS, "count", "recency")
"""The signals of an item, in the order of `ComplementarySignals.values`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What people's choices say for an item, beside a history."""

    together: str | None = None
    """The item of the history that speaks most for it: people who chose that one chose it too."""
    next: str | None = None
    """The latest item of the history that it followed the most often."""
    is_recent: bool = False
    """Whether its `recency` is among the highest tenth of the items that more people than the average chose."""


class ComplementarySignals:
    """What people's choices say about the items of a catalogue, beside what a recommender has learned from them.

    `together`: the history speaks for the item, as people who chose the same chose it. `nearby`: the item stands within
    20 steps of one of the latest five in people's sequences. `next`: it directly followed one of them. `count`: how
    many people chose it. `recency`: which share of them chose it among their own last 20 items.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        links: Mapping[str, ItemLinks],
        counts: NDArray[np.float64],
        *,
        dataset_fingerprint: str,
        holdout: int,
    ) -> None:
        """Take what `count` computed, or what was read from a file.

        Args:
            item_ids: The items, in the order of all arrays.
            links: One for each of `LINKS`.
            counts: `count` and `recency`, as logarithms, (2, items).
            dataset_fingerprint: `Dataset.fingerprint` of the interactions that were counted.
            holdout: How many of each person's last items were not counted.
        """
        self.item_ids, self.links, self.counts = tuple(item_ids), dict(links), counts
        self.dataset_fingerprint, self.holdout = dataset_fingerprint, holdout
        self._rows = {item_id: row for row, item_id in enumerate(self.item_ids)}

    @classmethod
    def count(cls, dataset: Dataset, *, holdout: int) -> ComplementarySignals:
        """Count the interactions of a dataset, without the last `holdout` of each person.

        Raises:
            ConfigError: the catalogue has more than `MAX_ITEMS` items, or no interaction is left.
        """
        catalogue, items = dataset.catalogue, len(dataset.catalogue)
        if items > MAX_ITEMS:
            raise ConfigError(
                f"The catalogue has {items:,} items, and signals are counted for {MAX_ITEMS:,} at most, because they "
                "take memory of items by items. Go on without signals."
            )
        sequences = [catalogue.rows(dataset.history(user, holdout)) for user in dataset.users]
        if not any(map(len, sequences)):
            raise ConfigError(
                f"{dataset.name} has no interaction before the last {holdout} of each person. Lower holdout."
            )
        chosen = np.bincount(np.concatenate(sequences), minlength=items).astype(np.float64)
        lately = np.bincount(np.concatenate([sequence[-RECENT:] for sequence in sequences]), minlength=items)
        scale = np.sqrt(np.maximum(np.outer(chosen, chosen), 1))
        near = following_counts(sequences, items, WINDOW)
        links = (
            together_links(sequences, items),
            ItemLinks.strongest((near + near.T) / scale),
            ItemLinks.strongest(following_counts(sequences, items, 1) / scale),
        )
        return cls(
            catalogue.ids,
            dict(zip(LINKS, links, strict=True)),
            np.stack([np.log1p(chosen), np.log((lately + 1) / (chosen + 1))]),
            dataset_fingerprint=dataset.fingerprint,
            holdout=holdout,
        )

    def values(self, history: Sequence[str], item_ids: Sequence[str]) -> NDArray[np.float64]:
        """Compute the signals of some items for a history, float64 (items, signals).

        Items of either that were not counted are skipped in the history, and have 0 for every signal.
        """
        at = np.array([self._rows.get(item_id, -1) for item_id in item_ids], dtype=np.int64)
        known = self._known(history)
        found = [self.links["together"].sums(np.unique(known))]
        found += [self.links[name].sums(known[-LATEST:]) for name in LINKS[1:]]
        values: NDArray[np.float64] = np.stack([*found, *self.counts])[:, at].T
        values[at < 0] = 0
        return values

    def evidence(self, history: Sequence[str], item_ids: Sequence[str]) -> list[Evidence]:
        """Find what speaks most for each of some items: an item of the history that links to it, and whether it is new.

        A link of `next` counts from the latest five items of the history, one of `together` from all of them, where it
        is above 0. Items that were not counted have no evidence.
        """
        known = self._known(history)
        starts = {"together": known, "next": known[-LATEST:]}
        is_recent = self._recent()
        found = []
        for item_id in item_ids:
            row = self._rows.get(item_id)
            if row is None:
                found.append(Evidence())
                continue
            strongest = {name: self._strongest(self.links[name], rows, row) for name, rows in starts.items()}
            found.append(Evidence(**strongest, is_recent=bool(is_recent[row])))
        return found

    def also_chosen(self, item_ids: Sequence[str], how: How) -> list[str]:
        """Rank what people chose `together` with items, `next` after the latest five of them, or much `lately`.

        Returns:
            Item ids, strongest first; only those that a link with a strength above 0 leads to, or that are recent.
        """
        known = self._known(item_ids)
        if how == "lately":
            strengths = np.where(self._recent(), np.expm1(self.counts[0]), 0.0)
        else:
            strengths = self.links[how].sums(np.unique(known) if how == "together" else known[-LATEST:])
        order = np.argsort(-strengths, kind="stable")
        return [self.item_ids[row] for row in order[: int((strengths > 0).sum())]]

    def _recent(self) -> NDArray[np.bool_]:
        """Which items are chosen much lately, (items,)."""
        chosen, recency = self.counts
        is_common = chosen >= np.log1p(np.expm1(chosen).mean())  # the recency of a rare item is chance
        usual, lately = np.quantile(recency[is_common], [0.5, 1 - LATELY])
        is_recent: NDArray[np.bool_] = is_common & (recency >= lately) & (recency > usual)
        return is_recent  # with short histories all are alike, and none is

    def _strongest(self, links: ItemLinks, starts: NDArray[np.int64], end: int) -> str | None:
        """The item that links the most strongly to another one; None where none does."""
        best = max(starts.tolist(), key=lambda start: links.strength(start, end), default=None)
        return None if best is None or links.strength(best, end) <= 0 else self.item_ids[best]

    def _known(self, history: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self._rows[item_id] for item_id in history if item_id in self._rows], dtype=np.int64)
