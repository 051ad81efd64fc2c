"""Several servers behind one list of addresses: they have to serve the same model, and a run stays on one of them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from deeprec.agent.policy.openai_endpoint import Answer, Endpoint, PolicyUnavailableError, Result
from deeprec.agent.policy.weight_fingerprints import same_weights
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.policy.completion import ServedModel

_AVOIDED_S = 60.0
"""Seconds for which a server is not chosen again after it was unavailable, as long as there is another."""
_RUNS = 10_000
"""Runs whose server is remembered, the latest ones."""
_asking: ContextVar[str | None] = ContextVar("run that asks", default=None)


@contextmanager
def asking_for(run_id: str) -> Iterator[None]:
    """Mark the requests inside the block as those of a run, which stay on one server."""
    token = _asking.set(run_id)
    try:
        yield
    finally:
        _asking.reset(token)


class RunServers:
    """The server that each run asks: at first the one with the fewest requests in flight, and the same from then on.

    The turns of a run begin with the same tokens, which one server keeps in its prefix cache.
    """

    def __init__(self) -> None:
        self._of_runs: OrderedDict[str, Endpoint] = OrderedDict()
        self._avoided_until: dict[Endpoint, float] = {}

    async def ask(
        self,
        endpoints: Sequence[Endpoint],
        path: str,
        body: dict[str, Any],
        answer: type[Answer],
        check: Callable[[Answer], Result],
        *,
        timeout_s: float | None = None,
    ) -> Result:
        """Ask the server of the run (`asking_for`), and the others where that is unavailable.

        Args:
            endpoints: The servers to choose from, at least one.
            path: What is asked for, behind the address of a server.
            body, answer, check, timeout_s: As of `Endpoint.ask`.
        """
        left, began, rest_s = list(endpoints), time.monotonic(), timeout_s
        while True:
            endpoint = self._choose(left)
            left.remove(endpoint)
            endpoint.in_flight += 1
            try:
                return await endpoint.ask(endpoint.root + path, body, answer, check, timeout_s=rest_s)
            except PolicyUnavailableError:
                rest_s = None if timeout_s is None else timeout_s - (time.monotonic() - began)
                if not left or (rest_s is not None and rest_s <= 0):
                    raise  # of a spent limit the server is not the cause
                self._avoided_until[endpoint] = time.monotonic() + _AVOIDED_S
            finally:
                endpoint.in_flight -= 1

    def _choose(self, endpoints: Sequence[Endpoint]) -> Endpoint:
        now, run_id = time.monotonic(), _asking.get()

        def is_avoided(each: Endpoint) -> bool:
            return now < self._avoided_until.get(each, now)

        chosen = min(endpoints, key=lambda each: (is_avoided(each), each.in_flight))
        if run_id is not None:
            known = self._of_runs.pop(run_id, None)
            if known is not None and known in endpoints and not is_avoided(known):
                chosen = known
            self._of_runs[run_id] = chosen
            while len(self._of_runs) > _RUNS:
                self._of_runs.popitem(last=False)
        return chosen


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
        # All pairs: an id with its commit can be of the model of each of two digests that differ.
        for (one, place), (other, address) in combinations(shown, 2):
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
