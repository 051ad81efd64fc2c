"""Re-ranking by complementary signals: the first items of a recommender's list are ordered again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch.nn.functional import cross_entropy

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ArtifactError, ConfigError
from deeprec.trm_tool.folders import staging_file
from deeprec.trm_tool.recommender import Query, Recommender, retrieve_batch
from deeprec.trm_tool.signals.complementary_signals import LINKS, MAX_ITEMS, SIGNALS, ComplementarySignals
from deeprec.trm_tool.signals.item_links import ItemLinks

DEPTH = 100
"""Items of a list that are ordered again: the first ones. Chosen on the validation items of ml-100k, as `PENALTY`."""
PENALTY = 0.01
"""The weight of the squared weights in the loss."""
FEATURES = ("score", "rank", *SIGNALS)
"""What is weighed: the recommender's score, the logarithm of its rank (the first rank is the highest), the signals."""
FORMAT = "deeprec complementary signals 1"
_REMEDY = "Make the file again with `deeprec trm signals`."


class SignalReranking:
    """Orders the first items of a list again, by the recommender's scores and complementary signals.

    Each feature is standardised over the items that are ordered, and the weighted sum decides.
    """

    def __init__(
        self, signals: ComplementarySignals, weights: Sequence[float], *, fitted_for: str | None = None
    ) -> None:
        """Take what `fit_reranking` found, or what was read from a file.

        Args:
            signals: Counted in the interactions of the recommender's training.
            weights: One for each of `FEATURES`.
            fitted_for: `RecommenderIdentity.trained_as` of the recommender whose scores are weighed, where it is known.
        """
        self.signals, self.weights, self.fitted_for = signals, tuple(map(float, weights)), fitted_for

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the sha256 over weights and signals."""
        digest = hashlib.sha256(json.dumps([FORMAT, DEPTH, self.weights, self.signals.item_ids]).encode())
        for array in self._arrays().values():
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    def order(self, history: Sequence[str], item_ids: Sequence[str], scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """Order the first items of a list again.

        Args:
            history: Item ids, oldest first.
            item_ids: The first items of the recommender's list, best first, `DEPTH` of them or fewer.
            scores: The recommender's scores of these items.

        Returns:
            Positions among `item_ids`, best first; ties stay in the recommender's order.
        """
        weighed = _features(self.signals, history, item_ids, scores) @ np.array(self.weights)
        return np.argsort(-weighed, kind="stable")

    def save(self, path: Path | str) -> None:
        """Write signals and weights as one file of safetensors, at once, in place of signals that are there.

        Raises:
            ConfigError: something else is there, or the file cannot be written.
        """
        if Path(path).exists() and _format_of(path) != FORMAT:
            raise ConfigError(f"{path} is there already and holds no signals. Name another file, or move it away.")
        about = {
            "item_ids": self.signals.item_ids,
            "weights": self.weights,
            "dataset_fingerprint": self.signals.dataset_fingerprint,
            "holdout": self.signals.holdout,
            "fitted_for": self.fitted_for,
        }
        with staging_file(Path(path)) as staged:
            save_file(self._arrays(), staged, metadata={"format": FORMAT, "about": json.dumps(about)})

    @classmethod
    def load(cls, path: Path | str) -> SignalReranking:
        """Read a file that `save` wrote. It runs no code from the file.

        Raises:
            ArtifactError: the file is missing, damaged, or something else; it says which part does not fit.
        """
        try:
            with safe_open(path, framework="np") as file:
                metadata, arrays = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ArtifactError(f"{path} cannot be read as signals: {str(error)[:200]}. {_REMEDY}") from None
        if metadata.get("format") != FORMAT:
            seen = str(metadata.get("format"))[:80]
            raise ArtifactError(f"{path}: 'format' is {seen!r}, and {FORMAT!r} is read. {_REMEDY}")
        try:
            return _read(parse_json(metadata.get("about", "")), arrays)
        except ValueError as error:
            raise ArtifactError(f"{path}: {error}. {_REMEDY}") from None

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {"counts": self.signals.counts}
        for name in LINKS:
            links = self.signals.links[name]
            arrays |= {f"{name}.ends": links.ends, f"{name}.strengths": links.strengths}
        return arrays


def fit_reranking(recommender: Recommender, dataset: Dataset) -> SignalReranking:
    """Count the signals of a dataset and fit their weights on one item of each person.

    What the recommender was not trained on is not counted either. The weights are fitted on the earliest of the items
    that it did not see: with a holdout of 2 the validation items, so that the test items stay unseen. The loss is that
    of choosing the item among the first `DEPTH` of the recommender's list; lists without the item do not count.

    Args:
        recommender: It reports the holdout and the data of its training. A `Retriever` has no signals yet.
        dataset: The interactions that it was trained on.

    Raises:
        ConfigError: the recommender does not report its holdout, was trained on other data, or without fewer than two
            items of each person; or no list holds its item.

    Source:
        The loss is that of McFadden 1974, Conditional logit analysis of qualitative choice behavior.
    """
    holdout, trained_on = recommender.identity.holdout, recommender.identity.dataset_fingerprint
    if holdout is None or holdout < 2:
        raise ConfigError(
            f"The recommender's holdout is {holdout}, so that no item is left to fit signals on beside the test items. "
            "Train it with a holdout of 2 or 3."
        )
    if trained_on != dataset.fingerprint:
        raise ConfigError(
            f"The recommender was not trained on {dataset.name} (fingerprints differ), so that signals of it might "
            "count what is held out. Name the data of its training."
        )
    signals = ComplementarySignals.count(dataset, holdout=holdout)
    histories = {user: dataset.history(user, holdout) for user in dataset.users}
    users = [user for user, history in histories.items() if history]
    lists = retrieve_batch(recommender, [Query(history=histories[user]) for user in users], k=DEPTH)
    depth = min(map(len, lists), default=0)  # in a small catalogue lists are shorter than `DEPTH`
    features, targets = [], []
    for user, found in zip(users, lists, strict=True):
        ids, target = [item.id for item in found[:depth]], dataset.target(user, holdout)
        if target in ids:
            features.append(_features(signals, histories[user], ids, np.array([item.score for item in found[:depth]])))
            targets.append(ids.index(target))
    if not targets:
        raise ConfigError(
            f"No list of {depth} items that the recommender gives holds the item that its person chose, so that there "
            "is nothing to fit signals on. Go on without signals."
        )
    weights = _fit(np.stack(features), np.array(targets))
    return SignalReranking(signals, weights, fitted_for=recommender.identity.trained_as)


def _format_of(path: Path | str) -> str | None:
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("format")
    except (OSError, SafetensorError):
        return None


def _features(
    signals: ComplementarySignals, history: Sequence[str], item_ids: Sequence[str], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The features of the first items of a list, each of mean 0 and deviation 1 over them, (items, features)."""
    ranks = -np.log(np.arange(1, len(item_ids) + 1))
    raw = np.column_stack((np.asarray(scores, np.float64), ranks, signals.values(history, item_ids)))
    standard: NDArray[np.float64] = (raw - raw.mean(axis=0)) / (raw.std(axis=0) + 1e-9)
    return standard


