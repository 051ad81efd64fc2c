"""Dates in the forms that people and programs write."""

from datetime import UTC, datetime

import pytest

from deeprec.trm_tool.data.dates import find_order, is_day, iso_day, parse_date, seconds_of

NINE = datetime(2010, 12, 1, 9, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2010-12-01 09:03",
        "2010-12-01T09:03:00Z",
        "2010-12-01 09:03:00.000 UTC",
        "2010-12-01 11:03:00+02:00",
        "2010/12/01 9:03",
        "01.12.2010 09:03",
        "1-Dec-2010 9:03",
        "December 1, 2010 9:03 AM",
        "Wed, 01 Dec 2010 09:03:00 GMT",
        "Wed Dec 01 11:03:00 +0200 2010",
    ],
)
def test_a_moment_in_any_form_is_the_same(text: str) -> None:
    assert parse_date(text) == NINE
    assert seconds_of(NINE) == 1_291_194_180


def test_a_slashed_date_needs_an_order_unless_it_shows_it() -> None:
    assert parse_date("12/1/2010 9:03") is None
    assert parse_date("12/1/2010 9:03", "month-first") == NINE
    assert parse_date("1/12/10 9:03", "day-first") == NINE
    assert parse_date("12/31/2010") == datetime(2010, 12, 31, tzinfo=UTC)
    assert parse_date("12/31/2010", "day-first") is None


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["1/2/2020", "3/13/2020"], "month-first"),
        (["1/2/2020", "13/3/2020"], "day-first"),
        (["1/2/2020", "3/4/2020"], "unknown"),
        (["1/1/2020", "2020-01-02", "01.02.2020"], "any"),
    ],
)
def test_the_order_is_found_over_the_whole_column(texts: list[str], order: str) -> None:
    assert find_order(texts) == order


@pytest.mark.parametrize("text", ["", "soon", "2020-13-01", "31/31/2020", "1.5", "May 2020", "20200101", "99" * 40])
def test_other_text_is_not_a_day(text: str) -> None:
    assert not is_day(text)


def test_a_month_and_a_year_stay_as_they_are() -> None:
    assert [iso_day(text) for text in ("1995", "1995-08", "1995-08-19T10:00:00", "1995-13", "19.8.1995")] == [
        "1995",
        "1995-08",
        "1995-08-19",
        None,
        "1995-08-19",
    ]
