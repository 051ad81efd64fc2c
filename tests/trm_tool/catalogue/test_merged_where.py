"""Constraints from two sides, as one."""

import random
from typing import Any

from deeprec.trm_tool import Catalogue, Item
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.catalogue.merged_where import merge_where

CATALOGUE = Catalogue(
    [Item(id=f"{c}{n}", title="", attributes={"colour": c, "price": float(n)}) for c in "abc" for n in range(4)],
    {"colour": "category", "price": "number"},
)


def test_an_item_passes_the_merged_constraints_where_it_passes_each() -> None:
    index, rng = AttributeIndex(CATALOGUE), random.Random(3)

    def some() -> dict[str, Any]:
        colours: dict[str, Any] = {rng.choice(["in", "not_in"]): rng.sample("abc", rng.randint(1, 2))}
        return {"colour": colours, "price": {rng.choice(["min", "max"]): rng.randint(0, 3)}}

    for _ in range(300):
        first, second = some(), some()
        merged = merge_where(first, second)
        each = index.filter(first).mask & index.filter(second).mask
        if merged is None:
            assert not each.any()
        elif not ("in" in first["colour"] and "in" in second["colour"] and not each.any()):
            assert (index.filter(merged).mask == each).all()


def test_nothing_is_lost_of_one_side() -> None:
    assert merge_where(None, {}) == {}
    assert merge_where({"price": {"min": 1}}, {"colour": {"in": ["a"]}}) == {
        "price": {"min": 1},
        "colour": {"in": ["a"]},
    }
    assert merge_where({"price": {"min": 3}}, {"price": {"max": 1}}) is None
