"""Several servers behind one list of addresses: they have to serve the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.policy.completion import ServedModel


def same_model(found: Sequence[ServedModel], addresses: Sequence[str]) -> ServedModel:
    """Describe a model that several servers serve alike.

    Fingerprints are compared between the servers that show theirs to this machine. Where one does not, the weights that
    answer are unknown, and the result has no fingerprint.

    Raises:
        ConfigError: the model or the weights of two servers differ; the message names both.
    """
    first = found[0]
    for what in ("name", "base_fingerprint", "adapter_fingerprint"):
        shown = [
            (value, address)
            for served, address in zip(found, addresses, strict=True)
            if (value := getattr(served, what)) is not None
        ]
        for (one, place), (other, address) in pairwise(shown):
            is_same = one == other if what == "name" else same_weights(one, other)
            if not is_same:
                raise ConfigError(
                    f"The servers at {place} and {address} differ: the {what.replace('_', ' ')} is {one!r} and "
                    f"{other!r}. Serve one model on all, and load an adapter on each."
                )
    lengths = [served.max_model_len for served in found if served.max_model_len is not None]
    return replace(
        first,
        max_model_len=min(lengths, default=None),
        adapters=tuple(name for name in first.adapters if all(name in served.adapters for served in found)),
        base_fingerprint=_shown_by_all([served.base_fingerprint for served in found]),
        adapter_fingerprint=_shown_by_all([served.adapter_fingerprint for served in found]),
    )


def _shown_by_all(fingerprints: Sequence[str | None]) -> str | None:
    return None if None in fingerprints else fingerprints[0]
