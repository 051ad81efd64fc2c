"""LangChain's retriever events for calls of the recommender: callbacks and tracers show each as a retriever's span."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.runnables.config import ensure_config, get_async_callback_manager_for_config

from deeprec.trm_tool import AnyRecommender, Retrieved
from deeprec.trm_tool.text import plain

MAX_PAGE_CHARS = 200
"""Characters of an item's summary, which is the content of its document."""


@asynccontextmanager
async def retriever_events(
    recommender: AnyRecommender, query: str | None, settings: Mapping[str, Any]
) -> AsyncIterator[Callable[[Retrieved], None]]:
    """Begin the events of one call; an error inside is sent and raised again.

    Without a callback in the config of the running node nothing is sent.

    Args:
        recommender: What is called.
        query: The preference; None for the history alone.
        settings: Further arguments, which become the metadata of the span.

    Yields:
        A function for what the recommender returned. It is sent as documents when the block ends.
    """
    found = Retrieved()

    def returned(items: Retrieved) -> None:
        nonlocal found
        found = items

    manager = get_async_callback_manager_for_config(ensure_config())
    if not manager.handlers:
        yield returned
        return
    name = type(recommender).__name__
    manager.add_metadata({"ls_retriever_name": name, **settings}, inherit=False)
    run: AsyncCallbackManagerForRetrieverRun = await manager.on_retriever_start(
        {"lc": 1, "type": "not_implemented", "id": ["deeprec", name], "name": name}, query or "", name=name
    )
    try:
        yield returned
    except BaseException as error:
        await run.on_retriever_error(error)
        raise
    await run.on_retriever_end(_documents(recommender, found))


def _documents(recommender: AnyRecommender, found: Retrieved) -> list[Document]:
    catalogue = recommender.catalogue
    documents = []
    for item in found:
        known = item.id in catalogue
        text = plain(catalogue.summary(item.id, MAX_PAGE_CHARS), MAX_PAGE_CHARS) if known else item.id
        documents.append(Document(text, id=item.id, metadata={"item_id": item.id, "score": item.score}))
    return documents
