"""The placeholders of the prompts' texts: which each text needs, and which it may have."""

from string import Formatter

from deeprec.trm_tool import ConfigError

_PLACEHOLDERS: dict[str, tuple[set[str], set[str]]] = {
    "tagged_instructions": (set(), {"k"}),
    "tools_instructions": (set(), {"k"}),
    "tagged_correction": (set(), {"why"}),
    "tools_correction": (set(), {"why"}),
    "history_item": ({"item"}, set()),
    "message": ({"message"}, set()),
    "history_line": (set(), {"items"}),
    "phrases": (set(), {"phrases"}),
    "numbers": (set(), {"numbers"}),
    "task": (set(), {"k"}),
    "found_item": ({"number", "item"}, set()),
    "not_in_catalogue": (set(), {"what"}),
    "only_weighed": (set(), {"what"}),
    "kept": (set(), {"what"}),
    "tools_rank": (set(), {"k"}),
    "limit_argument": (set(), {"most"}),
    "budget": (set(), {"max_retrievals"}),
    "go_on": (set(), {"k"}),
    "stop_now": (set(), {"k"}),
    "first_correction": (set(), {"why"}),
    "tagged_list_correction": (set(), {"why", "k"}),
}
"""Template -> the placeholders that it needs, and those that it may have. The other texts are used as they are."""


def check_placeholders(name: str, text: str) -> None:
    """Check the placeholders of the text `name` of `Prompts`.

    Raises:
        ConfigError: the text lacks a placeholder that it needs, or has one that nothing fills.
    """
    if name not in _PLACEHOLDERS:
        return
    needed, optional = _PLACEHOLDERS[name]
    try:
        found = {field for _, field, _, _ in Formatter().parse(text) if field is not None}
    except ValueError as error:
        raise ConfigError(f"Prompts.{name} cannot be filled in: {error}. Double the braces that are text.") from error
    known = ", ".join(f"{{{field}}}" for field in sorted(needed | optional))
    if found - needed - optional:
        odd = sorted(found - needed - optional)[0]
        raise ConfigError(
            f"Prompts.{name} has the placeholder {{{odd}}}, and {known} can be filled in. Double the braces of text."
        )
    if needed - found:
        raise ConfigError(f"Prompts.{name} lacks the placeholder {{{sorted(needed - found)[0]}}}. It needs {known}.")
