"""The retriever as a LangChain tool, for the agent here and for anybody else's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, field_validator

from deeprec.trm_tool.catalogue.filters import Where
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.text import neutralise, plain
from deeprec.trm_tool.trm.retriever import Retriever

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool

MAX_PREFERENCE_CHARS = 500
"""Longer preferences are cut: no retrieval needs more, and a model that runs on writes without end."""
SUMMARY_CHARS = 80


class RetrieveItemsInput(BaseModel):
    """Arguments of `retrieve_items`. What a model sends in another shape is read as text rather than refused."""

    preference: str = Field(
        default="",
        description="What the person may like now: a few short phrases joined by ';'. Empty for no preference.",
    )

    @field_validator("preference", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, list | tuple):
            return "; ".join(str(part) for part in value[:50])
        return "" if value is None else str(value)


def make_retrieve_items_tool(
    retriever: Retriever,
    *,
    history: Sequence[str],
    k: int = 10,
    trust: float | None = None,
    where: Where | None = None,
    diversity: float = 0.0,
) -> "StructuredTool":
    """Build the tool `retrieve_items(preference)` for one person.

    The tool answers with a short numbered list for the model, catalogue text neutralised; its artifact is a list of
    `{"item_id", "score"}`, best first. An empty preference asks by history alone; one above 500 characters is cut, and
    the answer says so; a malformed call is answered with a line that says what to send.

    Args:
        retriever: Where the items come from.
        history: Item ids of the person, oldest first; may be empty.
        k: Items of an answer.
        trust: How far the model's preferences are trusted beside the history, 0 to 1; None is the artifact's own.
        where: Constraints that hold in every answer, whatever the model asks for.
        diversity: How much an answer avoids items that are like those above them, 0 to 1.

    Raises:
        UnknownItemError: an id of `history` is not in the catalogue.
        ConfigError: `k` is below 1, `trust` or `diversity` is no weight, or `where` makes no sense or constrains an
            attribute that the catalogue lacks, so that it would not hold.
    """
    from langchain_core.tools import StructuredTool

    # A wrong setting is the caller's mistake, not the model's: say so now.
    unenforced = retriever.retrieve(history, k=k, trust=trust, where=where, diversity=diversity).unenforced
    past = tuple(history)
    if unenforced:
        known = ", ".join(retriever.catalogue.attribute_kinds) or "none"
        raise ConfigError(f"The catalogue cannot hold where.{unenforced[0]}: it has no such attribute, only {known}.")

    def retrieve_items(preference: str = "") -> tuple[str, list[dict[str, Any]]]:
        wish = plain(preference, MAX_PREFERENCE_CHARS)
        found = retriever.retrieve(past, wish or None, k=k, trust=trust, where=where, diversity=diversity)
        head = f"{len(found)} items" + (" for this preference" if wish else "; no preference given, by history alone")
        if len(preference) > 4 * MAX_PREFERENCE_CHARS or len(plain(preference, 4 * MAX_PREFERENCE_CHARS)) > len(wish):
            head += f" (only its first {MAX_PREFERENCE_CHARS} characters were read; write short phrases)"
        lines = [
            f"{number}. {neutralise(retriever.catalogue.summary(item.id, SUMMARY_CHARS), SUMMARY_CHARS)}"
            for number, item in enumerate(found, start=1)
        ]
        return "\n".join([f"{head}:" if lines else f"{head}; none is left.", *lines]), [
            {"item_id": item.id, "score": item.score} for item in found
        ]

    return StructuredTool.from_function(
        func=retrieve_items,
        name="retrieve_items",
        description=(
            f"Recommend {k} items of the catalogue to this person, best first. Say in `preference` what they may like "
            "now, in a few short phrases joined by ';'; call again with another preference to explore another side."
        ),
        args_schema=RetrieveItemsInput,
        response_format="content_and_artifact",
        handle_validation_error='This call could not be read. Send {"preference": "short phrases; joined by ;"}.',
    )
