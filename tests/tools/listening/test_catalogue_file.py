"""The files of made catalogues are read strictly: an error names the file and the field."""

import json
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from deeprec.trm_tool import DataError, read_atomic_files
from deeprec.trm_tool.data import TRAINING_WORDS, ShopConfig, generate_shop
from tools.listening.catalogue_file import read_catalogue_file

LISTENING = Path(__file__).parents[3] / "tools" / "listening"
FILES = sorted(LISTENING.glob("*/*.json"))
CONTENT: dict[str, Any] = {
    "name": "soups",
    "item": "soup",
    "attributes": [
        {"name": "base", "kind": "category", "values": {"leek": ["from an allium"], "lentil": ["with pulses"]}},
        {
            "name": "trait",
            "kind": "tags",
            "per_item": [1, 2],
            "values": {"hot": ["that burns"], "thick": ["for spoons that stand"], "cold": ["for July"]},
        },
    ],
    "numbers": [{"name": "price", "min": 3, "max": 20}, {"name": "year", "min": 1990, "max": 2019, "whole": True}],
    "titles": [["Big", "Old"], ["Bowl", "Pot"]],
    "requests": [
        {"message": "burns, under 10", "wanted": ["hot"], "unwanted": ["leek"], "where": {"price": {"max": 10}}},
        {"message": "from the nineties", "wanted": ["1990s", "thick"]},
    ],
}


def written(folder: Path, content: object) -> Path:
    path = folder / "soups.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_file_is_read_with_the_interval_that_each_request_leaves(tmp_path: Path) -> None:
    catalogue = read_catalogue_file(written(tmp_path, CONTENT))
    price, year = catalogue.numbers
    assert catalogue.most_titles == 4
    assert [catalogue.interval(request, price) for request in catalogue.requests] == [(3, 10), (3, 20)]
    assert [catalogue.interval(request, year) for request in catalogue.requests] == [(1990, 2019), (1990, 1999)]


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (("item",), None, "item: Input should be a valid string"),
        (("colour",), "red", "colour: Extra inputs are not permitted"),
        (("attributes", 1, "per_item"), [1, 4], "attributes.1: per_item is 1 to 4; give two numbers from 1 to 3"),
        (("attributes", 0, "per_item"), [1, 2], "attributes.0: per_item is 1 to 2, and an item has one value"),
        (("attributes", 1, "values", "leek"), ["green"], "attributes have the value 'leek' twice"),
        (("attributes", 1, "values", "hot"), [], "attributes.1.values.hot: List should have at least 1 item"),
        (("attributes", 1, "name"), "base", "attributes and numbers have the name 'base' twice"),
        (("numbers", 0, "max"), 2, "numbers.0: min is 3, which is not under max, 2"),
        (("requests", 0, "wanted"), ["spicy"], "requests.0.wanted names 'spicy', which no attribute has as a value"),
        (("requests", 0, "wanted"), [], "requests.0.wanted: List should have at least 1 item"),
        (("requests", 0, "unwanted"), ["hot"], "requests.0.unwanted names 'hot', which is wanted too"),
        (("requests", 0, "unwanted"), ["leek", "lentil"], "requests.0.unwanted leaves too few values of base"),
        (("requests", 1, "wanted"), ["leek", "lentil"], "requests.1.wanted names leek, lentil, and an item has 1"),
        (("requests", 1, "message"), "burns, under 10", "requests have the message 'burns, under 10' twice"),
        (("requests", 1, "unwanted"), ["1990s"], "requests.1.unwanted names '1990s', which is wanted too"),
        (("requests", 1, "where"), {"size": {"max": 3}}, "requests.1.where.size bounds what is not a number"),
        (("requests", 1, "where"), {"year": {}}, "requests.1.where.year has neither min nor max"),
        (("requests", 1, "where"), {"year": {"over": 3}}, "requests.1.where.year.over: Extra inputs"),
        (("requests", 1, "where"), {"year": {"min": 2000}}, "requests.1.where and the decades leave no value of year"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(tmp_path: Path, at: tuple[Any, ...], value: object, said: str) -> None:
    content = deepcopy(CONTENT)
    inside = content
    for step in at[:-1]:
        inside = inside[step]
    inside[at[-1]] = value
    with pytest.raises(DataError) as raised:
        read_catalogue_file(written(tmp_path, content))
    assert str(raised.value).startswith(f"soups.json: {said}")
    assert "\n" not in str(raised.value)


def test_what_is_no_file_of_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json cannot be read: No such file"):
        read_catalogue_file(tmp_path / "none.json")
    (tmp_path / "soups.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"soups\.json is not JSON"):
        read_catalogue_file(tmp_path / "soups.json")


@pytest.fixture(scope="module")
def shop_phrases(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    generate_shop(folder, ShopConfig(products=1000, people=10))
    return set(read_atomic_files(folder).catalogue.phrases(1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_catalogue_is_its_own(path: Path, shop_phrases: set[str]) -> None:
    catalogue = read_catalogue_file(path)
    values = {value for each in catalogue.attributes for value in each.values}
    taken = {*TRAINING_WORDS.values} | shop_phrases  # the genres of ml-100k are among the first
    assert values & taken == set()
    titles = [" ".join(parts).lower() for parts in product(*catalogue.titles)]
    assert not [title for title in titles for request in catalogue.requests if title in request.message.lower()]


def test_the_held_out_catalogues_share_no_value_and_no_message_with_those_of_the_training() -> None:
    read = {path: read_catalogue_file(path) for path in FILES}
    texts: dict[str, set[str]] = {"catalogues": set(), "held_out": set()}
    for path, catalogue in read.items():
        texts[path.parent.name] |= {request.message for request in catalogue.requests}
        texts[path.parent.name] |= {value for each in catalogue.attributes for value in each.values}
    assert texts["catalogues"] & texts["held_out"] == set()
