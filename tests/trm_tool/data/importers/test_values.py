"""Prices and numbers as shops of several countries write them."""

import pytest

from deeprec.trm_tool.data.importers.values import decimal_mark, parse_amount, parse_price


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("1.299,00 €", 1299),
        ("€ 12,50", 12.5),
        ("1 299,00 kr", 1299),
        ("CHF 1'299.–", 1299),
        ("12,-", 12),
        ("₹ 1,23,456.00", 123456),
        ("US$1,299.50", 1299.5),
        ("12.99 USD", 12.99),
        ("$5.99 - $12.00", 5.99),
        ("Free To Play", 0),
        (".5", 0.5),
        ("1,299", 1299),
        ("1.299", 1.299),
        ("12 apples", None),
        ("1.2.3", None),
        ("-3", None),
        ("€", None),
    ],
)
def test_prices_of_all_forms(text: str, price: float | None) -> None:
    assert parse_price(text) == price


def test_the_column_shows_the_decimal_mark_where_a_text_does_not() -> None:
    assert decimal_mark(["1.299", "12,50 €"]) == ","
    assert decimal_mark(["1,299", "12.50"]) == "."
    assert decimal_mark(["1,299", "12"]) is None
    assert parse_price("1.299", ",") == parse_amount("1.299", ",") == 1299
    assert parse_amount("-1,5") == -1.5
