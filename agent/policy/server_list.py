"""Several servers behind one list of addresses: they have to serve the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.policy.completion import ServedModel


def same_model(found: Sequence[ServedModel], addresses: Sequence[str]) -> ServedModel:
    """Describe a model that several servers serve alike.

    Raises:
        ConfigError: the model or the weights of two servers differ; the message names both.
    """
    first = found[0]
    for served, address in zip(found[1:], addresses[1:], strict=True):
        for what in ("name", "base_fingerprint", "adapter_fingerprint"):
            one, other = getattr(first, what), getattr(served, what)
            if one != other:
                raise ConfigError(
                    f"The servers at {addresses[0]} and {address} differ: the {what.replace('_', ' ')} is {one!r} and "
                    f"{other!r}. Serve one model on all, and load an adapter on each."
                )
    lengths = [served.max_model_len for served in found if served.max_model_len is not None]
    return replace(
        first,
        max_model_len=min(lengths, default=None),
        adapters=tuple(name for name in first.adapters if all(name in served.adapters for served in found)),
    )
