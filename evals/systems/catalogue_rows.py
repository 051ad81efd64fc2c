"""Positions of items in the order of a catalogue, which is the order of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.errors import UnknownItemError
from deeprec.trm_tool.recommender import CatalogueView

FindRows = Callable[[Sequence[str]], NDArray[np.int64]]
"""Item ids (n,) -> positions int64 (n,), or UnknownItemError."""


def make_row_finder(catalogue: CatalogueView) -> FindRows:
    """Build a function from item ids to their positions among `catalogue.ids`."""
    if isinstance(catalogue, Catalogue):
        return catalogue.rows
    rows = {item_id: row for row, item_id in enumerate(catalogue.ids)}

    def find(item_ids: Sequence[str]) -> NDArray[np.int64]:
        try:
            return np.array([rows[item_id] for item_id in item_ids], dtype=np.int64)
        except KeyError as error:
            raise UnknownItemError(
                f"Not in the catalogue: {str(error)[:80]}. It has {len(rows)} items; give their ids, not titles."
            ) from None

    return find
