"""YAML of a settings file, read within bounds: what aliases make of it, its depth, and the size of its numbers."""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 50
"""The most mappings and lists within each other. Settings have five."""
MAX_CHARS = 1_000_000
"""The most characters of all values, with each alias written out: ten times what a file may have."""
MAX_INTEGER = 2**63 - 1
"""The largest whole number that a setting may be."""


class YamlBoundsError(ValueError):
    """The text is beyond a bound. The message has what was seen, the bound and what to do."""


def load_yaml(text: str) -> Any:
    """Read YAML with plain values only.

    Raises:
        YamlBoundsError: the text is nested too deeply, its aliases write out too much, or a number is too large.
        yaml.YAMLError: the text is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise YamlBoundsError(f"nests more than {MAX_DEPTH} mappings and lists. Write it flatter.")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None:
        written_out = _chars(root, {})
        if written_out > MAX_CHARS:
            raise YamlBoundsError(
                f"has {written_out:,} characters where each alias is written out, and may have {MAX_CHARS:,}. Write "
                "fewer aliases."
            )
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        raise
    except ValueError as error:  # a number of thousands of digits, a day that no month has
        raise YamlBoundsError(f"has a value that cannot be read: {str(error)[:100]}. Correct it.") from None
    _check_numbers(content)
    return content


def _chars(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the characters of a node with its aliases written out; `known` has the nodes that were counted."""
    if id(node) in known:
        if known[id(node)] < 0:
            raise YamlBoundsError("has an alias that stands within what it names. Write the value out.")
        return known[id(node)]
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 1
    known[id(node)] = -1  # while its parts are counted
    parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    known[id(node)] = 1 + sum(_chars(part, known) for part in parts)
    return known[id(node)]


def _check_numbers(content: Any) -> None:
    if isinstance(content, int) and abs(content) > MAX_INTEGER:
        raise YamlBoundsError(f"has a number of {content.bit_length():,} bits, and reads up to 63. Correct it.")
    if isinstance(content, dict):
        for key, value in content.items():
            _check_numbers(key)
            _check_numbers(value)
    elif isinstance(content, list | tuple | set):
        for value in content:
            _check_numbers(value)
