"""How the time of a call grows with its input: two measurements of one run, so that no machine is too slow for it."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

MOST = 10
"""How many times as long four times the text may take: what grows with the length takes 4, with its square 16."""
_ROUNDS = 20


def assert_grows_with_length(read: Callable[[str], object], text: str) -> None:
    """Assert that reading a text takes at most `MOST` times as long as reading its last quarter."""
    quarter = text[-(len(text) // 4) :]
    assert times_as_long(lambda: read(text), lambda: read(quarter), most=MOST) <= MOST


def times_as_long(call: Callable[[], object], other: Callable[[], object], *, most: float) -> float:
    """How many times as long as another call a call takes, each by the processor time of its fastest round.

    Rounds are added, to a limit, as long as the ratio is over `most`: on a busy machine single ones are slow by chance.
    """
    slow = fast = float("inf")
    for _ in range(_ROUNDS):
        fast, slow = min(fast, _seconds(other)), min(slow, _seconds(call))
        if slow <= most * fast:
            break
    return slow / fast


def _seconds(call: Callable[[], object]) -> float:
    started = process_time()
    call()
    return process_time() - started
