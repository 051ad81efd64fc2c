"""Models without weights, which are then read from a file or taken from another model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def weightless() -> Iterator[None]:
    """Modules that are made inside the block lie on the meta device, with shapes, but no memory and no random numbers.

    The initialisers of `torch.nn.init` do nothing: on the meta device torch answers the first draw, or sum, by
    importing its compiler, which took 1 s and 70 MB of every process that loads an artifact.
    """
    with torch.device("meta"), _NoInitialisers():
        yield


class _NoInitialisers(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return func(*args, **named)
