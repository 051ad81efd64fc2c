"""Made catalogues: each written request has a target that fits it, in a data set that other programs read."""

import json
from pathlib import Path

import pytest

from deeprec.trm_tool import read_atomic_files
from deeprec.trm_tool.data import read_requests
from tools.listening.catalogue_file import WrittenCatalogue, read_catalogue_file
from tools.listening.made_catalogues import (
    REQUESTS,
    MadeCatalogue,
    fitting_items,
    read_made_catalogue,
    template_requests,
    write_made_catalogue,
)

CONTENT = {
    "name": "soups and stews",
    "item": "soup",
    "attributes": [
        {"name": "base", "kind": "category", "values": {"leek": ["from an allium"], "lentil": ["with pulses"]}},
        {
            "name": "trait",
            "kind": "tags",
            "per_item": [1, 2],
            "values": {"hot": ["that burns"], "very thick": ["for spoons that stand"], "cold": ["for July"]},
        },
    ],
    "numbers": [{"name": "price", "min": 3, "max": 20}, {"name": "year", "min": 1990, "max": 2019, "whole": True}],
    "titles": [["Big", "Old", "My", "Her", "The Last"], ["Bowl", "Pot", "Ladle", "Supper", "Lunch", "Pan"]],
    "requests": [
        {"message": "burns, under 4", "wanted": ["hot"], "unwanted": ["leek"], "where": {"price": {"max": 4}}},
        {"message": "from the nineties, spoon stands", "wanted": ["1990s", "very thick"]},
        {"message": "no nineties, for July, pulses", "wanted": ["cold", "lentil"], "unwanted": ["1990s"]},
    ],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalogues") / "soups.json"
    path.write_text(json.dumps(CONTENT), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(path: Path) -> MadeCatalogue:
    return read_made_catalogue(path)


@pytest.fixture(scope="module")
def written(path: Path) -> WrittenCatalogue:
    return read_catalogue_file(path)


def test_each_written_request_has_a_target_that_fits_it(made: MadeCatalogue, written: WrittenCatalogue) -> None:
    assert [request.message for request in made.requests] == [request.message for request in written.requests]
    for request, asked in zip(made.requests, written.requests, strict=True):
        (target,) = request.targets
        phrases = made.dataset.catalogue.phrases_of(target)
        assert set(asked.wanted) <= set(phrases)
        assert not set(asked.unwanted) & set(phrases)
        fitting = fitting_items(made.dataset.catalogue, asked)
        assert target in fitting
        assert 2 <= len(fitting) < len(made.dataset.catalogue)
        assert request.made
        assert request.said is not None
        assert request.said[0].wanted == tuple(asked.wanted)
        assert request.person is not None
        picked = made.dataset.sequences[request.person]
        assert request.history == picked[: len(request.history)]
        assert target not in picked  # a recommender trained on the data set has not read it
    price = made.dataset.catalogue.item(made.requests[0].targets[0]).attributes["price"]
    assert isinstance(price, float)
    assert price <= 4
    assert made.requests[0].said[0].where == {"price": {"max": 4}}  # type: ignore[index]


def test_the_catalogue_has_the_attributes_of_the_file(made: MadeCatalogue, written: WrittenCatalogue) -> None:
    catalogue = made.dataset.catalogue
    assert len(catalogue) == written.most_titles
    assert len({item.title for item in catalogue}) == len(catalogue)
    assert catalogue.attribute_kinds == {"base": "category", "trait": "tags", "price": "number", "year": "number"}
    assert {"leek", "lentil", "hot", "very thick", "cold", "1990s"} <= set(catalogue.phrases())


def test_people_pick_what_has_their_favourite_values(made: MadeCatalogue) -> None:
    catalogue = made.dataset.catalogue
    leek = [
        [catalogue.item(item_id).attributes["base"] == "leek" for item_id in picked]
        for picked in made.dataset.sequences.values()
    ]
    shares = [sum(each) / len(each) for each in leek]
    assert sum(share > 0.75 for share in shares) + sum(share < 0.25 for share in shares) > len(shares) / 4


def test_equal_seeds_make_equal_catalogues(made: MadeCatalogue, path: Path) -> None:
    again, other = read_made_catalogue(path), read_made_catalogue(path, seed=1)
    assert (again.requests, again.dataset.fingerprint) == (made.requests, made.dataset.fingerprint)
    assert other.dataset.fingerprint != made.dataset.fingerprint


def test_template_requests_use_the_words_of_the_file(made: MadeCatalogue) -> None:
    requests = list(template_requests(made))
    assert len(requests) > 300
    wordings = [wording for words in made.wordings.values() for wording in words]
    without_decade = [request for request in requests if "0s" not in str(request.said)]
    assert without_decade
    assert all(any(wording in request.message for wording in wordings) for request in without_decade)


def test_the_written_folder_holds_the_same_data_and_the_requests(
    made: MadeCatalogue, path: Path, tmp_path: Path
) -> None:
    write_made_catalogue(path, tmp_path / "soups")
    dataset = read_atomic_files(tmp_path / "soups")
    assert dataset.fingerprint == made.dataset.fingerprint
    assert tuple(dataset.catalogue) == tuple(made.dataset.catalogue)
    assert tuple(read_requests(tmp_path / "soups" / REQUESTS, catalogue=dataset.catalogue)) == made.requests
