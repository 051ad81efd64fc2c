"""A recommender as a LangChain tool, for agents of other frameworks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, field_validator

from deeprec.trm_tool.catalogue.filters import Where, check_where
from deeprec.trm_tool.errors import ConfigError, UnknownItemError
from deeprec.trm_tool.recommender import (
    AnyRecommender,
    AsyncRecommender,
    Query,
    Recommender,
    Retrieved,
    is_async,
    retrieve_batch,
)
from deeprec.trm_tool.score_ranking import check_k
from deeprec.trm_tool.text import neutralise, plain

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool

MAX_PREFERENCE_CHARS = 500
"""Longer preferences are cut: no retrieval needs more, and a degenerate model writes without end."""
SUMMARY_CHARS = 80


class RetrieveItemsInput(BaseModel):
    """Arguments of `retrieve_items`. A value of another shape is read as text rather than refused."""

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
    retriever: AnyRecommender,
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
    the answer says so; a malformed call is answered with a line that shows the right form.

    Args:
        retriever: The recommender that is asked; the tool of an asynchronous one has `ainvoke` only.
        history: Item ids of the person, oldest first; may be empty.
        k: Items of an answer.
        trust: How far the model's preferences are trusted beside the history, 0 to 1; None is the recommender's own.
        where: Constraints that hold in every answer, whatever the model asks for.
        diversity: How much an answer avoids items that are like those above them, 0 to 1; 0 for a recommender that
            does not offer it.

    Raises:
        UnknownItemError: an id of `history` is not in the catalogue.
        ConfigError: `k` is below 1, `trust` or `diversity` is not from 0 to 1, or `where` makes no sense or constrains
            an attribute that the recommender cannot enforce.
    """
    from langchain_core.tools import StructuredTool

    check_k(k)
    past = Query(history=history, trust=trust, where=where, diversity=diversity)
    # A wrong setting is the caller's mistake, not the model's, so it is raised before the model sees the tool.
    if is_async(retriever):
        _check_query(retriever, past)
    else:
        _retrieve(retriever, past, k)

    def retrieve_items(preference: str = "") -> tuple[str, list[dict[str, Any]]]:
        assert not is_async(retriever)
        read = plain(preference, MAX_PREFERENCE_CHARS)
        return _answer(retriever, preference, read, _retrieve(retriever, replace(past, preference=read or None), k))

    async def aretrieve_items(preference: str = "") -> tuple[str, list[dict[str, Any]]]:
        assert is_async(retriever)
        read = plain(preference, MAX_PREFERENCE_CHARS)
        found = await retriever.retrieve(tuple(past.history), read or None, k=k, trust=trust, where=where)
        return _answer(retriever, preference, read, _enforced(retriever, found))

    return StructuredTool.from_function(
        func=None if is_async(retriever) else retrieve_items,
        coroutine=aretrieve_items if is_async(retriever) else None,
        name="retrieve_items",
        description=(
            f"Recommend {k} items of the catalogue to this person, best first. Say in `preference` what they may like "
            "now, in a few short phrases joined by ';'; call again with another preference to explore another side."
        ),
        args_schema=RetrieveItemsInput,
        response_format="content_and_artifact",
        handle_validation_error='This call could not be read. Send {"preference": "short phrases; joined by ;"}.',
    )


def _retrieve(recommender: Recommender, query: Query, k: int) -> Retrieved:
    return _enforced(recommender, retrieve_batch(recommender, [query], k=k)[0])


def _enforced(recommender: AnyRecommender, found: Retrieved) -> Retrieved:
    if found.unenforced:
        known = ", ".join(recommender.catalogue.attribute_kinds) or "none"
        raise ConfigError(
            f"where.{found.unenforced[0]} cannot be enforced; the attributes of the catalogue are: {known}. Constrain "
            "one that the recommender can enforce, or leave it out."
        )
    return found


def _check_query(recommender: AsyncRecommender, query: Query) -> None:
    """Raise for mistakes that can be found without a retrieval."""
    catalogue = recommender.catalogue
    if isinstance(query.history, str):
        raise ConfigError(f"history is the text {query.history[:80]!r}. Give a list of item ids.")
    unknown = [item_id for item_id in query.history if item_id not in catalogue]
    if unknown:
        raise UnknownItemError(f"Not in the catalogue: {unknown[0]!r}. Give ids of its {len(catalogue)} items.")
    if query.diversity:
        raise ConfigError(f"{type(recommender).__name__} does not offer `diversity`. Leave it out.")
    check_where(query.where or {})
    _enforced(recommender, Retrieved(unenforced=tuple(set(query.where or ()) - set(catalogue.attribute_kinds))))


def _answer(
    recommender: AnyRecommender, preference: str, read: str, found: Retrieved
) -> tuple[str, list[dict[str, Any]]]:
    head = f"{len(found)} items" + (" for this preference" if read else "; no preference given, by history alone")
    if len(preference) > 4 * MAX_PREFERENCE_CHARS or len(plain(preference, 4 * MAX_PREFERENCE_CHARS)) > len(read):
        head += f" (only its first {MAX_PREFERENCE_CHARS} characters were read; write short phrases)"
    lines = [
        f"{number}. {neutralise(recommender.catalogue.summary(item.id, SUMMARY_CHARS), SUMMARY_CHARS)}"
        for number, item in enumerate(found, start=1)
    ]
    return "\n".join([f"{head}:" if lines else f"{head}; none is left.", *lines]), [
        {"item_id": item.id, "score": item.score} for item in found
    ]
