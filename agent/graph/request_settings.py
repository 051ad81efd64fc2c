"""What a request sets beside its words: in its input, in LangGraph's `context`, or in `configurable`.

A setting is taken from the first of the three that names it. Constraints are joined attribute by attribute, excluded
items are added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, get_type_hints

from langgraph.config import get_config
from langgraph.runtime import get_runtime
from typing_extensions import TypedDict

from deeprec.agent.graph.config import REQUEST_SETTINGS, AgentConfig, check_setting_names
from deeprec.trm_tool import ConfigError

SETTINGS = (*REQUEST_SETTINGS, "model")
"""What `settings` of a request may hold: those of `AgentConfig`, and `model`: another model of the same server."""
OWN_KEY = "deeprec"
"""The key of a context or of `configurable` that is the agent's own, whatever else its surroundings keep there."""
_PARTS = ("history", "where", "exclude", "lineage", "item_filter")
_NAMES = (*_PARTS, *SETTINGS)
_FIELDS = {name: hint for name, hint in get_type_hints(AgentConfig, include_extras=True).items() if name in SETTINGS}

_CONTEXT = {**dict.fromkeys((*_PARTS, "model", OWN_KEY), Any), **_FIELDS}
AgentContext: Any = TypedDict("AgentContext", _CONTEXT, total=False)  # type: ignore[misc]
"""The context of the graph, as LangGraph's clients show it."""


def is_nested() -> bool:
    """Whether the graph that runs now is called by a node or a tool of another one and shares its context."""
    try:
        return bool(get_config().get("configurable", {}).get("checkpoint_ns"))
    except RuntimeError:  # outside of any run
        return False


def request_sources() -> list[Mapping[str, Any]]:
    """What `configurable` and `context` hold for this run, the stronger one last; each has the keys of an input.

    In a graph that is part of another one, everything but the value of `OWN_KEY` belongs to the other.

    Raises:
        ConfigError: a name is unknown. In `configurable`, which everybody shares, it resembles a known one.
    """
    try:
        configurable = get_config().get("configurable", {})
    except RuntimeError:
        return []
    is_part = "|" in str(configurable.get("checkpoint_ns", ""))
    context = get_runtime().context
    return [
        _source("configurable", configurable, is_part=is_part),
        _source("context", context, is_part=is_part),
    ]


def context_filters() -> list[Any]:
    """The item filters of the running graph's context and of `configurable`.

    Raises:
        ConfigError: one of them cannot be called.
    """
    filters = [given for source in request_sources() if (given := source.get("item_filter")) is not None]
    for given in filters:
        if not callable(given):
            raise ConfigError(
                f"item_filter is the {type(given).__name__} {str(given)[:80]!r}. Pass a function that takes item ids "
                "and returns those that may be recommended."
            )
    return filters


def merge_sources(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the parts of a request from all sources, of which a later one is stronger."""
    merged: dict[str, Any] = {}
    for source in sources:
        for name, value in source.items():
            old = merged.get(name)
            if value is None:
                continue
            if name in ("where", "lineage", "settings") and isinstance(old, Mapping) and isinstance(value, Mapping):
                merged[name] = {**old, **value}
            elif name == "exclude" and isinstance(old, list) and isinstance(value, list):
                merged[name] = [*old, *value]
            else:
                merged[name] = value
    return merged


def _source(name: str, source: object, *, is_part: bool) -> dict[str, Any]:
    is_mapping = isinstance(source, Mapping)
    named = source.get(OWN_KEY) if isinstance(source, Mapping) else getattr(source, OWN_KEY, None)
    if named is not None:
        if not isinstance(named, Mapping):
            raise ConfigError(
                f"{name}[{OWN_KEY!r}] is the {type(named).__name__} {str(named)[:80]!r}. Map names to values, such as "
                "{'k': 5}."
            )
        check_setting_names(named, _NAMES)
        return _split(named)
    if is_part or not isinstance(source, Mapping) or not is_mapping:
        return {}
    if name == "context":
        check_setting_names(source, _NAMES)
    for key in source:
        if key not in _NAMES and isinstance(key, str) and (close := _resembled(key)) is not None:
            raise ConfigError(f"configurable has {key!r}, which the agent does not know. Did you mean {close!r}?")
    return _split({key: value for key, value in source.items() if key in _NAMES})


@lru_cache(maxsize=256)  # each call of a graph has the same keys
def _resembled(key: str) -> str | None:
    """The name that a key of `configurable` resembles."""
    return next(iter(get_close_matches(key, _NAMES, n=1, cutoff=0.85)), None)


def _split(named: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in named.items() if name in SETTINGS}
    return {**{name: value for name, value in named.items() if name in _PARTS}, "settings": settings}
