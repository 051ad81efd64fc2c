"""The seeds that a run draws with: each turn has its own, derived from the run's seed and the turn's position."""

from __future__ import annotations

import hashlib
from typing import Literal

MAX_SEED = 2**53 - 1
"""The largest seed of a run or a turn: the largest integer that every JSON reader keeps exact."""

SeedRule = Literal["hashed", "counted"]
"""How the seed of a turn follows from the seed of its run.

`hashed`: by `turn_seed`. `counted`: the run's seed plus the turn's position, so that the second turn of one run drew
like the first turn of a run with the next seed. Runs whose logged `config` names no rule were made that
way, and are repeated that way.
"""


def derive_seed(*key: object) -> int:
    """Derive a seed from what it belongs to.

    Args:
        key: Values that name the draw, such as a label, a person and a number; their texts count, and their order.

    Returns:
        An integer in [0, 2**53), the same for equal keys; of two different keys two values that look independent.
    """
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") & MAX_SEED


def turn_seed(seed: int, turn: int, rule: SeedRule = "hashed") -> int:
    """Derive the seed of one turn of a run.

    Args:
        seed: The seed of the run.
        turn: Position of the turn, from 0.
        rule: The rule by which this run derives it.
    """
    return seed + turn if rule == "counted" else derive_seed("turn", seed, turn)
