"""What comes nearest where no item passes the hard constraints: without which of them, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.agent.conversation import ConversationCatalogue
from deeprec.agent.shopping.search_request import SearchRequest
from deeprec.trm_tool import Where
from deeprec.trm_tool.catalogue.where_text import preference_segments


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestItems:
    """What can be offered, and why nothing else can."""

    item_ids: tuple[str, ...]
    """Items that pass what remains of the constraints, the nearest to the others first."""
    without: tuple[str, ...]
    """The constraints that are left out, as a person reads them."""
    reason: str
    """One sentence or two for the person."""


def nearest_items(request: SearchRequest, catalogue: ConversationCatalogue) -> NearestItems:
    """Leave out hard constraints of the person until an item passes: the one without which most items pass, and so on.

    What the program demands stays. It takes time in proportion to the catalogue.
    """
    own = list(request.terms.hard)
    fixed = list(request.hard[len(own) :])
    gone = {*request.exclude, *request.history}
    if not catalogue.passing(fixed, gone):
        reason = "Nothing is left to recommend here: what is in the cart or was set aside does not come back."
        return NearestItems(item_ids=(), without=(), reason=reason)
    dropped: list[Where] = []
    # Constraints that nothing passes by itself go first.
    for where in [each for each in own if not catalogue.passing([*fixed, each], gone)]:
        own.remove(where)
        dropped.append(where)
    while not (found := catalogue.passing([*fixed, *own], gone)):
        counts = [len(catalogue.passing([*fixed, *own[:at], *own[at + 1 :]], gone)) for at in range(len(own))]
        dropped.append(own.pop(counts.index(max(counts))))
    asked = [each for each in request.weighed if catalogue.passing([*fixed, *own, each], gone)]
    for where in asked:
        narrower = catalogue.passing([*fixed, *own, where], gone)
        found = tuple(item_id for item_id in found if item_id in set(narrower)) or found
    without = tuple(segment for where in dropped for segment in preference_segments(where))
    kept = f" beside {', '.join(segment for where in own for segment in preference_segments(where))}" if own else ""
    reason = f"No item has {' and '.join(without)}{kept}."
    return NearestItems(item_ids=_by_distance(found, dropped, catalogue), without=without, reason=reason)


def _by_distance(
    item_ids: Sequence[str], dropped: Sequence[Where], catalogue: ConversationCatalogue
) -> tuple[str, ...]:
    """Items by how far their numbers lie from the bounds that were left out, as shares of the bound."""

    def distance(item_id: str) -> float:
        total = 0.0
        for where in dropped:
            for name, condition in where.items():
                for key in ("min", "max"):
                    if key in condition and (number := catalogue.number(item_id, name)) is not None:
                        end = float(condition[key])
                        total += max(0.0, (end - number) if key == "min" else (number - end)) / max(abs(end), 1.0)
        return total

    return tuple(sorted(item_ids, key=distance))
