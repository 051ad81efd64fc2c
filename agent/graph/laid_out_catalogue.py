"""A catalogue laid out for constraints: which items pass them, and which constraints are hard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.graph.state import GuessedConstraint, HardConstraint
from deeprec.trm_tool import Where
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.catalogue.plain_constraints import PlainConstraints
from deeprec.trm_tool.catalogue.stated_preference import Constraint, PreferenceReader

Passes = Callable[[Sequence[str]], list[str]]
"""Keeps those of some item ids that pass constraints, in their order."""
NOTHING_PASSES = "no item that is left passes it"
NOT_SAID = "the person's words do not say so"
DOUBTFUL = "its unit fits several attributes, and the words name none"
_CONTRADICTS = "no item passes both it and {other!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaidOutCatalogue:
    """A catalogue at one state of its items."""

    catalogue: Any
    version: str
    reader: PreferenceReader
    plain: PlainConstraints
    index: AttributeIndex
    rows: dict[str, int]

    @classmethod
    def of(cls, catalogue: Any, version: str) -> LaidOutCatalogue:
        """Lay out a catalogue; it takes some passes over the items.

        Args:
            catalogue: Of a recommender.
            version: The fingerprint of the recommender.
        """
        reader = PreferenceReader(catalogue)
        return cls(
            catalogue=catalogue,
            version=version,
            reader=reader,
            plain=PlainConstraints(catalogue, reader),
            index=AttributeIndex(catalogue),
            rows={item_id: row for row, item_id in enumerate(catalogue.ids)},
        )

    @property
    def removed(self) -> Collection[str]:
        """Ids of the items that can no longer be recommended."""
        removed: Collection[str] = self.catalogue.removed
        return removed

    def mask(self, wheres: Sequence[Where | None]) -> NDArray[np.bool_]:
        """Which items pass all of these, bool (items,)."""
        mask = np.ones(len(self.rows), dtype=np.bool_)
        for where in wheres:
            mask &= self.index.filter(where).mask if where else True
        return mask

    def left(self, wheres: Sequence[Where | None], gone: Sequence[str]) -> NDArray[np.bool_]:
        """Which items pass all of these and are neither gone nor removed, bool (items,)."""
        return self.mask(wheres) & ~self.mask_of([*gone, *self.removed])

    def judge(
        self,
        passing: NDArray[np.bool_],
        stated: Iterable[tuple[Constraint, str | None]],
        held: Sequence[HardConstraint],
    ) -> tuple[NDArray[np.bool_], list[HardConstraint], list[GuessedConstraint]]:
        """Decide which constraints are hard, in their order: those that words support and some item passes.

        Args:
            passing: Which items pass what is hard already.
            stated: Each constraint, with the words that support it; None where none do.
            held: What is hard already.

        Returns:
            Which items pass what is hard now, what became hard, and what is a guess.
        """
        hard, guessed = list[HardConstraint](), list[GuessedConstraint]()
        for constraint, words in stated:
            text, where = constraint.text, constraint.where
            both = passing & self.mask([where])
            if words is not None and both.any():
                passing = both
                hard.append(HardConstraint(text=text, where=where, source="message", words=words))
            else:
                why = DOUBTFUL if constraint.is_doubtful else NOT_SAID if words is None else NOTHING_PASSES
                guess = GuessedConstraint(text=text, where=where, why=why)
                others = [each["text"] for each in (*held, *hard) if not self.left([where, each["where"]], ()).any()]
                if words is not None and others and self.left([where], ()).any():
                    guess["why"], guess["contradicts"] = _CONTRADICTS.format(other=others[0]), others[0]
                guessed.append(guess)
        return passing, hard, guessed

    def mask_of(self, item_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Which items these are, bool (items,)."""
        mask = np.zeros(len(self.rows), dtype=np.bool_)
        mask[[self.rows[item_id] for item_id in item_ids if item_id in self.rows]] = True
        return mask

    def passing(self, mask: NDArray[np.bool_]) -> Passes:
        """A filter of item ids that keeps those of a mask, bool (items,)."""

        def passing(item_ids: Sequence[str]) -> list[str]:
            return [item_id for item_id in item_ids if item_id in self.rows and mask[self.rows[item_id]]]

        return passing
