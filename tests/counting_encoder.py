"""A hashing encoder that keeps the texts that it encoded, for tests of what is encoded and how often."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool import HashingEncoder, TextRole


class CountingEncoder(HashingEncoder):
    """`encoded` holds every text; above `fail_after` of them the next call is interrupted."""

    def __init__(self, width: int = 32, fail_after: int | None = None) -> None:
        super().__init__(width)
        self.encoded: list[str] = []
        self.fail_after = fail_after

    def encode(self, texts: Sequence[str], *, role: TextRole = "item") -> NDArray[np.float32]:
        if self.fail_after is not None and len(self.encoded) >= self.fail_after:
            raise KeyboardInterrupt
        self.encoded.extend(texts)
        return super().encode(texts, role=role)
