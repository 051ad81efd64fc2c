"""Several sets of constraints as one."""

from collections.abc import Mapping
from typing import Any

from deeprec.trm_tool.catalogue.filters import Where, check_where
from deeprec.trm_tool.errors import ConfigError


def merge_where(*wheres: Where | None) -> Where | None:
    """Merge constraints, so that an item passes all of them.

    `not_in` adds up, and of bounds the narrower one stays. Where two `in` share values, these are left. Two that share
    none may both hold for an item with several tags, which one condition cannot say: the later one is kept, and the
    caller checks the items for the earlier one.

    Returns:
        The constraints; None where no item can pass them, whatever its values.
    """
    merged: dict[str, dict[str, Any]] = {}
    for where in wheres:
        for name, condition in (where or {}).items():
            merged[name] = _both(merged[name], condition) if name in merged else dict(condition)
    try:
        check_where(merged)
    except ConfigError:
        return None
    return merged


def _both(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    both = {**first, **second}
    if "in" in first and "in" in second:
        shared = [value for value in second["in"] if value in first["in"]]
        both["in"] = shared or list(second["in"])
    if "not_in" in first and "not_in" in second:
        both["not_in"] = list(dict.fromkeys([*first["not_in"], *second["not_in"]]))
    for key, narrower in (("min", max), ("max", min)):
        if key in first and key in second:
            comparable = isinstance(first[key], str) == isinstance(second[key], str)
            both[key] = narrower(first[key], second[key]) if comparable else second[key]
    return both
