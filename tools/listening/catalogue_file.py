"""The file of a made catalogue, `catalogues/NAME.json`: the values of its attributes, other words for each of them, and
requests that were written one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deeprec.trm_tool import DataError
from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.catalogue.catalogue import decade_of
from deeprec.trm_tool.errors import unlabelled

DECADE = re.compile(r"(\d{3})0s")
"""A phrase of a decade, such as `1990s`: what a catalogue calls a number of ten years."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^\S([^\t\r\n]*\S)?$")]
_Phrase = Annotated[str, Field(min_length=2, max_length=40, pattern=r"^[a-z0-9][^A-Z\t\r\n;|\"]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class WrittenAttribute(_Strict):
    """An attribute with words for values: an item has one value of a category, and several tags."""

    name: str
    kind: Literal["category", "tags"]
    per_item: tuple[int, int] = Field(default=(1, 1), strict=False)
    """The fewest and the most tags of an item."""
    values: dict[_Phrase, Annotated[list[_Text], Field(min_length=1)]]
    """Value as the catalogue's phrases name it -> other words for it that fit behind "something"."""

    @model_validator(mode="after")
    def _check(self) -> WrittenAttribute:
        _check_name(self.name)
        least, most = self.per_item
        if not 1 <= least <= most <= len(self.values):
            raise ValueError(f"per_item is {least} to {most}; give two numbers from 1 to {len(self.values)}")
        if self.kind == "category" and most > 1:
            raise ValueError(f"per_item is {least} to {most}, and an item has one value of a category; leave it out")
        return self


class WrittenNumber(_Strict):
    """A number attribute, and the range that items are drawn from."""

    name: str
    min: float = Field(ge=0)
    max: float
    whole: bool = False

    @model_validator(mode="after")
    def _check(self) -> WrittenNumber:
        _check_name(self.name)
        if self.min >= self.max:
            raise ValueError(f"min is {self.min:g}, which is not under max, {self.max:g}")
        return self

    @property
    def is_year(self) -> bool:
        """Whether the catalogue makes phrases of decades from it."""
        return "year" in self.name and self.whole and self.min >= 1800


class WrittenBound(_Strict):
    """A bound of a request; items at the bound pass."""

    min: float | None = None
    max: float | None = None


class WrittenRequest(_Strict):
    """A message, and what it expresses in the catalogue's phrases and numbers."""

    message: _Text
    wanted: list[str] = Field(min_length=1)
    unwanted: list[str] = []
    where: dict[str, WrittenBound] = {}


class WrittenCatalogue(_Strict):
    """A made catalogue as its file has it, checked so that each request can be answered by some item."""

    name: _Text
    item: _Text
    """What its items are called, such as "podcast"."""
    attributes: list[WrittenAttribute] = Field(min_length=1)
    numbers: list[WrittenNumber] = []
    titles: list[Annotated[list[_Text], Field(min_length=1)]] = Field(min_length=1)
    """Parts that a title has one of each of."""
    requests: list[WrittenRequest] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> WrittenCatalogue:
        names = [*(each.name for each in self.attributes), *(each.name for each in self.numbers)]
        _check_distinct("attributes and numbers", "the name", [*names, "title"])
        values = [value for each in self.attributes for value in each.values]
        _check_distinct("attributes", "the value", values)
        _check_distinct("requests", "the message", [each.message for each in self.requests])
        for at, request in enumerate(self.requests):
            for why in self._faults(request):
                raise ValueError(f"requests.{at}.{why}; its message is {request.message[:60]!r}")
        return self

    @property
    def slug(self) -> str:
        """Its name in ids and names of files."""
        return re.sub(r"\W+", "_", self.name.lower())

    @property
    def most_titles(self) -> int:
        """The number of different titles."""
        return math.prod(map(len, self.titles))

    def interval(self, request: WrittenRequest, number: WrittenNumber) -> tuple[float, float]:
        """The range of a number that a request leaves, both ends included; empty where the first end is larger."""
        bound = request.where.get(number.name, WrittenBound())
        low = number.min if bound.min is None else max(number.min, bound.min)
        high = number.max if bound.max is None else min(number.max, bound.max)
        if number.is_year:
            for phrase in request.wanted:
                if decade := DECADE.fullmatch(phrase):
                    low, high = max(low, float(f"{decade[1]}0")), min(high, float(f"{decade[1]}9"))
        return low, high

    def _faults(self, request: WrittenRequest) -> Iterator[str]:
        decades = any(number.is_year for number in self.numbers)
        known = {value: each for each in self.attributes for value in each.values}
        for field in ("wanted", "unwanted"):
            phrases: list[str] = getattr(request, field)
            for phrase in phrases:
                if phrase not in known and not (decades and DECADE.fullmatch(phrase)):
                    yield f"{field} names {phrase!r}, which no attribute has as a value"
                elif phrases.count(phrase) > 1:
                    yield f"{field} names {phrase!r} twice"
                elif field == "unwanted" and phrase in request.wanted:
                    yield f"unwanted names {phrase!r}, which is wanted too"
        for each in self.attributes:
            asked = [phrase for phrase in request.wanted if phrase in each.values]
            if len(asked) > each.per_item[1]:
                yield f"wanted names {', '.join(asked)}, and an item has {each.per_item[1]} of {each.name} at most"
            if len(each.values) - sum(phrase in each.values for phrase in request.unwanted) < each.per_item[0]:
                yield f"unwanted leaves too few values of {each.name}"
        numbers = {number.name: number for number in self.numbers}
        for name, bound in request.where.items():
            if name not in numbers:
                yield f"where.{name} bounds what is not a number of the catalogue"
            elif bound.min is None and bound.max is None:
                yield f"where.{name} has neither min nor max"
        for number in self.numbers:
            low, high = self.interval(request, number)
            years = range(int(low), int(high) + 1) if number.is_year else ()
            refused = bool(years) and all(decade_of(year) in request.unwanted for year in years)
            if low > high or refused or (number.whole and not math.ceil(low) <= math.floor(high)):
                yield f"where and the decades leave no value of {number.name}"


def read_catalogue_file(path: Path) -> WrittenCatalogue:
    """Read the file of a made catalogue.

    Raises:
        DataError: the file cannot be read, or a field cannot be used; the message names the file and the field.
    """
    try:
        return WrittenCatalogue.model_validate(read_json(path))
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        why = unlabelled(fault["msg"])
        seen = "" if fault["type"] in ("value_error", "missing") else f"; found {fault['input']!r}"[:120]
        raise DataError(f"{path.name}: {field + ': ' if field else ''}{why}{seen}. Correct it.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Name the file of a made catalogue.") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}. Correct that place.") from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name {name!r} does not consist of small letters, digits and underscores")


def _check_distinct(field: str, what: str, each: list[str]) -> None:
    repeated = next((one for one in each if each.count(one) > 1), None)
    if repeated is not None:
        raise ValueError(f"{field} have {what} {repeated[:60]!r} twice")
