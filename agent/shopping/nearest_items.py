"""What comes nearest where no item passes the hard constraints: without which of them, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.agent.conversation import ConversationCatalogue
from deeprec.agent.shopping.item_records import ItemRecords
from deeprec.agent.shopping.search_request import SearchRequest
from deeprec.agent.shopping.wording import joined
from deeprec.trm_tool import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestItems:
    """What can be offered, and why nothing else can."""

    item_ids: tuple[str, ...]
    """Items that pass what remains of the constraints, the nearest to the others first."""
    reason: str
    """One sentence or two for the person: what keeps all items out."""


def nearest_items(
    request: SearchRequest, catalogue: ConversationCatalogue, demanded: Sequence[Where] = ()
) -> NearestItems:
    """Leave out hard constraints of the person until an item passes: the one without which most items pass, and so on.

    The kind of item that the person asks for stays as long as an item has it. What the program demands stays. It takes
    time in proportion to the catalogue.

    Args:
        request: The search that leaves no item.
        catalogue: The catalogue, laid out.
        demanded: What is not left out either, since without it the items would be others than those asked for.
    """
    own, records = list(request.terms.hard), ItemRecords(catalogue)
    fixed = [*request.hard[len(own) :], *demanded]
    asked_for = joined([records.condition_text(where) for where in (*demanded, *own)])
    gone = {*request.exclude, *request.history}
    if not catalogue.passing(fixed, gone):
        reason = "Nothing is left to recommend here: what is in the cart or was set aside does not come back."
        return NearestItems(item_ids=(), reason=reason)
    dropped: list[Where] = []
    # Constraints that nothing passes by itself go first.
    for where in [each for each in own if not catalogue.passing([*fixed, each], gone)]:
        own.remove(where)
        dropped.append(where)
    kinds = [where for where in own if any(catalogue.is_kind(name) and "in" in where[name] for name in where)]
    others = [where for where in own if where not in kinds]
    while not catalogue.passing([*fixed, *kinds], gone):  # of kinds that no item has together the last one stays
        fits = [at for at in range(len(kinds)) if catalogue.passing([*fixed, *kinds[:at], *kinds[at + 1 :]], gone)]
        dropped.append(kinds.pop(fits[0] if fits else 0))
    fixed += kinds
    while not catalogue.passing([*fixed, *others], gone):
        counts = [len(catalogue.passing([*fixed, *others[:at], *others[at + 1 :]], gone)) for at in range(len(others))]
        dropped.append(others.pop(counts.index(max(counts))))
    found = catalogue.passing([*fixed, *others], gone)
    without = joined([records.condition_text(where) for where in dropped])
    count = f"there is {len(found)}" if len(found) == 1 else f"there are {len(found)}"
    reason = f"Nothing has all of this: {asked_for}. Without {without} {count}."
    return NearestItems(item_ids=_nearest_first(found, dropped, request.weighed, catalogue), reason=reason)


def _nearest_first(
    item_ids: Sequence[str], dropped: Sequence[Where], weighed: Sequence[Where], catalogue: ConversationCatalogue
) -> tuple[str, ...]:
    """Items by how far their numbers lie from the bounds that were left out, then by how much of the rest they have."""
    having = [frozenset(catalogue.passing([where])) for where in weighed]

    def distance(item_id: str) -> float:
        total = 0.0
        for where in dropped:
            for name, condition in where.items():
                for key in ("min", "max"):
                    if key in condition and (number := catalogue.number(item_id, name)) is not None:
                        end = float(condition[key])
                        total += max(0.0, (end - number) if key == "min" else (number - end)) / max(abs(end), 1.0)
        return total

    return tuple(sorted(item_ids, key=lambda each: (distance(each), -sum(each in items for items in having))))
