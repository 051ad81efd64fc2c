"""The request of a run as a caller gave it, checked and read into plain data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import Any, cast, get_args
from uuid import UUID

import numpy as np

from deeprec.agent.graph.config import check_setting_names
from deeprec.agent.graph.messages import MAX_EARLIER, MAX_EARLIER_CHARS, check_messages
from deeprec.agent.graph.request_settings import SETTINGS, is_nested
from deeprec.agent.graph.state import AgentInput, AgentState, Lineage
from deeprec.agent.graph.turn_seeds import SeedRule
from deeprec.trm_tool import ConfigError, neutralise
from deeprec.trm_tool.catalogue.filters import check_where
from deeprec.trm_tool.text import plain

MAX_SHOWN_CHARS = 80


def take_input(request: object) -> object:
    """Return what a graph was called with, its settings gathered in `settings`.

    LangGraph drops the keys that a graph does not know, so that a misspelt part would be missing without a word. In a
    graph that is part of another one unknown keys pass, since it gets the whole state of the other, unless they
    resemble a part that is missing.

    Raises:
        ConfigError: a key is unknown, or `messages` holds something else than messages.
    """
    if not isinstance(request, Mapping):
        return request
    if request.get("messages") is not None:
        check_messages(request["messages"])
    is_part = is_nested()
    missing = [name for name in (*AgentInput.__annotations__, *SETTINGS) if name not in request]
    for key in request:
        if key in AgentState.__annotations__ or (key in SETTINGS and not is_part):
            continue
        close = get_close_matches(str(key).casefold(), missing, n=1, cutoff=0.8 if is_part else 0.6)
        if close and is_part and close[0] in SETTINGS:
            continue
        if close or not is_part:
            meant = f"Did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"A request has no {_shown(key)}. {meant}{_PARTS}")
    beside = {} if is_part else {name: request[name] for name in SETTINGS if name in request}
    if not beside:
        return request
    settings = request.get("settings")
    return {**request, "settings": {**(settings if isinstance(settings, Mapping) else {}), **beside}}


def read_history(history: object) -> list[str]:
    """Item ids as texts, oldest first; integers and UUIDs are written out.

    Raises:
        ConfigError: the history is missing, or something else than a list of ids.
    """
    if history is None:
        raise ConfigError(
            f"The request has no history. Pass `history`, [] for a person of whom none is known. {_PARTS}"
        )
    if isinstance(history, str | bytes) or not isinstance(history, Sequence):
        raise ConfigError(
            f"`history` must be a list of item ids, oldest first; got the {type(history).__name__} {_shown(history)}."
        )
    return [_id(f"history[{position}]", item_id) for position, item_id in enumerate(history)]


def read_exclude(exclude: object) -> list[str]:
    """Ids of items that must not come back, each once.

    Raises:
        ConfigError: it is something else than a collection of ids.
    """
    if exclude is None:
        return []
    if isinstance(exclude, str | bytes | Mapping) or not isinstance(exclude, Collection):
        raise ConfigError(f"`exclude` must be a list of item ids; got the {type(exclude).__name__} {_shown(exclude)}.")
    return list(dict.fromkeys(_id(f"exclude[{position}]", item_id) for position, item_id in enumerate(exclude)))


def read_settings(settings: object) -> dict[str, Any]:
    """The settings that a request names; their values are checked where `AgentConfig` takes them.

    Raises:
        ConfigError: a name is unknown, or the model's name is not a text.
    """
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise ConfigError(
            f"`settings` must map names to values, such as {{'k': 5}}; got the {type(settings).__name__} "
            f"{_shown(settings)}."
        )
    check_setting_names(settings, SETTINGS)
    if "model" in settings and not (isinstance(settings["model"], str) and settings["model"].strip()):
        raise ConfigError(f"settings['model'] is {_shown(settings['model'])}. Pass the name of a model of the server.")
    return dict(settings)


def read_message(message: object) -> str | None:
    """The person's message as a plain text.

    Raises:
        ConfigError: it is something else, such as content blocks.
    """
    if message is None or isinstance(message, str):
        return None if message is None else str(message)
    raise ConfigError(
        f"`message` must be a text or None; got the {type(message).__name__} {_shown(message)}. Pass the text alone: "
        "of a LangChain message `message.text`, of content blocks the text of the block."
    )


def read_earlier(earlier: object) -> list[str]:
    """What was said before the message, as neutralised lines, the latest `MAX_EARLIER` of them.

    Raises:
        ConfigError: it is something else than a list of texts.
    """
    if earlier is None:
        return []
    if isinstance(earlier, str | bytes) or not isinstance(earlier, Sequence):
        raise ConfigError(f"`earlier` must be a list of texts; got the {type(earlier).__name__} {_shown(earlier)}.")
    lines = [_text(f"earlier[{position}]", line) for position, line in enumerate(earlier)]
    return [neutralise(line, MAX_EARLIER_CHARS) for line in lines[-MAX_EARLIER:]]


def read_where(where: object) -> dict[str, dict[str, Any]] | None:
    """The constraints as plain data, which every checkpointer and the trace can keep.

    Raises:
        ConfigError: a condition makes no sense, or holds a number or text of another library.
    """
    if where is None:
        return None
    if isinstance(where, Mapping):
        _refuse_numpy(where)
    check_where(where)
    conditions = cast(Mapping[str, Mapping[str, Any]], where)
    return {
        str(name): {str(key): _plain_value(value) for key, value in condition.items()}
        for name, condition in conditions.items()
    }


def read_lineage(lineage: object) -> Lineage:
    """What the caller knows of the run beside the request; values that are None are left out.

    Raises:
        ConfigError: a key is unknown, or a value has a wrong type.
    """
    if lineage is None:
        return Lineage()
    if not isinstance(lineage, Mapping):
        raise ConfigError(
            f"`lineage` must map names to values, such as {{'user_id': 'ann'}}; got the {type(lineage).__name__} "
            f"{_shown(lineage)}."
        )
    read = {}
    for name, value in lineage.items():
        if name not in _LINEAGE:
            close = get_close_matches(str(name), _LINEAGE, n=1)
            meant = f"Did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"lineage has no {_shown(name)}. {meant}It may have {', '.join(_LINEAGE)}.")
        if value is not None:
            read[name] = _LINEAGE[name](f"lineage[{name!r}]", value)
    return cast(Lineage, read)


def _id(name: str, value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, UUID) or (isinstance(value, Integral) and not isinstance(value, bool)):
        return str(value)
    raise ConfigError(f"{name} is the {type(value).__name__} {_shown(value)}. Pass an id as a text.")


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return str(value)
    raise ConfigError(f"{name} is the {type(value).__name__} {_shown(value)}. Pass a text.")


def _run_id(name: str, value: object) -> str:
    try:
        return str(value if isinstance(value, UUID) else UUID(cast(str, value)))
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"{name} is {str(value)[:MAX_SHOWN_CHARS]!r}, which is not a UUID. Pass str(uuid.uuid4())."
        ) from None


def _seed(name: str, value: object) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{name} is the {type(value).__name__} {_shown(value)}. Pass an integer.")
    seed = int(value)
    if not -(2**63) <= seed < 2**63:
        raise ConfigError(f"{name} is {_shown(seed)}, which does not fit into 64 bits. Choose a smaller one.")
    return seed


def _fork(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError(
        f"{name} is the {type(value).__name__} {_shown(value)}. Pass what `fork_run` wrote, or leave it out."
    )


def _turn_seeds(name: str, value: object) -> SeedRule:
    rules = get_args(SeedRule)
    if isinstance(value, str) and value in rules:
        return cast(SeedRule, value)
    raise ConfigError(f"{name} is {_shown(value)}. Choose from {', '.join(rules)}.")


_LINEAGE: dict[str, Callable[[str, object], Any]] = {
    "run_id": _run_id,
    "tenant": _id,
    "user_id": _id,
    "target_id": _id,
    "seed": _seed,
    "split": _text,
    "suite": _text,
    "system": _text,
    "shuffled_of": _text,
    "group_id": _id,
    "parent_id": _run_id,
    "fork": _fork,
    "turn_seeds": _turn_seeds,
}
"""Key of `Lineage` -> what reads its value, or raises ConfigError."""
_PARTS = f"A request has {', '.join(AgentInput.__annotations__)}."


def _refuse_numpy(where: Mapping[Any, Any]) -> None:
    """Raise for values of NumPy that are neither text, int nor float, before `check_where` calls them no numbers."""
    for name, condition in where.items():
        for key, value in condition.items() if isinstance(condition, Mapping) else ():
            for part in value if isinstance(value, Sequence | set | frozenset) else (value,):
                if isinstance(part, np.generic | np.ndarray) and not isinstance(part, str | int | float):
                    raise ConfigError(
                        f"where.{plain(str(name), MAX_SHOWN_CHARS)}.{key} holds a numpy.{type(part).__name__}, which "
                        "neither a checkpointer nor a trace keeps. Convert it by its method tolist()."
                    )


def _plain_value(value: Any) -> Any:
    """A checked value of a condition without subclasses such as numpy.float64 and without sets."""
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    parts = sorted(value, key=str) if isinstance(value, set | frozenset) else value
    return [_plain_value(part) for part in parts]


def _shown(value: object) -> str:
    try:
        return repr(value)[:MAX_SHOWN_CHARS]
    except ValueError:  # an integer of more than 4,300 digits
        return "with more digits than can be shown"
