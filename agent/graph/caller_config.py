"""What of a caller's RunnableConfig is kept with a run: ids to find it by, tags and metadata, bounded and masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict
from uuid import UUID

from langchain_core.runnables.config import ensure_config
from langgraph.runtime import get_runtime

from deeprec.trm_tool.text import hide_passwords, is_secret_name, plain

MAX_ENTRIES = 32
"""Tags, and entries of the metadata, that are kept."""
MAX_NAME_CHARS, MAX_VALUE_CHARS = 128, 512
_OWN = ("__", "langgraph_", "ls_", "lc_", "checkpoint_", "thread_id", "run_id", "x-")
"""Beginnings of the names that LangGraph, its server and LangSmith set themselves."""


class CallerConfig(TypedDict):
    """Fields of `RunRecord`."""

    thread_id: str | None
    caller_run_id: str | None
    tags: tuple[str, ...]
    caller_metadata: dict[str, str]


def caller_config() -> CallerConfig:
    """Read the config of the running node.

    Metadata are texts, numbers, flags and UUIDs, as text; other values are left out. `***` stands in the place of a
    value whose name says that it is a secret, and of a password in an address.
    """
    config, execution = ensure_config(), get_runtime().execution_info
    metadata = config["metadata"]
    thread_id, run_id = (metadata.get(name) for name in ("thread_id", "run_id"))
    if execution is not None:  # LangGraph's server gives its ids as metadata; in a subgraph nothing else has them
        thread_id, run_id = execution.thread_id or thread_id, execution.run_id or run_id
    return CallerConfig(
        thread_id=_id(thread_id),
        caller_run_id=_id(run_id),
        tags=tuple(dict.fromkeys(plain(tag, MAX_NAME_CHARS) for tag in config["tags"]))[:MAX_ENTRIES],
        caller_metadata=dict(list(_entries(metadata))[:MAX_ENTRIES]),
    )


def _entries(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in metadata.items():
        if not name.startswith(_OWN) and isinstance(value, str | int | float | UUID):
            shown = "***" if is_secret_name(name) else hide_passwords(str(value))
            yield plain(name, MAX_NAME_CHARS), plain(shown, MAX_VALUE_CHARS)


def _id(value: object) -> str | None:
    return None if value is None else plain(str(value), MAX_VALUE_CHARS)
