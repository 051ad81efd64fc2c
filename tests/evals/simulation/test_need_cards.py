"""Need cards are coarse, true of several items, and nothing in them or in a person's words gives the target away."""

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import replace

import pytest

from deeprec.evals import (
    DrawnNeed,
    Need,
    NeedCard,
    NeedConfig,
    SimulatedPerson,
    find_target_leaks,
    make_need_cards,
)
from deeprec.evals.simulation.drawn_needs import band_of
from deeprec.evals.simulation.target_leaks import could_name
from deeprec.trm_tool import Catalogue, ConfigError, DataError, Dataset, Item

COMEDY = Need("genre", "is", "comedy", "tag", "Comedy")
NO_HORROR = Need("genre", "is_not", "horror", "tag", "Horror")
NINETIES = Need("release_year", "is", "1990s", "year", "1990s")
CHEAP = Need("price", "at_most", 20.0, "price")


def types_of(hint: object) -> Iterator[object]:
    """A type, the types in its arguments, and those of the fields of dataclasses."""
    yield hint
    for argument in typing.get_args(hint):
        yield from types_of(argument)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        for inner in typing.get_type_hints(hint).values():
            yield from types_of(inner)


def test_the_type_of_a_person_takes_no_item() -> None:
    hints = typing.get_type_hints(SimulatedPerson.__init__)
    taken = {kind for hint in hints.values() for kind in types_of(hint)}
    assert NeedCard in taken
    assert Need in taken
    assert not taken & {Item, Catalogue, Dataset, DrawnNeed}
    fields = {field.name for kind in (NeedCard, Need) for field in dataclasses.fields(kind)}
    assert not fields & {"id", "item", "item_id", "title", "target", "text"}


def test_a_card_is_frozen_and_needs_something() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NeedCard((COMEDY,)).needs = ()  # type: ignore[misc]
    with pytest.raises(ConfigError, match="no need"):
        NeedCard(())


@pytest.mark.parametrize(
    ("attributes", "fits", "share"),
    [
        ({"genre": ("Comedy", "Drama"), "release_year": 1994.0, "price": 20.0}, True, 1),
        ({"genre": ("Comedy", "Horror"), "release_year": 1994.0, "price": 5.0}, False, 3 / 4),
        ({"genre": ("Comedy",), "release_year": 2001.0, "price": 5.0}, False, 3 / 4),
        ({"genre": "Drama", "release_year": 1999.0, "price": 20.5}, False, 2 / 4),
        ({}, False, 1 / 4),  # an item without attributes breaks no refusal
    ],
)
def test_items_fit_by_their_attributes(attributes: dict[str, typing.Any], fits: bool, share: float) -> None:
    card = NeedCard((COMEDY, NO_HORROR, NINETIES, CHEAP))
    assert card.fits(attributes) is fits
    assert card.share_met(attributes) == share
    assert card.preference == "comedy; not horror; 1990s; price <= 20"


def test_every_card_fits_its_target_and_four_other_new_items(shop: Dataset, needs: list[DrawnNeed]) -> None:
    assert len(needs) >= 30
    assert {need.asks for drawn in needs for need in drawn.card.needs} == {"is", "is_not", "at_most", "at_least"}
    for drawn in needs:
        fitting = {item.id for item in shop.catalogue if drawn.card.fits(item.attributes)}
        assert drawn.target in fitting
        assert len(fitting - set(drawn.history)) >= 5
        assert len(fitting) <= 0.03 * len(shop.catalogue)
        assert drawn.target not in drawn.history


def test_equal_seeds_draw_equal_cards(shop: Dataset, needs: list[DrawnNeed]) -> None:
    some = [drawn.person for drawn in needs[:5]]
    config = NeedConfig(refusals=0.6, bounds=0.6)
    assert make_need_cards(shop, config, people=some) == needs[:5]
    others = make_need_cards(shop, replace(config, seed=1), people=some)
    assert [drawn.card for drawn in others] != [drawn.card for drawn in needs[:5]]


def test_data_that_gives_no_card_is_refused() -> None:
    catalogue = Catalogue([Item(id=name, title=name) for name in "abcd"], {})
    dataset = Dataset(name="bare", catalogue=catalogue, users=("u",), sequences={"u": tuple("abcd")})
    with pytest.raises(DataError, match="bare gave no need card"):
        make_need_cards(dataset)


@pytest.mark.parametrize(
    "setting", [{"min_needs": 0}, {"min_fitting": 1}, {"max_share": 1.5}, {"refusals": -1}, {"split": "last"}]
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, typing.Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        NeedConfig(**setting)


@pytest.mark.parametrize(
    ("value", "band"), [(44.95, (20, 50)), (0.3, (0.2, 0.5)), (50.0, (50, 100)), (1, (1, 2)), (999, (500, 1000))]
)
def test_bands_are_the_same_for_all_numbers_in_them(value: float, band: tuple[float, float]) -> None:
    assert band_of(value) == band


HEAT = Item(
    id="1127",
    title="Heat, The: Se7en Nights (1995)",
    text="Heat, The: Se7en Nights. Comedy, Drama. A cop hunts a crew through long nights.",
    attributes={"price": 44.95, "release_year": 1995.0},
)


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("something like the HEAT, please", "the heat"),
        ("with heat", "heat"),
        ("as in Se7en nights", "se7en nights"),
        ("number 1127 please", "1127"),
        ("from 1995.", "1995"),
        ("about 44.95 would do", "44.95"),
        ("where a cop hunts a lot", "a cop hunts a"),
    ],
)
def test_what_gives_a_target_away_is_found(text: str, leak: str) -> None:
    assert leak in find_target_leaks(text, HEAT, NeedCard((COMEDY,)))


@pytest.mark.parametrize("text", ["a comedy of the 1990s, heated", "not above 50", "a cop hunts", "44"])
def test_what_several_items_share_gives_nothing_away(text: str) -> None:
    assert find_target_leaks(text, HEAT, NeedCard((COMEDY,))) == ()


def test_a_long_value_of_the_card_is_the_persons_to_say() -> None:
    item = Item(id="a", title="Flask", text="Flask. keeps tea hot all day")
    tea = Need("features", "is", "keeps tea hot all day", "tag", "keeps tea hot all day")
    assert find_target_leaks("one that keeps tea hot all day", item, NeedCard((tea,))) == ()
    assert find_target_leaks("one that keeps tea hot all day", item, NeedCard((COMEDY,))) != ()


def test_a_target_is_not_drawn_that_the_persons_words_could_name() -> None:
    """Its title is made of words that people say, such as "Friends come over tomorrow"."""
    titles = ["Friends", *(f"Film {number}" for number in range(20))]
    items = [
        Item(id=f"i{row}", title=title, attributes={"genre": ("Comedy", "Drama")}) for row, title in enumerate(titles)
    ]
    items += [Item(id=f"o{row}", title=f"Other {row}", attributes={"genre": ("War",)}) for row in range(200)]
    sequences = {"friend": ("o1", "o2", "i0"), "film": ("o1", "o2", "i5")}
    dataset = Dataset(
        name="films",
        catalogue=Catalogue(items, {"genre": "tags"}),
        users=tuple(sequences),
        sequences=sequences,
    )
    config = NeedConfig(refusals=0, bounds=0, max_share=0.1)
    assert [drawn.person for drawn in make_need_cards(dataset, config)] == ["film"]
    assert could_name(["Friends come over"], items[0])
    assert not could_name(["Films come over"], items[0])
