"""A recommender as a LangChain tool, for agents of other frameworks."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict  # typing's own is refused by pydantic before Python 3.12

from deeprec.trm_tool.catalogue.filters import Where, check_where
from deeprec.trm_tool.errors import (
    ConfigError,
    RecommenderRefusedError,
    RecommenderUnavailableError,
    UnknownItemError,
)
from deeprec.trm_tool.recommender import (
    AnyRecommender,
    AsyncRecommender,
    Query,
    Retrieved,
    call_arguments,
    is_async,
    retrieve_batch,
)
from deeprec.trm_tool.score_ranking import check_k
from deeprec.trm_tool.text import neutralise, plain, readable_words
from deeprec.trm_tool.tool_values import FromRun, value_for_call

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool, ToolException

MAX_PREFERENCE_CHARS = 500
"""Longer preferences are cut: no retrieval needs more, and a degenerate model writes without end."""
MAX_WORDS_CHARS = 2_000
"""Characters of a person's words that a retrieval gets."""
SUMMARY_CHARS = 80
ID_CHARS = 200
REASON_CHARS = 300


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


class RetrieveItemsItem(TypedDict):
    """An item that `retrieve_items` found."""

    item_id: str
    title: str
    score: float
    """Comparable within one answer only."""


class RetrieveItemsResult(TypedDict):
    """The artifact of an answer of `retrieve_items`, as plain data."""

    preference: str
    """As the recommender read it; empty for none."""
    items: list[RetrieveItemsItem]
    """Best first."""
    unenforced: list[str]
    """Attributes that `where` constrains and that the recommender could not enforce."""
    unknown_values: list[dict[str, Any]]
    """Values of `where` that no item has, each with `attribute`, `value` and similar values in `close`."""


def make_retrieve_items_tool(
    retriever: AnyRecommender,
    *,
    history: FromRun[Sequence[str]],
    k: int = 10,
    trust: float | None = None,
    where: FromRun[Where | None] = None,
    diversity: float = 0.0,
    words: FromRun[str | None] = None,
    words_trust: float | None = None,
) -> "StructuredTool":
    """Build the tool `retrieve_items(preference)`.

    The tool answers with a short numbered list of titles and item ids for the model, catalogue text neutralised; its
    artifact is a `RetrieveItemsResult`. An empty preference asks by history and words alone; one above 500 characters
    is cut, and the answer says so; a malformed call is answered with a line that shows the right form. An unavailable
    recommender and an unknown item id of a history that a function returned are answers with `status="error"`.

    Args:
        retriever: The recommender that is asked; the tool of an asynchronous one has `ainvoke` only.
        history: Item ids of the person, oldest first; may be empty. The same in every call, or a function of
            LangGraph's `ToolRuntime`, which `ToolNode` injects, so that one tool serves every person.
        k: Items of an answer.
        trust: How far the model's preferences are trusted beside the history, 0 to 1; None is the recommender's own.
        where: Constraints that hold in every answer, whatever the model asks for; or a function, as for `history`.
            Those of a function that cannot be enforced are named in the answer.
        diversity: How much an answer avoids items that are like those above them, 0 to 1; 0 for a recommender that
            does not offer it.
        words: What the person wrote, which the recommender gets in every call beside the model's preference; or a
            function, as for `history`. The first 2,000 characters are read. A recommender whose `retrieve` names no
            `words` gets them in front of the preference.
        words_trust: How far the words are trusted beside the history, 0 to 1; None is the recommender's own.

    Raises:
        UnknownItemError: an id of `history` is not in the catalogue.
        ConfigError: `k` is below 1, `trust`, `words_trust` or `diversity` is not from 0 to 1, `words` is not text, or
            `where` makes no sense or constrains an attribute that the recommender cannot enforce; in a call, a function
            needs the `ToolRuntime`, and the tool was not called through `ToolNode`.
    """
    from langchain_core.tools import InjectedToolArg, StructuredTool

    check_k(k)
    # A wrong setting is the caller's mistake, not the model's, so it is raised before the model sees the tool.
    fixed = Query(
        history=() if callable(history) else history,
        trust=trust,
        where=None if callable(where) else where,
        words=None if callable(words) else _cut_words(words),
        words_trust=words_trust,
        diversity=diversity,
    )
    if is_async(retriever):
        _check_query(retriever, fixed)
    else:
        _check_enforced(retriever, retrieve_batch(retriever, [fixed], k=k)[0])

    def query(preference: str, runtime: object) -> Query:
        return Query(
            history=value_for_call("history", history, runtime),
            preference=plain(preference, MAX_PREFERENCE_CHARS) or None,
            trust=trust,
            where=value_for_call("where", where, runtime),
            words=_cut_words(value_for_call("words", words, runtime)),
            words_trust=words_trust,
            diversity=diversity,
        )

    def answer(preference: str, asked: Query, found: Retrieved) -> tuple[str, RetrieveItemsResult]:
        if not callable(where):
            _check_enforced(retriever, found)
        return _answer(retriever, preference, asked, found)

    def retrieve_items(
        preference: str = "", runtime: Annotated[Any, InjectedToolArg] = None
    ) -> tuple[str, RetrieveItemsResult]:
        assert not is_async(retriever)
        asked = query(preference, runtime)
        try:
            return answer(preference, asked, retrieve_batch(retriever, [asked], k=k)[0])
        except (UnknownItemError, RecommenderUnavailableError, RecommenderRefusedError) as error:
            raise _answerable(error) from error

    async def aretrieve_items(
        preference: str = "", runtime: Annotated[Any, InjectedToolArg] = None
    ) -> tuple[str, RetrieveItemsResult]:
        assert is_async(retriever)
        asked = query(preference, runtime)
        try:
            positional, named = call_arguments(retriever, replace(asked, history=tuple(asked.history)))
            found = await retriever.retrieve(*positional, k=k, **named)
            return answer(preference, asked, found)
        except (UnknownItemError, RecommenderUnavailableError, RecommenderRefusedError) as error:
            raise _answerable(error) from error

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
        handle_tool_error=True,
        handle_validation_error='This call could not be read. Send {"preference": "short phrases; joined by ;"}.',
    )


