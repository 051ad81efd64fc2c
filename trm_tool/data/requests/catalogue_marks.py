"""What a file of requests keeps of its catalogue, so that a file of another catalogue is refused."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nsmallest

from deeprec.trm_tool.errors import DataError
from deeprec.trm_tool.recommender import CatalogueView

_MARKED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueMarks:
    """The fingerprint of a catalogue, and the titles of some of its items as digests.

    Catalogues change every day and number their items alike: item 50 of one data set is another film in the next. So
    what decides is whether the marked items that a catalogue has are the same items there.
    """

    items: int
    """Items of the catalogue."""
    fingerprint: str
    """Sha256 (hex) of the ids and titles, in the order of the ids."""
    titles: Mapping[str, str]
    """Item id -> digest of its title, for 64 items at most; case, spaces and punctuation do not count."""

    @classmethod
    def of(cls, catalogue: CatalogueView) -> "CatalogueMarks":
        """Mark a catalogue."""
        digest = hashlib.sha256()
        for item_id in sorted(catalogue.ids):
            digest.update(json.dumps([item_id, _bare(catalogue, item_id)]).encode())
        marked = nsmallest(_MARKED, catalogue.ids, key=_digest)
        return cls(
            items=len(catalogue),
            fingerprint=digest.hexdigest(),
            titles={item_id: _digest(_bare(catalogue, item_id)) for item_id in marked},
        )

    def check(self, catalogue: CatalogueView, file: str) -> None:
        """Refuse a catalogue that lacks all the marked items, or in which most of them are other items.

        Raises:
            DataError: it names the file, what was compared, and what to do.
        """
        there = [item_id for item_id in self.titles if item_id in catalogue]
        other = [item_id for item_id in there if _digest(_bare(catalogue, item_id)) != self.titles[item_id]]
        if there and 2 * len(other) < len(there):
            return
        seen = f"{len(other)} of these have another title" if there else "and has none of its items"
        raise DataError(
            f"{file} is of another catalogue, of {self.items} items: of {len(self.titles)} that it marks, the "
            f"catalogue of {len(catalogue)} items has {len(there)}, {seen}. Name the catalogue that the requests were "
            "imported with, or import them again with this one."
        )


def _bare(catalogue: CatalogueView, item_id: str) -> str:
    return re.sub(r"[\W_]+", "", catalogue.item(item_id).title.casefold())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
