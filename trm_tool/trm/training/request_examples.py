"""Requests as training examples: a history, a person's words, and what the person took.

Held out are the pairs of a person and one of the last items of that person's sequence, and of a person and a target in
the fold that is left out. A request that has such an item of its own person as a target, or in its history, would teach
what is tested, and is left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.requests.folds import ConversationFold, split_requests
from deeprec.trm_tool.data.requests.known_items import with_known_items
from deeprec.trm_tool.data.requests.request import Request
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS, Encoder
from deeprec.trm_tool.errors import DataError
from deeprec.trm_tool.text import readable_words
from deeprec.trm_tool.trm.model import PADDING_ROW, PreferenceAwareTRM, pad_histories
from deeprec.trm_tool.trm.ranking import ranks_with_ties
from deeprec.trm_tool.trm.training.preferences import encode_preferences

VALIDATION = ConversationFold(number=1, of=10)
"""The conversations that choose the epoch and the trust in words; they are never trained on."""
PART = 256
"""Requests that are ranked at once."""


class RequestRefusal(StrEnum):
    """Why a request is not trained on, in words that complete "left out: 12 with …"."""

    NO_TARGET = "no target"
    UNKNOWN_TARGETS = "targets that the catalogue lacks"
    NOTHING_ASKED = "neither a history nor words"
    HELD_OUT_TARGET = "a held-out item of the person as a target"
    HELD_OUT_HISTORY = "a held-out item of the person in the history"
    OTHER_FOLD = "a conversation of the fold that is left out"
    TARGET_OF_FOLD = "an item that the person takes in the fold that is left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequests:
    """The requests that a training may use, and what became of the others."""

    training: tuple[Request, ...]
    validation: tuple[Request, ...]
    """Those of the conversations of `VALIDATION`."""
    read: int
    """Requests that were read."""
    refused: Mapping[str, int]
    """`RequestRefusal` -> how many."""

    def to_dict(self) -> dict[str, Any]:
        """The counts, as `metrics.json` keeps them."""
        return {
            "read": self.read,
            "training": len(self.training),
            "validation": len(self.validation),
            "refused": dict(self.refused),
        }

    def __str__(self) -> str:
        refused = ", ".join(f"{count} with {reason}" for reason, count in self.refused.items())
        return (
            f"{len(self.training)} of {self.read} requests, and {len(self.validation)} that choose the epoch and the "
            f"trust in words{f' (left out: {refused})' if refused else ''}"
        )


def collect_requests(
    dataset: Dataset, holdout: int, requests: Iterable[Request], *, without_fold: ConversationFold | None = None
) -> TrainingRequests:
    """Choose the requests that a training may use, and refuse those that would leak.

    Args:
        dataset: The training data.
        holdout: How many of each person's last items this training does not see.
        requests: As `read_requests` gives them.
        without_fold: Conversations that are left out, so that they are fair to evaluate on.

    Raises:
        DataError: no request can be trained on; the message counts the reasons.
    """
    refused: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    read = 0

    def counted() -> Iterable[Request]:
        nonlocal read
        for request in requests:
            read += 1
            yield request

    kept = []
    known = list(with_known_items(counted(), dataset.catalogue, unknown))
    tested: dict[str, set[str]] = {}  # person -> their targets in the fold that is left out
    for request in known:
        if without_fold is not None and request.person is not None and request.conversation in without_fold:
            tested.setdefault(request.person, set()).update(request.targets)
    for request in known:
        reason = _refusal(dataset, holdout, request, without_fold, tested.get(request.person or "", set()))
        if reason is None:
            kept.append(request)
        else:
            refused[reason] += 1
    if unknown["requests"]:
        refused[RequestRefusal.UNKNOWN_TARGETS] = unknown["requests"]
    training, validation = split_requests(kept, VALIDATION)
    found = TrainingRequests(
        training=tuple(training), validation=tuple(validation), read=read, refused=dict(refused.most_common())
    )
    if not training:
        raise DataError(f"There is no request to train on: {found}. Give requests with targets of this catalogue.")
    return found


def _refusal(
    dataset: Dataset,
    holdout: int,
    request: Request,
    without_fold: ConversationFold | None,
    tested: frozenset[str] | set[str],
) -> RequestRefusal | None:
    if without_fold is not None and request.conversation in without_fold:
        return RequestRefusal.OTHER_FOLD
    if not request.targets:
        return RequestRefusal.NO_TARGET
    if not request.history and not readable_words(request.message, MAX_TEXT_CHARS):
        return RequestRefusal.NOTHING_ASKED
    held_out = set(dataset.sequences.get(request.person or "", ())[-holdout:])
    if held_out.intersection(request.targets):
        return RequestRefusal.HELD_OUT_TARGET
    if held_out.intersection(request.history):
        return RequestRefusal.HELD_OUT_HISTORY
    return RequestRefusal.TARGET_OF_FOLD if tested.intersection((*request.targets, *request.history)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestExamples:
    """Requests as tensors: one example for each target, each distinct message encoded once."""

    histories: Sequence[NDArray[np.int64]]
    """Catalogue rows, oldest first, of each request."""
    request_of: Tensor
    """The request of each example, int64 (examples,)."""
    rows: Tensor
    """The ends of the histories, int64 (examples, max_length), right-padded with -1."""
    targets: Tensor
    """Catalogue rows, int64 (examples,)."""
    embeddings: Tensor
    """The vectors of the distinct messages, from `encode_preferences`, (messages, text width)."""
    messages: Tensor
    """Row of `embeddings` of each example, int64 (examples,)."""
    has_words: Tensor
    """bool (examples,)."""

    @classmethod
    def of(
        cls, requests: Sequence[Request], encoder: Encoder, catalogue: Catalogue, max_length: int
    ) -> "RequestExamples":
        """Lay out requests whose items are all in the catalogue; of a history the last `max_length` items are read."""
        pairs = [(number, target) for number, request in enumerate(requests) for target in request.targets]
        words = [readable_words(request.message, MAX_TEXT_CHARS) for request in requests]
        unique = {text: row for row, text in enumerate(dict.fromkeys(words))}
        of_pair = torch.tensor([number for number, _ in pairs], dtype=torch.int64)
        histories = [catalogue.rows(request.history) for request in requests]
        return cls(
            histories=histories,
            request_of=of_pair,
            rows=pad_histories(histories, max_length)[of_pair],
            targets=torch.from_numpy(catalogue.rows([target for _, target in pairs])),
            embeddings=torch.from_numpy(encode_preferences(encoder, catalogue, list(unique))),
            messages=torch.tensor([unique[text] for text in words], dtype=torch.int64)[of_pair],
            has_words=torch.tensor([bool(text) for text in words])[of_pair],
        )

    def with_both(self) -> "RequestExamples":
        """The examples that have both a history and words."""
        both = self.has_words & (self.rows[:, 0] != PADDING_ROW)
        parts = {name: getattr(self, name)[both] for name in ("request_of", "rows", "targets", "messages", "has_words")}
        return replace(self, **parts)

    def __len__(self) -> int:
        return len(self.targets)


def request_ranks(
    model: PreferenceAwareTRM, requests: RequestExamples, *, trust: float = 1.0, histories: bool = True
) -> NDArray[np.float64]:
    """Rank each target among all items for its history and words, the history masked -> 1-based (examples,).

    Args:
        model: In evaluation mode.
        requests: What was asked, and what was taken.
        trust: Weight of the words.
        histories: Whether the histories are read; they are masked either way.
    """
    device = model.text_embeddings.device
    ranks = []
    with torch.no_grad():
        vectors, embeddings = model.item_vectors(), requests.embeddings.to(device)
        for part in torch.split(torch.arange(len(requests)), PART):
            states = model.encode_histories(requests.rows[part].to(device)) * histories
            words = model.adapt_preference(embeddings[requests.messages[part].to(device)])
            words = words * requests.has_words[part].unsqueeze(1).to(device)
            scores = (model.combine(states, words=words, words_trust=trust) @ vectors.T).cpu().numpy()
            for line, number in zip(scores, requests.request_of[part].tolist(), strict=True):
                line[requests.histories[number]] = -np.inf
            ranks.append(ranks_with_ties(scores, requests.targets[part].numpy()))
    return np.concatenate(ranks)
