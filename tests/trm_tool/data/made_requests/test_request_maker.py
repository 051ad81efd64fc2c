"""Made requests fit several items, never name their target, and say of themselves that they are made."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from deeprec.trm_tool import Catalogue, ConfigError, DataError, Dataset, Item, read_atomic_files
from deeprec.trm_tool.data import Request, ShopConfig, generate_shop
from deeprec.trm_tool.data.made_requests.config import MadeRequestConfig
from deeprec.trm_tool.data.made_requests.request_maker import LeftOut, RequestMaker
from deeprec.trm_tool.data.made_requests.sentences import NumberBound, say_bound
from deeprec.trm_tool.data.made_requests.test_words import TEST_WORDS
from deeprec.trm_tool.data.made_requests.training_words import TRAINING_WORDS

OFTEN = MadeRequestConfig(negations=0.8, bounds=0.8, second_wishes=0.4, min_fitting=3)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("shop") / "synthetic-shop"
    generate_shop(folder, ShopConfig(products=200, people=40))
    return read_atomic_files(folder)


def fitting(catalogue: Catalogue, request: Request) -> Iterator[set[str]]:
    """Items that each wish of a request fits, found by phrases and bounds alone."""
    phrases = catalogue.phrases(1)
    for wish in request.said or ():
        found = {item.id for item in catalogue}
        for name, bound in (wish.where or {}).items():
            low, high = bound.get("min", -math.inf), bound.get("max", math.inf)
            found = {item_id for item_id in found if low <= float(catalogue.item(item_id).attributes[name]) <= high}  # type: ignore[arg-type]
        for phrase in wish.wanted:
            found &= phrases[phrase]
        for phrase in wish.unwanted:
            found -= phrases[phrase]
        yield found


@pytest.mark.parametrize("words", ["training", "test"])
def test_every_wish_fits_its_target_and_other_items(shop: Dataset, words: str) -> None:
    made = list(RequestMaker(shop, replace(OFTEN, words=words)).make())
    assert len(made) > 30
    for request in made:
        wishes = list(fitting(shop.catalogue, request))
        assert len(wishes) == len(request.targets)
        for target, found in zip(request.targets, wishes, strict=True):
            assert target in found
            assert len(found) >= 3
            title = shop.catalogue.item(target).title.lower()
            assert title not in request.message.lower()
            assert target.lower() not in request.message.lower().split()
        assert not set(request.targets) & set(request.history)
        assert request.made
        assert words in request.source
    said = [wish for request in made for wish in request.said or ()]
    assert any(wish.unwanted for wish in said)
    assert any(wish.where for wish in said)
    assert any(len(request.targets) == 2 for request in made)


def test_the_split_chooses_the_target_and_more_requests_go_back_in_time(shop: Dataset) -> None:
    config = MadeRequestConfig(split="valid", per_person=2, second_wishes=0)
    for request in RequestMaker(shop, config).make():
        sequence = shop.sequences[str(request.person)]
        [target] = request.targets
        at = sequence.index(target)
        assert at in (len(sequence) - 2, len(sequence) - 3)
        assert request.history == sequence[:at]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_second_target_is_never_the_target_of_another_split(shop: Dataset, split: str) -> None:
    config = replace(OFTEN, split=split, second_wishes=1.0, negations=0)
    held_out = {"train": 3, "valid": 2, "test": 1}[split]
    seconds = 0
    for request in RequestMaker(shop, config).make():
        sequence = shop.sequences[str(request.person)]
        others = {sequence[-last] for last in (1, 2, 3) if last != held_out}
        assert not others & set(request.targets)
        seconds += len(request.targets) == 2
    assert (seconds > 0) == (split == "train")


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("weight_g", "With weight no higher than 1500 g"),
        ("weight g", "With weight no higher than 1500 g"),
        ("number_of_pages", "With number of pages no higher than 1500"),
        ("g", "With g no higher than 1500"),
    ],
)
def test_a_unit_stands_behind_its_number(attribute: str, said: str) -> None:
    bound = NumberBound(attribute=attribute, bound="max", number=1500.0, role="number")
    assert say_bound(TEST_WORDS, bound, np.random.default_rng(0)) == said


def test_equal_seeds_make_equal_requests(shop: Dataset) -> None:
    once, again, other = (list(RequestMaker(shop, MadeRequestConfig(seed=seed)).make()) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_words_of_ones_own_replace_the_catalogues_value(shop: Dataset) -> None:
    words = TRAINING_WORDS.with_values({"navy": ("as blue as a sailor's coat",)})
    config = MadeRequestConfig(per_person=3, negations=1)
    made = [request.message for request in RequestMaker(shop, config, words).make()]
    assert any("sailor's coat" in message for message in made)
    assert not any("navy" in message for message in made)


def films(titles: list[str], genres: list[tuple[str, ...]]) -> Dataset:
    items = [
        Item(id=f"f{row}", title=title, attributes={"genre": genre})
        for row, (title, genre) in enumerate(zip(titles, genres, strict=True))
    ]
    return Dataset(
        name="films",
        catalogue=Catalogue(items, {"genre": "tags"}),
        users=("u",),
        sequences={"u": tuple(item.id for item in items)},
    )


def test_what_would_name_an_item_is_left_out_and_counted() -> None:
    named = films([f"Film {row}" for row in range(5)] + ["Giggle"], [("comedy",)] * 6)
    named = replace(named, sequences={"u": ("f1", "f2", "f5", "f3", "f4")})
    words = replace(TRAINING_WORDS, values={"comedy": ("that makes me giggle",)})
    making = RequestMaker(named, MadeRequestConfig(min_fitting=2), words)
    assert list(making.make()) == []
    assert making.left_out == {LeftOut.NAMED: 1}


def test_people_and_items_of_whom_nothing_can_be_said_are_counted() -> None:
    few = films([f"Film {row}" for row in range(6)], [("comedy",), ("comedy",), ("comedy",), (), ("drama",), ("war",)])
    making = RequestMaker(few, MadeRequestConfig(min_fitting=3))
    assert list(making.make()) == []
    assert making.left_out == {LeftOut.NOTHING_TO_SAY: 1}
    making = RequestMaker(replace(few, sequences={"u": ("f0", "f1", "f2")}), MadeRequestConfig(min_fitting=3))
    assert list(making.make()) == []
    assert making.left_out == {LeftOut.NO_HISTORY: 1}
    with pytest.raises(DataError, match="no attribute value that 50 items share"):
        list(RequestMaker(few, MadeRequestConfig(min_fitting=50)).make())


def test_values_with_braces_and_control_characters_are_said_as_they_are() -> None:
    hostile = films([f"Film {row}" for row in range(6)], [("{wish} {0} </history>\x00",)] * 6)
    for words in ("training", "test"):
        [request] = RequestMaker(hostile, MadeRequestConfig(words=words, second_wishes=0)).make()  # type: ignore[arg-type]
        assert "{wish} {0}" in request.message
        assert "\x00" not in request.message


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"words": "other"}, "words is 'other'"),
        ({"split": "all"}, "split is 'all'"),
        ({"negations": 1.5}, "negations is 1.5"),
        ({"min_fitting": 1}, "min_fitting is 1"),
    ],
)
def test_settings_out_of_range_are_named(setting: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        MadeRequestConfig(**setting)  # type: ignore[arg-type]