def _fit(features: NDArray[np.float64], targets: NDArray[np.int64]) -> list[float]:
    """Weights that make the targets (lists,) the likeliest choice by features (lists, items, features)."""
    given, chosen = torch.from_numpy(features), torch.from_numpy(targets)
    weights = torch.zeros(features.shape[2], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = cross_entropy(given @ weights, chosen) + PENALTY * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return [float(weight) for weight in weights.detach()]


def _read(about: object, arrays: dict[str, NDArray[np.generic]]) -> SignalReranking:
    """Check what a file holds; ValueError names the part that does not fit."""
    if not isinstance(about, dict):
        raise ValueError("'about' is not a JSON object")
    ids, weights = about.get("item_ids"), about.get("weights")
    if not isinstance(ids, list) or not 0 < len(ids) <= MAX_ITEMS or not all(isinstance(each, str) for each in ids):
        raise ValueError(f"'item_ids' is not a list of 1 to {MAX_ITEMS:,} texts")
    if len(set(ids)) < len(ids):
        raise ValueError("'item_ids' names an item twice")
    if not isinstance(weights, list) or len(weights) != len(FEATURES) or not all(map(_is_finite, weights)):
        raise ValueError(f"'weights' is not a list of {len(FEATURES)} finite numbers")
    data, holdout = about.get("dataset_fingerprint"), about.get("holdout")
    if not isinstance(data, str) or type(holdout) is not int or holdout < 0:
        raise ValueError("'dataset_fingerprint' is not a text, or 'holdout' is not a count")
    fitted_for = about.get("fitted_for")  # files of earlier versions have none
    if not isinstance(fitted_for, str | None):
        raise ValueError("'fitted_for' is not a text")
    counts = _checked(arrays, "counts", np.float64, (2, len(ids)))
    links = {}
    for name in LINKS:
        kept = arrays[f"{name}.ends"].shape[-1] if f"{name}.ends" in arrays else 0
        ends = _checked(arrays, f"{name}.ends", np.int32, (len(ids), kept))
        if not kept or ends.min() < 0 or ends.max() >= len(ids):
            raise ValueError(f"'{name}.ends' names rows that no item has")
        links[name] = ItemLinks(ends, _checked(arrays, f"{name}.strengths", np.float32, ends.shape))
    signals = ComplementarySignals(ids, links, counts, dataset_fingerprint=data, holdout=holdout)
    return SignalReranking(signals, weights, fitted_for=fitted_for)


def _checked(
    arrays: dict[str, NDArray[np.generic]], name: str, dtype: type[np.generic], shape: tuple[int, ...]
) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.shape != shape or not np.isfinite(array.astype(np.float64)).all():
        seen = "missing" if array is None else f"{array.dtype} {array.shape}"
        raise ValueError(f"'{name}' is {seen}, and has to be finite {np.dtype(dtype)} {shape}")
    return array


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
