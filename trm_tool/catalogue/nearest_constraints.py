"""Constraints that no item passes: which condition empties the set, what is near, and the nearest set without it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.catalogue.filters import AttributeIndex, Where

if TYPE_CHECKING:
    from deeprec.trm_tool.recommender import CatalogueView


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestConstraints:
    """The nearest constraints that some item passes, and why none passes those that were asked for."""

    without: tuple[str, ...]
    """Attributes whose conditions are left out."""
    where: Where
    """The conditions that remain, unchanged."""
    items: int
    """How many items pass them."""
    reason: str
    """One sentence or two for a person: the condition that empties the set, and the values near it."""


def nearest_constraints(
    catalogue: "CatalogueView", where: Where, *, exclude: Collection[str] = ()
) -> NearestConstraints | None:
    """Find the conditions without which some item passes; any recommender's catalogue can be asked.

    A condition that no item passes by itself is left out. Where several only contradict one another, the one is left
    out without which the most items pass, and so on. It takes time in proportion to the catalogue.

    Args:
        catalogue: All items.
        where: The constraints. Those on attributes that the catalogue lacks count as passed.
        exclude: Ids of items that cannot come back in any case, such as those of a history.

    Returns:
        None where some item passes, or where no item is left even without constraints.

    Raises:
        ConfigError: a condition makes no sense.
    """
    index = AttributeIndex(catalogue)
    out = {*exclude, *catalogue.removed}
    available = np.array([item_id not in out for item_id in catalogue.ids], dtype=np.bool_)
    found = {name: index.filter({name: condition}) for name, condition in where.items()}
    masks = {name: available & filtered.mask for name, filtered in found.items()}
    if not available.any() or _passing(available, masks).any():
        return None
    alone = [name for name, mask in masks.items() if not mask.any()]
    kept = {name: mask for name, mask in masks.items() if name not in alone}
    together: list[str] = []
    while not (passing := _passing(available, kept)).any():
        without = {name: {other: mask for other, mask in kept.items() if other != name} for name in kept}
        # Of conditions that leave equally many, the narrowest goes.
        name = max(kept, key=lambda n: (int(_passing(available, without[n]).sum()), -int(kept[n].sum())))
        together.append(name)
        kept = without[name]
    reasons = []
    for name in alone:
        reasons += [
            f"no item has {unknown.value!r} as {name}"
            + (f" (did you mean {' or '.join(map(repr, unknown.close))}?)" if unknown.close else "")
            for unknown in found[name].unknown_values
        ] or [
            f"no item that is left passes where.{name}"
            + (f" (the nearest values are {' and '.join(near)})" if (near := index.near(name, where[name])) else "")
        ]
    reasons += [f"no item passes where.{name} together with the other conditions" for name in together]
    left_out = (*alone, *together)
    return NearestConstraints(
        without=left_out,
        where={name: condition for name, condition in where.items() if name in kept},
        items=int(passing.sum()),
        reason=f"No item passes the constraints: {'; '.join(reasons)}. Without {' and '.join(left_out)}, "
        f"{int(passing.sum()):,} {'item passes' if passing.sum() == 1 else 'items pass'}.",
    )


def _passing(available: NDArray[np.bool_], masks: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    passing = available.copy()
    for mask in masks.values():
        passing &= mask
    return passing