def _cut_words(words: str | None) -> str | None:
    """What the person wrote, within bounds; None where it has no words. `Query` refuses what is not text."""
    return (readable_words(words, MAX_WORDS_CHARS) or None) if isinstance(words, str) else words


def _check_enforced(recommender: AnyRecommender, found: Retrieved) -> None:
    if found.unenforced:
        known = ", ".join(recommender.catalogue.attribute_kinds) or "none"
        raise ConfigError(
            f"where.{found.unenforced[0]} cannot be enforced; the attributes of the catalogue are: {known}. Constrain "
            "one that the recommender can enforce, or leave it out."
        )


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
    _check_enforced(recommender, Retrieved(unenforced=tuple(set(query.where or ()) - set(catalogue.attribute_kinds))))


def _answer(
    recommender: AnyRecommender, preference: str, asked: Query, found: Retrieved
) -> tuple[str, RetrieveItemsResult]:
    catalogue, read = recommender.catalogue, asked.preference or ""
    by = "by history and words alone" if asked.words else "by history alone"
    head = f"{len(found)} items" + (" for this preference" if read else f"; no preference given, {by}")
    if len(preference) > 4 * MAX_PREFERENCE_CHARS or len(plain(preference, 4 * MAX_PREFERENCE_CHARS)) > len(read):
        head += f" (only its first {MAX_PREFERENCE_CHARS} characters were read; write short phrases)"
    lines = [
        item_line(number, catalogue.summary(item.id, SUMMARY_CHARS), item.id)
        for number, item in enumerate(found, start=1)
    ]
    text = [f"{head}:" if lines else f"{head}; none is left.", *lines]
    if found.unenforced:
        text.append(unenforced_line(found.unenforced))
    return "\n".join(text), RetrieveItemsResult(
        preference=read,
        items=[
            RetrieveItemsItem(item_id=item.id, title=catalogue.item(item.id).title, score=item.score) for item in found
        ],
        unenforced=list(found.unenforced),
        unknown_values=[{**asdict(value), "close": list(value.close)} for value in found.unknown_values],
    )


def item_line(number: int, title: str, item_id: str) -> str:
    """A line of an answer, safe for a prompt. The id stands last, so that no title can pass for it."""
    return f"{number}. {neutralise(title, SUMMARY_CHARS)} (id: {neutralise(item_id, ID_CHARS)})"


def unenforced_line(names: Sequence[str]) -> str:
    """A line on constraints that were not enforced, safe for a prompt."""
    return f"Not enforced: {', '.join(neutralise(name, SUMMARY_CHARS) for name in names)}. The catalogue lacks this."


def _answerable(error: Exception) -> "ToolException":
    """The error as the model reads it, so that its run goes on."""
    from langchain_core.tools import ToolException

    reason = neutralise(str(error), REASON_CHARS)
    if isinstance(error, UnknownItemError):
        return ToolException(f"{reason} The history does not come from you, so that another call will not help.")
    return ToolException(f"No items at the moment: {reason}")
