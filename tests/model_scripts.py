"""What a scripted model writes: a turn that searches and one that ranks, in each of the two protocols."""

import json
from typing import Any

SEARCH = "<think>Hm.</think>\n<|begin_of_preference|>{}<|end_of_preference|>"
"""A turn of the tagged protocol that searches; the preference is filled in."""
LIST = "<think>So.</think>\n<recommendation_list>\n{}\n</recommendation_list>"
"""A turn of the tagged protocol that ranks; the numbers are filled in, one a line."""


def tool_call(name: str, **arguments: Any) -> dict[str, Any]:
    """A message of the tools protocol with one call."""
    return {"tool_calls": [raw_tool_call(name, json.dumps(arguments))]}


def raw_tool_call(name: str, arguments: str, at: int = 0) -> dict[str, Any]:
    """One call of a message, its arguments as the server writes them; `at` tells calls of one name apart."""
    return {"id": f"call_{name}_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
