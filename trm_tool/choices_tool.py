"""What people also chose as a LangChain tool, for agents that want to know what goes with an item."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from deeprec.trm_tool.catalogue.said_titles import NamedTitles
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import AnyRecommender, CatalogueView, CoChoices
from deeprec.trm_tool.text import neutralise
from deeprec.trm_tool.tool import REASON_CHARS, SUMMARY_CHARS
from deeprec.trm_tool.tool_values import FromRun, value_for_call

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool

MAX_ITEMS = 20
"""Items of one answer."""
MAX_ITEM_CHARS = 200
"""Characters of the name of an item that are read."""
UNREADABLE = (
    'This call could not be read. Send {"how": "together"}, "next" or "lately", with {"item": "TITLE"} or without.'
)
NOTHING = "Nothing is known here of what people chose."
_HEADS = {
    "together": "Chosen together with {what}:",
    "next": "Chosen next after {what}:",
    "lately": "Much chosen lately:",
}


class PeopleAlsoChoseInput(BaseModel):
    """Arguments of `people_also_chose`. A limit of another shape, or out of range, is read as the nearest one.

    The case of `how` does not matter, and an id may be written as a number.
    """

    how: Literal["together", "next", "lately"] = Field(
        default="together",
        description="together: with the same items; next: directly after them; lately: by many people of late.",
    )
    item: str | None = Field(
        default=None,
        description="The title or the id of an item of the catalogue. Leave it out for the person's own items.",
    )
    limit: int = Field(default=10, description=f"Items to list, 1 to {MAX_ITEMS}.")

    @field_validator("how", mode="before")
    @classmethod
    def _folded(cls, value: object) -> object:
        return value.strip().casefold() if isinstance(value, str) else value

    @field_validator("item", mode="before")
    @classmethod
    def _written(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("limit", mode="before")
    @classmethod
    def _in_range(cls, value: object) -> int:
        try:
            return min(MAX_ITEMS, max(1, int(str(value))))
        except ValueError:
            return 10


def answer_choices(recommender: AnyRecommender, history: Sequence[str], arguments: object) -> str:
    """Answer one call of `people_also_chose` whose arguments are as a model wrote them.

    Returns:
        A heading and a line an item, or one line that says why there are none; safe for a prompt.
    """
    try:
        asked = PeopleAlsoChoseInput.model_validate(arguments)
        return _answer(recommender, history, **asked.model_dump())[0]
    except ValidationError:
        return UNREADABLE
    except ConfigError as error:
        return neutralise(str(error), REASON_CHARS)


def _answer(
    recommender: AnyRecommender, history: Sequence[str], *, how: str, item: str | None, limit: int
) -> tuple[str, list[dict[str, str]]]:
    if not isinstance(recommender, CoChoices) or inspect.iscoroutinefunction(recommender.also_chosen):
        return NOTHING, []
    catalogue = recommender.catalogue
    start = _named(catalogue, item) if item else list(history)
    found = recommender.also_chosen(start, how, k=limit, exclude=history)  # type: ignore[arg-type]
    if not found:
        return NOTHING, []
    what = f"“{neutralise(catalogue.item(start[0]).title, SUMMARY_CHARS)}”" if item else "the person's items"
    lines = [f"- {neutralise(catalogue.summary(each, SUMMARY_CHARS), SUMMARY_CHARS)}" for each in found]
    listed = [{"item_id": each, "title": catalogue.item(each).title} for each in found]
    return "\n".join([_HEADS[how].format(what=what), *lines]), listed


def _named(catalogue: CatalogueView, item: str) -> list[str]:
    """The items of that id or title; a year or attributes in brackets behind the title are not read.

    A title may be written without its article, or with it in front ("The Rock" for "Rock, The").
    """
    item = item[:MAX_ITEM_CHARS].strip()
    if item in catalogue:
        return [item]
    titles = {item_id: catalogue.item(item_id).title for item_id in catalogue.ids}
    written = {item.casefold(), item.rpartition(" (")[0].casefold() or item.casefold()}
    found = [item_id for item_id, title in titles.items() if title.casefold() in written]
    if found:
        return found
    capital = item.title()  # a title of one word is found by its capital
    end, ids = NamedTitles(titles).at(capital, 0) or (0, ())
    rest = capital[end:].strip(" \"'”’.!?")
    if not ids or (rest and not rest.startswith("(")):
        raise ConfigError(f"No item of the catalogue is called {item!r}. Name one by its title, or leave it out.")
    several = sorted({titles[item_id] for item_id in ids})
    if len(several) > 1:
        raise ConfigError(
            f"{item!r} may be {' or '.join(map(repr, several[:3]))}. Name one of them by its whole title."
        )
    return list(ids)


def make_people_also_chose_tool(
    recommender: AnyRecommender, *, history: FromRun[Sequence[str]] = ()
) -> "StructuredTool":
    """Build the tool `people_also_chose`: what people chose together with items, next after them, or lately.

    The content of an answer is a heading and a line an item, made safe for a prompt; its artifact is a list of
    `{"item_id", "title"}`. A name that no item has is an answer with `status="error"`, so that the run goes on.

    Args:
        recommender: One that has `CoChoices`, such as a `Retriever` with signals; another one's tool says that it has
            no counts.
        history: Item ids of the person, oldest first, or a function of LangGraph's `ToolRuntime`, as for
            `make_retrieve_items_tool`.
    """
    from langchain_core.tools import InjectedToolArg, StructuredTool, ToolException

    def people_also_chose(
        how: Literal["together", "next", "lately"] = "together",
        item: str | None = None,
        limit: int = 10,
        runtime: Annotated[Any, InjectedToolArg] = None,
    ) -> tuple[str, list[dict[str, str]]]:
        own = value_for_call("history", history, runtime)
        try:
            return _answer(recommender, own, how=how, item=item, limit=limit)
        except ConfigError as error:
            raise ToolException(neutralise(str(error), REASON_CHARS)) from error

    return StructuredTool.from_function(
        func=people_also_chose,
        name="people_also_chose",
        description=(
            "List what people chose `together` with some items, `next` after them, or much `lately`. The items are "
            "those of the person, or the one that `item` names."
        ),
        args_schema=PeopleAlsoChoseInput,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=UNREADABLE,
    )
