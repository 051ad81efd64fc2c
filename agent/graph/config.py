"""What an agent run may spend and how it is shaped."""

from __future__ import annotations

from dataclasses import dataclass

from deeprec.trm_tool import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Budgets and sizes of one run. When a budget is spent the graph ranks what it has."""

    guided: bool = False
    """Let the server hold the model to the format (vLLM's structured outputs). For models too small to keep it alone;
    such runs warm a policy up, and are refused by the RL trainer."""
    temperature: float = 1.0
    top_p: float = 1.0
    k: int = 10
    """Items in the recommended list."""
    retrieve_k: int = 10
    """Items that one call of the recommender returns."""
    trust: float | None = None
    """How far the recommender trusts a preference, 0 to 1; None is what its training found, for preferences that are
    true. What a model guesses from a history that the recommender reads as well deserves less."""
    max_history: int = 20
    """Latest items of the history that the prompt shows; the recommender always gets the whole history."""
    min_retrievals: int = 2
    """Calls before a guided model may rank. A free model decides for itself."""
    max_retrievals: int = 8
    """Calls of the recommender, at most."""
    max_turns: int = 12
    """Calls of the policy before the ranking, at most."""
    max_malformed: int = 2
    """Malformed outputs that are answered with a correction; the next one ends the exploration."""
    max_turn_tokens: int = 512
    """Tokens that the policy may write in one turn."""
    max_tokens: int = 16_384
    """Tokens that the policy may write in one run."""
    max_seconds: float = 600.0
    """Wall time of one run, waiting for the server included."""

    def __post_init__(self) -> None:
        for name in ("k", "retrieve_k", "max_history", "max_retrievals", "max_turns", "max_turn_tokens", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"AgentConfig.{name} is {getattr(self, name)}; set it to 1 or more.")
        if self.max_malformed < 0 or self.min_retrievals < 0:
            raise ConfigError("AgentConfig.max_malformed and .min_retrievals cannot be negative.")
        if self.min_retrievals > self.max_retrievals:
            raise ConfigError(
                f"AgentConfig.min_retrievals is {self.min_retrievals}, above max_retrievals ({self.max_retrievals}); "
                "no run could end by itself. Lower one or raise the other."
            )
        if not (0 <= self.temperature <= 2 and 0 < self.top_p <= 1):
            raise ConfigError(
                f"AgentConfig.temperature is {self.temperature} and top_p {self.top_p}; use 0 to 2, and above 0 to 1."
            )
        if self.trust is not None and not 0 <= self.trust <= 1:
            raise ConfigError(f"AgentConfig.trust is {self.trust}; use 0 to 1, or None for the recommender's own.")
        if not self.max_seconds > 0:
            raise ConfigError(f"AgentConfig.max_seconds is {self.max_seconds}; no step would have time to run.")
