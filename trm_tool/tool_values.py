"""Values of a tool that its program gives: fixed when the tool is made, or read from the outer run at every call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from langgraph.prebuilt import ToolRuntime

T = TypeVar("T")
FromRun: TypeAlias = T | Callable[["ToolRuntime[Any, Any]"], T]
"""A value, or a function that reads it from LangGraph's `ToolRuntime`: state, context, config and store of the run."""


def value_for_call(name: str, given: FromRun[T], runtime: object) -> T:
    """Read the value of one call.

    Args:
        name: What the value is, for the error.
        given: The value, or the function that reads it.
        runtime: What the tool's parameter `runtime` holds. `ToolNode` fills it in; a model cannot.

    Raises:
        ConfigError: a function is given, and the call has no `ToolRuntime`.
    """
    if not callable(given):
        return given
    from langgraph.prebuilt import ToolRuntime

    if not isinstance(runtime, ToolRuntime):
        raise ConfigError(
            f"{name} is a function of the ToolRuntime, and this call has none. Call the tool through LangGraph's "
            f"ToolNode, which injects it, or give {name} as a value."
        )
    return given(runtime)
