"""Settings of a shopping conversation; those of its searches are `AgentConfig`'s."""

from __future__ import annotations

from dataclasses import dataclass, fields

from deeprec.trm_tool import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShoppingConfig:
    """How a conversation goes.

    Raises:
        ConfigError: a number is no whole number, or below its least.
    """

    candidates: int = 60
    """Items that each retrieval of the ranking returns; among them a question is chosen. 10 or more."""
    max_questions: int = 3
    """Questions that a conversation asks at most; 0 asks none. References that are not clear are asked back anyway."""
    max_messages: int = 100
    """Messages that a thread keeps; older ones leave it, and what is known stays. 2 or more."""

    kept_turns: int | None = 10
    """Turns of a thread whose checkpoints stay in a saver of memory or SQLite, to go back to; None keeps all. 1 or
    more."""

    def __post_init__(self) -> None:
        least = {"candidates": 10, "max_questions": 0, "max_messages": 2, "kept_turns": 1}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "kept_turns" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least[each.name]:
                raise ConfigError(
                    f"ShoppingConfig.{each.name} is {str(value)[:80]!r}. Set it to a whole number of "
                    f"{least[each.name]} or more."
                )
