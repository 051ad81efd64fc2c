"""Settings of made requests: their names, defaults and ranges, for programs and the command line alike."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from deeprec.trm_tool.data.made_requests.words import WordSet
from deeprec.trm_tool.errors import ConfigError, unlabelled

_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRequestConfig:
    """What requests are made of each person, and in which words.

    Raises:
        ConfigError: a value is out of its range.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(use_attribute_docstrings=True)

    words: WordSet = "training"
    """`training` or `test`: two sets of words that do not meet, so that a model is tested on words that it has not
    learnt from."""
    split: Literal["train", "valid", "test"] = "train"
    """Which item of each person is the target: `test` is the last one, `valid` the one before, `train` the one before
    that."""
    per_person: Annotated[int, Field(ge=1)] = 1
    """Requests of each person; the second one is about the item before that of the first one, and so on."""
    negations: _Share = 0.2
    """Share of requests that also say what is not wanted."""
    bounds: _Share = 0.2
    """Share of requests that also bound a number such as a price or a year, where the target has one."""
    second_wishes: _Share = 0.1
    """Share of requests with a second wish, for the item before the target, which is then a target too. With the
    splits `valid` and `test` there are none: the item before the target belongs to another split."""
    min_fitting: Annotated[int, Field(ge=2)] = 5
    """Items that every wish fits, at least, so that no message gives its target away."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Equal seeds make equal requests of equal data."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            if name in self.__slots__:
                try:
                    TypeAdapter(hint).validate_python(getattr(self, name))
                except ValidationError as error:
                    reason = unlabelled(error.errors()[0]["msg"]).lower()
                    raise ConfigError(f"{name} is {getattr(self, name)!r}; {reason}.") from None
