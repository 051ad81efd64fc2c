"""What a forked process must make anew: threads, locks and connections of the parent that it cannot use."""

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

Owner = TypeVar("Owner")

_renewals: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def renew_in_forks(owner: Owner, renew: Callable[[Owner], None]) -> None:
    """Call `renew(owner)` in every process that is forked while `owner` exists, before anything else runs there."""
    _renewals[owner] = renew


def _renew_all() -> None:
    for owner, renew in list(_renewals.items()):
        renew(owner)


os.register_at_fork(after_in_child=_renew_all)
