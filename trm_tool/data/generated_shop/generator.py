"""A generated shop: made-up products, and simulated people whose tastes are consistent and drift slowly."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deeprec.trm_tool.data.columns import ColumnType
from deeprec.trm_tool.data.folder import data_folder
from deeprec.trm_tool.data.generated_shop.people import Trip, simulate
from deeprec.trm_tool.data.generated_shop.words import BRANDS, COLOURS, DEPARTMENTS, LINES, QUALITIES
from deeprec.trm_tool.data.importers.items import ItemSpool
from deeprec.trm_tool.errors import ConfigError

SYNTHETIC = "synthetic"
"""Word in the name of the data, in its mark and in every description."""
_DISCLAIMER = "Synthetic product of a generated shop."


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopConfig:
    """Size and seed of a shop."""

    seed: int = 0
    products: int = 2000
    people: int = 1000

    def __post_init__(self) -> None:
        for name, least, most in (("products", 100, 100_000), ("people", 10, 100_000)):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"--{name} is {getattr(self, name)}. Give a number from {least} to {most}.")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is {self.seed}. Give a whole number from 0 to {2**32 - 1}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One made-up product."""

    id: str
    title: str
    brand: int
    """Index in `BRANDS`."""
    department: int
    kind: int
    """Index in the department's types."""
    colour: int
    features: tuple[str, ...]
    price: float
    relative_price: float
    """Log of the price over the usual price of such products."""
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopReport:
    """Counts of a generated shop."""

    out: str
    synthetic: bool
    seed: int
    products: int
    people: int
    interactions: int
    categories: int
    brands: int
    examples: tuple[str, ...]
    """A few products as text."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def generate_shop(out: Path, config: ShopConfig | None = None) -> ShopReport:
    """Write a synthetic shop as atomic files, the same for the same seed and size.

    Products have `brand`, `category`, `product_type` and `colour` (categories), `features` (tags), `price` (number) and
    a description. The files are named like the folder if its name holds "synthetic", and `synthetic-shop` otherwise.

    Args:
        out: Folder to write; one that `deeprec data` wrote before is replaced.
        config: Size and seed.

    Raises:
        ConfigError: a size that cannot work, or the folder holds something else.
    """
    config, out = config or ShopConfig(), Path(out)
    mark: dict[str, object] = {}
    with data_folder(out, mark) as staging:
        folder = out.resolve().name
        name = folder if SYNTHETIC in folder.lower() else f"{SYNTHETIC}-shop"
        rng = np.random.default_rng(config.seed)
        products = make_products(rng, config.products)
        trips = simulate(rng, products, config.people)
        _write_items(staging, name, products)
        _write_interactions(staging / f"{name}.inter", products, trips)
        report = ShopReport(
            out=str(out),
            synthetic=True,
            seed=config.seed,
            products=len(products),
            people=config.people,
            interactions=sum(map(len, trips)),
            categories=len({product.department for product in products}),
            brands=len({product.brand for product in products}),
            examples=tuple(f"{product.id} {product.title}, {product.price:.2f}" for product in products[:3]),
        )
        (staging / "README.md").write_text(_readme(name, report), encoding="utf-8")
        mark |= {"synthetic": True, "report": report.to_dict()}
    return report


def make_products(rng: Generator, count: int) -> list[Product]:
    """Make products, spread over all departments; titles are distinct as long as the words suffice."""
    at_home = [rng.choice(len(BRANDS), size=10, replace=False) for _ in DEPARTMENTS]  # brands of each department
    tiers = rng.normal(0, 0.3, len(BRANDS))  # cheap and expensive brands
    titles: set[str] = set()
    products: list[Product] = []
    for number in range(count):
        department = int(rng.integers(len(DEPARTMENTS)))
        for _ in range(20):
            product = _make_product(rng, f"P{number + 1:05d}", department, at_home[department], tiers)
            if product.title not in titles:
                break
        titles.add(product.title)
        products.append(product)
    return products


def _make_product(
    rng: Generator, item_id: str, at: int, brands: NDArray[np.int64], tiers: NDArray[np.float64]
) -> Product:
    department = DEPARTMENTS[at]
    kind = int(rng.integers(len(department.types)))
    made = department.types[kind]
    brand = int(brands[min(int(rng.geometric(0.25)) - 1, len(brands) - 1)])
    colour, material = int(rng.integers(len(COLOURS))), str(rng.choice(made.materials))
    features = rng.choice(made.features, size=int(rng.integers(1, len(made.features))), replace=False)
    line, quality = str(rng.choice(LINES)), str(rng.choice(QUALITIES))
    price = max(round(made.price * float(np.exp(tiers[brand] + rng.normal(0, 0.25)))), 2) - 0.05
    return Product(
        id=item_id,
        title=f"{BRANDS[brand]} {line} {material} {made.name}, {COLOURS[colour]}",
        brand=brand,
        department=at,
        kind=kind,
        colour=colour,
        features=tuple(map(str, features)),
        price=round(price, 2),
        relative_price=float(np.log(price / made.price)),
        description=(
            f"{made.name[0].upper()}{made.name[1:]} in {COLOURS[colour]}, {material}: "
            f"{quality}, {', '.join(features)}. For {rng.choice(department.uses)}. {_DISCLAIMER}"
        ),
    )


def _write_items(folder: Path, name: str, products: Sequence[Product]) -> None:
    columns: tuple[tuple[str, ColumnType], ...] = (
        ("title", "token_seq"),
        ("brand", "token"),
        ("category", "token"),
        ("product_type", "token"),
        ("colour", "token"),
        ("features", "token_seq"),
        ("price", "float"),
        ("description", "token_seq"),
    )
    spool = ItemSpool(folder / "items.spool", columns)
    for line, product in enumerate(products, start=1):
        department = DEPARTMENTS[product.department]
        values = (
            product.title,
            BRANDS[product.brand],
            department.name,
            department.types[product.kind].name,
            COLOURS[product.colour],
            product.features,
            product.price,
            product.description,
        )
        spool.add((line, product.id, values))
    spool.write(folder / f"{name}.item", keep=None)
    spool.remove()


def _write_interactions(path: Path, products: Sequence[Product], trips: Sequence[Trip]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for person, trip in enumerate(trips, start=1):
            file.writelines(f"U{person:05d}\t{products[row].id}\t{time}\n" for row, time in trip)


def _readme(name: str, report: ShopReport) -> str:
    return f"""# {name}: a SYNTHETIC shop

Generated by `deeprec data generate-shop --seed {report.seed} --products {report.products} --people {report.people}`.
No product, brand or person in it exists, and any likeness is chance.

- {report.products} made-up products of {report.brands} made-up brands in {report.categories} categories.
- {report.interactions} interactions of {report.people} simulated people. Each prefers a few categories, brands, colours
  and a level of price; tastes drift slowly, and what is picked next often goes with what was picked last.

It is for trying out constraints, conversations and demonstrations. Figures measured on it show how well a recommender
learns this generator, and are no measure of its quality for people.

Train on it: `deeprec trm train --data FOLDER --out ARTIFACT`, with this folder.
"""
