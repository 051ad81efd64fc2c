"""The catalogue card as a LangChain tool, for agents that want to know what they can ask for."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from deeprec.trm_tool.catalogue.card import MAX_CARD_CHARS, CatalogueCard, describe_catalogue
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import AnyRecommender, CatalogueView
from deeprec.trm_tool.text import neutralise
from deeprec.trm_tool.tool import REASON_CHARS

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool

MAX_VALUES = 50
"""Values of an attribute in one answer."""
MAX_ANSWER_CHARS = 2 * MAX_CARD_CHARS
"""Characters of the lines of one answer, some 500 tokens."""
UNREADABLE = 'This call could not be read. Send {"attribute": "…", "contains": "…"} or {}.'


class DescribeCatalogueInput(BaseModel):
    """Arguments of `describe_catalogue`. A limit of another shape, or out of range, is read as the nearest one."""

    attribute: str | None = Field(default=None, description="One attribute, by its name. Leave it out for all.")
    contains: str | None = Field(default=None, description="Only values that contain this text.")
    limit: int = Field(default=20, description=f"Values of each attribute, 1 to {MAX_VALUES}.")

    @field_validator("limit", mode="before")
    @classmethod
    def _in_range(cls, value: object) -> int:
        try:
            return min(MAX_VALUES, max(1, int(str(value))))
        except ValueError:
            return 20


def answer_description(card: CatalogueCard, arguments: object) -> str:
    """Answer one call of `describe_catalogue` whose arguments are as a model wrote them.

    Returns:
        The lines of the card that were asked for, `MAX_ANSWER_CHARS` at most, or one line that says why there are none;
        safe for a prompt.
    """
    try:
        asked = DescribeCatalogueInput.model_validate(arguments)
        return _answer(card, **asked.model_dump())[0]
    except ValidationError:
        return UNREADABLE
    except ConfigError as error:
        return neutralise(str(error), REASON_CHARS)


def _answer(
    card: CatalogueCard, *, attribute: str | None, contains: str | None, limit: int
) -> tuple[str, CatalogueCard]:
    part = card.select(attribute=attribute or None, contains=contains or None, limit=limit)
    nothing = "No value contains this text." if contains else "The items have no attributes."
    return "\n".join([f"{part.items} items.", *(part.lines(MAX_ANSWER_CHARS) or [nothing])]), part


def make_describe_catalogue_tool(recommender: AnyRecommender) -> "StructuredTool":
    """Build the tool `describe_catalogue`: what the items can be asked for by, or more of one attribute.

    The content of an answer is the card's lines, made safe for a prompt; its artifact is the `CatalogueCard` as plain
    data. An attribute that the catalogue lacks is an answer with `status="error"`, so that the run goes on. The card
    is made once and made again when the recommender has another catalogue.

    Args:
        recommender: Its catalogue is described as it is at the time of the call.
    """
    from langchain_core.tools import StructuredTool, ToolException

    made: list[tuple[CatalogueView, CatalogueCard]] = []

    def describe(
        attribute: str | None = None, contains: str | None = None, limit: int = 20
    ) -> tuple[str, dict[str, Any]]:
        catalogue = recommender.catalogue
        if not made or made[0][0] is not catalogue:
            made[:] = [(catalogue, describe_catalogue(catalogue))]
        try:
            text, part = _answer(made[0][1], attribute=attribute, contains=contains, limit=limit)
        except ConfigError as error:
            raise ToolException(neutralise(str(error), REASON_CHARS)) from error
        return text, asdict(part)

    return StructuredTool.from_function(
        func=describe,
        name="describe_catalogue",
        description=(
            "Describe what the items of the catalogue can be asked for by: attributes, ranges, and the values that "
            "most items have, with their counts. Name an `attribute`, or a text that values have to contain, for "
            "more values."
        ),
        args_schema=DescribeCatalogueInput,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=UNREADABLE,
    )
