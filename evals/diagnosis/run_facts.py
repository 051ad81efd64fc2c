"""Facts of one run that several figures of a diagnosis share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from deeprec.agent import fuse_rankings
from deeprec.agent.traces import RunTrace


@dataclass(frozen=True)
class RunFacts:
    """Facts of one run, each computed once."""

    run: RunTrace

    @cached_property
    def preferences(self) -> tuple[str, ...]:
        """Preferences of the retrievals that have one, in order; case and white space made alike."""
        written = (turn.preference for turn in self.run.turns if turn.action == "retrieve")
        return tuple(" ".join(text.casefold().split()) for text in written if text)

    @cached_property
    def found(self) -> tuple[tuple[str, ...], ...]:
        """The item ids of each retrieval, best first."""
        return tuple(tuple(item.id for item in call.items) for call in self.run.retrievals)

    @cached_property
    def candidates(self) -> dict[str, int]:
        """Item id -> number, from 1, in the order in which they were found."""
        found = dict.fromkeys(item for items in self.found for item in items)
        return {item: number for number, item in enumerate(found, start=1)}

    @cached_property
    def first_order(self) -> tuple[str, ...]:
        """The first retrieval, best first."""
        return self.found[0] if self.found else ()

    @cached_property
    def fused_order(self) -> tuple[str, ...]:
        """All candidates by the sum of their reciprocal ranks, equal ones as found: what fills short lists."""
        return tuple(fuse_rankings(self.found))

    @cached_property
    def listed(self) -> tuple[str, ...]:
        """The different found items that the model wrote, in its order."""
        return tuple(dict.fromkeys(entry.item_id for entry in self.run.written if entry.item_id in self.candidates))

    @cached_property
    def ungrounded(self) -> int:
        """Entries of the written list that name nothing found."""
        return self.run.ungrounded + sum(entry.item_id not in self.candidates for entry in self.run.written)

    @property
    def entries(self) -> int:
        """Entries of the written list, of every kind."""
        return len(self.run.written) + self.run.ungrounded

    @cached_property
    def found_at(self) -> tuple[int, int] | None:
        """The number of the turn, from 1, that first retrieved the target, and the rank there; None if none did."""
        target = self.run.run.target_id
        for call, items in zip(self.run.retrievals, self.found, strict=True):
            if target in items:
                return call.turn + 1, items.index(target) + 1
        return None
