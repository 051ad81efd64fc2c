"""Items of requests that a catalogue lacks: they are left out and counted."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from deeprec.trm_tool.data.requests.request import Request
from deeprec.trm_tool.recommender import CatalogueView, split_known

LISTS = ("history", "targets", "shown", "chosen")
"""The fields of a request that hold item ids."""


def with_known_items(
    requests: Iterable[Request], catalogue: CatalogueView, unknown: Counter[str] | None = None
) -> Iterator[Request]:
    """Requests without the ids that a catalogue lacks. A request that loses all its targets so is left out.

    Args:
        requests: They are read one by one.
        catalogue: What a recommender knows.
        unknown: It counts the ids that were left out, by the field's name, and under `requests` the requests.
    """
    counts = Counter[str]() if unknown is None else unknown
    for request in requests:
        kept: dict[str, Any] = {}
        for name in LISTS:
            ids = getattr(request, name)
            if ids is None or all(item_id in catalogue for item_id in ids):
                continue
            known, lacking = split_known(catalogue, ids)
            counts[name] += len(lacking)
            kept[name] = tuple(known)
        if request.targets and not kept.get("targets", request.targets):
            counts["requests"] += 1
        else:
            yield replace(request, **kept)
