"""Constraints over every kind of attribute, and the reports of values and bounds that cannot be meant."""

import time
from typing import Any

import numpy as np
import pytest
import torch

from deeprec.trm_tool import (
    Artifact,
    Catalogue,
    ConfigError,
    HashingEncoder,
    Item,
    PreferenceAwareTRM,
    Retrieved,
    Retriever,
    TRMConfig,
    UnknownValue,
)

KINDS: dict[str, Any] = {
    "genre": "tags",
    "brand": "category",
    "in_stock": "category",
    "size": "category",
    "released": "category",
    "price": "number",
}
SHOP: dict[str, dict[str, Any]] = {
    "a": {"genre": ("Comedy", "Drama"), "brand": "Café  Noir", "in_stock": "True", "size": "7", "price": 9.99},
    "b": {"genre": ("comedy",), "brand": "Straße", "in_stock": "false", "size": "8", "price": 20.0},
    "c": {"genre": ("Horror",), "brand": "Acme", "in_stock": "true", "released": "1995-12-31"},
    "d": {"genre": ("Drama",), "brand": "Acme", "released": "1996-01-01", "price": 0.0},
    "e": {"released": "1996-06-15", "price": 1e6},
}


def serve(items: dict[str, dict[str, Any]], kinds: dict[str, Any]) -> Retriever:
    """A retriever over items with these attributes, with random weights."""
    encoder = HashingEncoder(8)
    texts = torch.from_numpy(encoder.encode(list(items)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PreferenceAwareTRM(TRMConfig(width=8, inner=8, layers=1, heads=1, experts=1, max_length=4), texts)
    return Retriever(
        Artifact(
            model=model.requires_grad_(False).eval(),
            catalogue=Catalogue((Item(id=i, title=i, attributes=own) for i, own in items.items()), kinds),
            text_embeddings=texts,
            popularity=np.ones(len(items)),
            config={"encoder_id": encoder.id, "dataset_fingerprint": "", "holdout": 2, "trust": 1.0},
            fingerprint="",
        )
    )


@pytest.fixture(scope="module")
def shop() -> Retriever:
    return serve(SHOP, KINDS)


def ask(shop: Retriever, **where: Any) -> Retrieved:
    return shop.retrieve((), k=10, where=where)


def ids(found: Retrieved) -> str:
    return "".join(item.id for item in found)


@pytest.mark.parametrize(
    ("where", "passing"),
    [
        ({"genre": {"in": ["COMEDY"]}}, "ab"),
        ({"genre": {"in": ["comedy", "drama"], "not_in": ["drama"]}}, "b"),
        ({"brand": {"in": ["cafe\u0301 noir"]}}, "a"),  # composed and decomposed, one space and two
        ({"brand": {"in": ["STRASSE"]}}, "b"),
        ({"in_stock": {"in": [True]}}, "ac"),
        ({"in_stock": {"not_in": [True]}}, "bde"),
        ({"size": {"in": [7.0, 8]}}, "ab"),
        ({"price": {"min": 9.99, "max": 20}}, "ab"),
        ({"price": {"in": ["9.99", 0]}}, "ad"),
        ({"price": {"in": [False]}}, "d"),
        ({"price": {"not_in": [20]}}, "acde"),
        ({"released": {"min": "1996"}}, "de"),
        ({"released": {"max": 1995}}, "c"),
        ({"released": {"min": "1995-12-31", "max": "1996-01"}}, "cd"),
        ({"released": {"min": "1996-06-15", "max": "1996"}}, "e"),
        ({"released": {"in": ["1995-12-31"]}}, "c"),
        ({"released": {"not_in": ["1995-12-31"], "max": "1996-01"}}, "d"),
        ({"genre": {"in": ["drama"]}, "price": {"max": 5}}, "d"),
    ],
)
def test_constraints_on_every_kind_of_attribute(shop: Retriever, where: dict[str, Any], passing: str) -> None:
    found = ask(shop, **where)
    assert ids(found) == passing
    assert (found.unenforced, found.unknown_values) == ((), ())


@pytest.mark.parametrize("k", [1, 3, 20])
def test_k_items_come_back_where_k_pass(retriever: Retriever, k: int) -> None:
    """The constraints come before the cut, so that an item that fails them takes no position."""
    history = ("900", "893")
    whole = [item.id for item in retriever.retrieve(history, "horror", k=50)]
    catalogue = retriever.catalogue
    passing = [i for i in whole if catalogue.item(i).attributes.get("studio") == "Pixar"]
    assert whole[0] not in passing
    assert len(passing) == 12
    found = retriever.retrieve(history, "horror", k=k, where={"studio": {"in": ["pixar"]}})
    assert [item.id for item in found] == passing[:k]
    assert len(found) == min(k, 12)


@pytest.mark.parametrize(
    ("where", "value", "close"),
    [
        ({"genre": {"in": ["Comdy", "Horror"]}}, "Comdy", ("Comedy", "Horror", "Drama")),
        ({"genre": {"not_in": ["Horor"]}}, "Horor", ("Horror", "Drama", "Comedy")),
        ({"in_stock": {"in": ["yes"]}}, "yes", ("false", "True")),
        ({"price": {"in": [21, 20]}}, "21", ("20", "1000000")),
        ({"price": {"not_in": [-5]}}, "-5", ("0",)),
        ({"price": {"in": [10**9]}}, "1000000000", ("1000000",)),
    ],
)
def test_a_value_that_no_item_has_is_named_with_what_may_be_meant(
    shop: Retriever, where: dict[str, Any], value: str, close: tuple[str, ...]
) -> None:
    (unknown,) = ask(shop, **where).unknown_values
    assert isinstance(unknown, UnknownValue)
    assert (unknown.attribute, unknown.value) == (next(iter(where)), value)
    assert unknown.close[:1] == close[:1] or value == "yes"  # few values are all named, the likest first
    assert set(unknown.close) == set(close)


def test_of_many_values_the_like_ones_are_named_in_bounded_time() -> None:
    items = {str(row): {"brand": f"brand {row}", "price": float(row)} for row in range(5000)}
    shop = serve(items, {"brand": "category", "price": "number"})
    started = time.perf_counter()
    found = shop.retrieve((), k=5, where={"brand": {"in": ["Brnd 17", "zzz", "x" * 1_000_000]}})
    assert [unknown.close[:1] for unknown in found.unknown_values] == [("brand 17",), (), ()]
    assert [len(unknown.value) for unknown in found.unknown_values] == [7, 3, 80]
    many = {"brand": {"in": [f"brant {row}" for row in range(100_000)]}, "price": {"in": list(range(90_000))}}
    assert len(shop.retrieve((), k=5, where=many).unknown_values) == 10
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"released": {"min": "soon"}}, "where.released.min is 'soon'; give a number, or a date such as 2021-03-01"),
        ({"released": {"min": 19.5}}, "where.released.min is 19.5; give a date, a month or a year"),
        ({"released": {"min": "1996-02", "max": "1996-01"}}, "has min 1996-02 above max 1996-01"),
        ({"released": {"min": "1997", "max": "1996-01"}}, "has min 1997 above max 1996-01"),
        ({"brand": {"min": 3}}, "where.brand asks for min, but brand holds words. Use in or not_in"),
        ({"price": {"max": "1990"}}, "where.price.max is '1990', but price holds numbers; give a number"),
        ({"in_stock": {"in": [True], "not_in": ["TRUE"]}}, "has every value of in under not_in"),
        ({"price": {"in": [5, 6], "max": 4}}, "lists only values outside its own min and max"),
        ({"price": {"in": [1], "not_in": ["1"]}}, "has every value of in under not_in"),
        ({"brand": {"in": set()}}, "where.brand.in is empty"),
        (
            {"colour": {"in": []}},
            "where.colour.in is empty",
        ),  # an attribute that the catalogue lacks is checked as well
    ],
)
def test_what_no_item_could_pass_is_refused(shop: Retriever, where: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ask(shop, **where)
    assert message in str(raised.value)


def test_a_range_without_items_is_an_empty_list(shop: Retriever) -> None:
    found = ask(shop, price={"min": 21, "max": 22})
    assert (list(found), found.unknown_values) == ([], ())


def test_a_bare_word_is_answered_with_how_to_write_it(shop: Retriever) -> None:
    with pytest.raises(ConfigError, match=r'such as \{"genre": \{"in": \["Comedy"\]\}\}'):
        shop.retrieve([], k=3, where={"genre": "Comedy"})  # type: ignore[dict-item]
