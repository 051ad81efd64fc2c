"""Simulated people of the generated shop, and their picks in order of time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deeprec.trm_tool.data.generated_shop.words import COLOURS, DEPARTMENTS, FEATURES

if TYPE_CHECKING:
    from deeprec.trm_tool.data.generated_shop.generator import Product

Trip = list[tuple[int, int]]
"""Picks of one person: row of the product and seconds since 1970, rising."""

MIN_PICKS, MAX_PICKS = 8, 40
_START = 1_704_067_200  # 2024-01-01
_DAY = 86_400
_EXPLORING = 0.05
"""Share of the picks that follow popularity alone."""
_DRIFT_OF_INTEREST, _DRIFT_OF_PRICE, _NEW_BRAND = 0.15, 0.05, 0.03
"""Standard deviations of the random walks, and the chance that a favourite brand is replaced, for each pick."""
_BRAND, _COLOUR, _FEATURE, _GOES_WITH, _PRICE_WIDTH = 2.5, 1.0, 0.5, 1.0, 0.2
"""Weights in the attraction of a product, on a log scale; the last is the width of the band of prices."""


class _Shelf:
    """The products as columns, for scoring all of them at once."""

    def __init__(self, products: Sequence["Product"]) -> None:
        self.department = np.array([product.department for product in products])
        self.kind = np.array([product.kind for product in products])
        self.brand = np.array([product.brand for product in products])
        self.colour = np.array([product.colour for product in products])
        self.price = np.array([product.relative_price for product in products])
        self.features = np.array([[name in product.features for name in FEATURES] for product in products], float)


def simulate(rng: Generator, products: Sequence["Product"], people: int) -> list[Trip]:
    """Simulate people who pick products, each at most once.

    Args:
        rng: Source of all random numbers.
        products: The catalogue, in the order of its rows.
        people: Number of people.

    Returns:
        One trip for each person, of `MIN_PICKS` to `MAX_PICKS` products.
    """
    shelf = _Shelf(products)
    popularity = rng.normal(0, 0.7, len(products))  # log scale
    return [_trip(rng, shelf, popularity) for _ in range(people)]


def _trip(rng: Generator, shelf: _Shelf, popularity: NDArray[np.float64]) -> Trip:
    interest = np.full(len(DEPARTMENTS), -4.0)  # log scale
    favourites = rng.choice(len(DEPARTMENTS), size=int(rng.integers(2, 4)), replace=False)
    interest[favourites] = rng.normal(0, 0.5, len(favourites))
    brands = [int(rng.choice(shelf.brand[shelf.department == at])) for at in np.repeat(favourites, 2)]
    colours = rng.choice(len(COLOURS), size=2, replace=False)
    features = rng.normal(0, 1, len(FEATURES))
    price = float(rng.normal(0, 0.35))
    taste = _COLOUR * np.isin(shelf.colour, colours) + _FEATURE * (shelf.features @ features) + popularity

    picked = np.zeros(len(popularity), bool)
    trip: Trip = []
    time, pace = _START + int(rng.integers(540 * _DAY)), float(rng.uniform(1, 12)) * _DAY
    for _ in range(int(np.clip(MIN_PICKS + rng.exponential(13), MIN_PICKS, MAX_PICKS))):
        score = popularity.copy()
        if rng.random() >= _EXPLORING:
            score = taste + interest[shelf.department] + _BRAND * np.isin(shelf.brand, brands)
            score -= (shelf.price - price) ** 2 / (2 * _PRICE_WIDTH**2)
            if trip:
                score += _GOES_WITH * _goes_with(shelf, trip[-1][0])
        score[picked] = -np.inf
        row = int(np.argmax(score + rng.gumbel(size=len(score))))  # a draw in proportion to exp(score)
        picked[row] = True
        trip.append((row, time))
        time += 60 + int(rng.exponential(600) if rng.random() < 0.35 else rng.exponential(pace))
        interest[favourites] += rng.normal(0, _DRIFT_OF_INTEREST, len(favourites))
        price += float(rng.normal(0, _DRIFT_OF_PRICE))
        if rng.random() < _NEW_BRAND:
            at = int(rng.integers(len(brands)))
            brands[at] = int(rng.choice(shelf.brand[shelf.department == favourites[at // 2]]))
    return trip


def _goes_with(shelf: _Shelf, row: int) -> NDArray[np.bool_]:
    """Whether a product is of the kind that often follows the one in `row`."""
    follows = (shelf.kind[row] + 1) % len(DEPARTMENTS[shelf.department[row]].types)
    together: NDArray[np.bool_] = (shelf.department == shelf.department[row]) & (shelf.kind == follows)
    return together
