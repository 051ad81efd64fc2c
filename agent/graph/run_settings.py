"""The settings of a run: those that its graph was built with, and what its request sets in their place."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from deeprec.agent.graph.config import AgentConfig, adjust_agent_config
from deeprec.agent.graph.look_ups import LookUps
from deeprec.agent.graph.policy_calls import PolicyCalls
from deeprec.agent.graph.state import RunRequest
from deeprec.agent.protocols.turn import AdjustableProtocol, AgentProtocol
from deeprec.agent.traces.store.recorder import Recorder
from deeprec.trm_tool import ConfigError

_POLICY_SETTINGS = ("model", "temperature", "top_p")


class RunSettings:
    """The settings of a graph, and what follows from them for one run."""

    def __init__(self, protocol: AgentProtocol, config: AgentConfig, recorder: Recorder, look_ups: LookUps) -> None:
        self._protocol, self._config, self._recorder, self._look_ups = protocol, config, recorder, look_ups
        self._made = lru_cache(maxsize=256)(self._make)

    def of(self, request: RunRequest) -> tuple[AgentConfig, PolicyCalls]:
        """The settings of a run, and the policy as they ask it.

        Raises:
            ConfigError: a value is out of its range, or the policy cannot be asked so.
        """
        return self.with_values(request.get("settings", {}))

    def with_values(self, settings: Mapping[str, Any]) -> tuple[AgentConfig, PolicyCalls]:
        """As `of`, for settings that no run has yet."""
        try:
            return self._made(tuple(sorted(settings.items())))
        except TypeError:  # a value that cannot be hashed is refused by name
            return self._make(tuple(settings.items()))

    def _make(self, settings: tuple[tuple[str, Any], ...]) -> tuple[AgentConfig, PolicyCalls]:
        named = dict(settings)
        config = adjust_agent_config(self._config, {name: named[name] for name in named if name != "model"})
        of_policy = {name: named[name] for name in _POLICY_SETTINGS if name in named}
        protocol = self._protocol
        if of_policy:
            if not isinstance(protocol, AdjustableProtocol):
                raise ConfigError(
                    f"A {type(protocol).__name__} has no method `adjusted`, so that a request cannot set "
                    f"{', '.join(of_policy)}. Leave it out, or see deeprec.agent.AdjustableProtocol."
                )
            protocol = protocol.adjusted(**{name: getattr(config, name, value) for name, value in of_policy.items()})
        return config, PolicyCalls(protocol, config, self._recorder, self._look_ups)


def set_values(settings: Mapping[str, Any], config: AgentConfig) -> dict[str, Any]:
    """The settings that a request names, with their values as `AgentConfig` read them."""
    return {name: getattr(config, name, value) for name, value in settings.items()}
