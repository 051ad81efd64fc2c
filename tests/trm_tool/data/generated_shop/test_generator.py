import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from deeprec.evals import (
    evaluate_systems,
    make_cases,
    make_cooccurrence_scorer,
    make_popularity_scorer,
    make_system,
)
from deeprec.trm_tool import ConfigError, Dataset, read_atomic_files
from deeprec.trm_tool.data import ShopConfig, generate_shop
from tests.trm_tool.data.samples import inter_lines, item_lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops") / "shop"
    generate_shop(folder, ShopConfig(seed=3, products=600, people=400))
    return folder


@pytest.fixture(scope="module")
def shop(folder: Path) -> Dataset:
    return read_atomic_files(folder)


def test_the_same_seed_gives_the_same_shop_and_another_seed_another(tmp_path: Path) -> None:
    small = ShopConfig(products=100, people=10)
    files = []
    for name, config in (("a", small), ("b", small), ("c", ShopConfig(seed=1, products=100, people=10))):
        generate_shop(tmp_path / name, config)
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.i*")})
    assert files[0] == files[1]
    assert not set(files[0].values()) & set(files[2].values())


def test_the_catalogue_has_typed_attributes(shop: Dataset) -> None:
    assert shop.catalogue.attribute_kinds == {
        "brand": "category",
        "category": "category",
        "product_type": "category",
        "colour": "category",
        "features": "tags",
        "price": "number",
    }
    for item in shop.catalogue:
        assert set(item.attributes) == set(shop.catalogue.attribute_kinds)
        for name in ("brand", "product_type", "colour"):
            assert str(item.attributes[name]) in item.title
        assert float(item.attributes["price"]) > 0  # type: ignore[arg-type]
    assert len({item.title for item in shop.catalogue}) == 600
    assert len(shop.catalogue.phrases()) > 60


def test_prices_go_with_the_kind_of_product(shop: Dataset) -> None:
    prices: dict[object, list[float]] = {}
    for item in shop.catalogue:
        prices.setdefault(item.attributes["product_type"], []).append(float(item.attributes["price"]))  # type: ignore[arg-type]
    means = {kind: np.mean(values) for kind, values in prices.items()}
    assert means["desk"] > 4 * means["notebook"]


def test_people_have_8_to_40_interactions_in_order_of_time_without_repeats(shop: Dataset, folder: Path) -> None:
    assert len(shop.users) == 400
    assert all(8 <= len(sequence) <= 40 for sequence in shop.sequences.values())
    assert all(len(set(sequence)) == len(sequence) for sequence in shop.sequences.values())
    times: dict[str, list[int]] = {}
    for user, _, time in inter_lines(folder)[1:]:
        times.setdefault(user, []).append(int(time))
    assert all(earlier < later for stamps in times.values() for earlier, later in pairwise(stamps))


def test_tastes_can_be_learnt_by_co_occurrence_and_popularity_misses_them(shop: Dataset) -> None:
    systems = (
        make_system("popularity", make_popularity_scorer(shop, holdout=2)),
        make_system("co-occurrence", make_cooccurrence_scorer(shop, holdout=2)),
    )
    popularity, together = evaluate_systems(systems, make_cases(shop, positions=2), shop.catalogue)[:2]
    assert together.masked
    assert together.metrics["recall@10"].low > popularity.metrics["recall@10"].high
    assert together.metrics["recall@10"].mean > 2.5 * popularity.metrics["recall@10"].mean


def test_people_stay_with_categories_and_brands_but_drift(shop: Dataset) -> None:
    def shared(name: str, first: int, second: int) -> float:
        """How often two picks of a person agree on an attribute."""
        agree = [
            shop.catalogue.item(sequence[first]).attributes[name]
            == shop.catalogue.item(sequence[second]).attributes[name]
            for sequence in shop.sequences.values()
            if len(sequence) > 20
        ]
        return float(np.mean(agree))

    for name, chance in (("category", 1 / 12), ("brand", 1 / 20)):
        near = np.mean([shared(name, at, at + 1) for at in range(15)])
        assert near > 2.5 * chance
        assert near > np.mean([shared(name, at, at + 15) for at in range(5)])


def test_synthetic_stands_everywhere(folder: Path, shop: Dataset, tmp_path: Path) -> None:
    assert shop.name == "synthetic-shop"
    assert "SYNTHETIC" in (folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "deeprec-data.json").read_text())["synthetic"] is True
    assert all(line[-1].endswith("Synthetic product of a generated shop.") for line in item_lines(folder)[1:])
    report = generate_shop(tmp_path / "my-synthetic-data", ShopConfig(products=100, people=10))
    assert report.synthetic
    assert (tmp_path / "my-synthetic-data" / "my-synthetic-data.inter").is_file()  # as RecBole wants it


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ({"products": 99}, "--products is 99. Give a number from 100 to 100000"),
        ({"products": 10**9}, "--products is 1000000000"),
        ({"people": 0}, "--people is 0. Give a number from 10"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_a_size_that_cannot_work_is_refused(size: dict[str, int], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        ShopConfig(**size)


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes.txt"):
        generate_shop(tmp_path, ShopConfig(products=100, people=10))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
