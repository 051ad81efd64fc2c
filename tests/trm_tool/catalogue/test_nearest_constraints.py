"""Why no item passes constraints, and the nearest ones that some item passes."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from deeprec.trm_tool import Catalogue, Item, nearest_constraints

ITEMS: dict[str, dict[str, Any]] = {
    "a": {"genre": ("Comedy",), "brand": "Acme", "price": 10.0, "released": "1995-12-31"},
    "b": {"genre": ("Comedy", "Drama"), "brand": "Acme", "price": 20.0, "released": "1996-06-15"},
    "c": {"genre": ("Horror",), "brand": "Globex", "price": 30.0},
}
CATALOGUE = Catalogue(
    (Item(id=i, title=i, attributes=own) for i, own in ITEMS.items()),
    {"genre": "tags", "brand": "category", "price": "number", "released": "category"},
)
COMEDY = {"genre": {"in": ["comedy"]}}
GLOBEX = {"brand": {"in": ["Globex"]}}


@pytest.mark.parametrize(
    ("where", "without", "items", "reason"),
    [
        (
            {"genre": {"in": ["comdy"]}, "brand": {"in": ["Acme"]}},
            ("genre",),
            2,
            "no item has 'comdy' as genre (did you",
        ),
        ({**COMEDY, "price": {"min": 11, "max": 19}}, ("price",), 2, "(the nearest values are 10 and 20). Without"),
        ({"price": {"min": 31}}, ("price",), 3, "passes where.price (the nearest values are 30)"),
        ({"price": {"max": 5}}, ("price",), 3, "passes where.price (the nearest values are 10)"),
        ({"released": {"min": 1997}}, ("released",), 3, "(the nearest values are 1996-06-15)"),
        ({**COMEDY, **GLOBEX}, ("brand",), 2, "no item passes where.brand together with the other conditions"),
        (
            {"brand": {"in": ["Initech"]}, "price": {"min": 99}},
            ("brand", "price"),
            3,
            "Without brand and price, 3 items",
        ),
        ({"price": {"min": 99}, "genre": {"in": ["Drama"]}}, ("price",), 1, "Without price, 1 item passes."),
        ({"colour": {"in": ["red"]}, "price": {"min": 99}}, ("price",), 3, "where.price"),
    ],
)
def test_the_condition_that_empties_the_set_is_named_and_left_out(
    where: Mapping[str, Any], without: tuple[str, ...], items: int, reason: str
) -> None:
    found = nearest_constraints(CATALOGUE, where)
    assert found is not None
    assert (found.without, found.items) == (without, items)
    assert found.where == {name: condition for name, condition in where.items() if name not in without}
    assert reason in found.reason


def test_items_that_cannot_come_back_do_not_count() -> None:
    removed = Catalogue(list(CATALOGUE), CATALOGUE.attribute_kinds, removed=["b"])
    found = nearest_constraints(removed, COMEDY, exclude=["a"])
    assert found is not None
    assert (found.without, found.items) == (("genre",), 1)
    assert "no item that is left passes where.genre" in found.reason


@pytest.mark.parametrize(("where", "exclude"), [(COMEDY, ()), ({}, ()), (GLOBEX, ("a", "b", "c"))])
def test_where_some_item_passes_or_none_is_left_there_is_nothing_to_leave_out(where: Any, exclude: Any) -> None:
    assert nearest_constraints(CATALOGUE, where, exclude=exclude) is None


def test_any_catalogue_view_can_be_asked() -> None:
    names = ("ids", "removed", "attribute_kinds", "item")
    parts = {name: getattr(CATALOGUE, name) for name in names}

    class View(SimpleNamespace):
        def __len__(self) -> int:
            return 3

    view: Any = View(**parts)
    found = nearest_constraints(view, {"genre": {"in": ["comdy"]}})
    assert found is not None
    assert "Comedy" in found.reason
