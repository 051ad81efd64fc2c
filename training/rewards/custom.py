"""Rewards of your own: functions of a run's trace, named as `module:function` or `path.py:function`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any

import numpy as np

from deeprec.agent.traces import RunTrace
from deeprec.evals.metrics.rewards import Reward
from deeprec.training.rewards.stages import KNOWN_COMPONENTS, REWARD
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.plugins import load_function


def load_rewards(named: Iterable[str], *, named_in: str | None = None) -> dict[str, Reward]:
    """Import rewards of your own.

    Args:
        named: the functions, each as `module:function` or `path.py:function`. Their code is run.
        named_in: the settings that name them, where the caller did not; that is logged before they are imported.

    Returns:
        function name, under which the component is stored and weighted -> the reward. It checks that the function
        returns a finite number, or NaN for a run that it cannot score.

    Raises:
        ConfigError: there is no such function, it cannot be imported, or its name is taken. Later, from the reward: the
            function failed on a run, or returned something else.
    """
    rewards: dict[str, Reward] = {}
    for name in named:
        function = load_function(name, role="reward", takes="a run's trace", named_in=named_in)
        component = getattr(function, "__name__", "") or ""
        if not component.isidentifier():
            raise ConfigError(f"The reward {name!r} has no name. Define it with def.")
        if component in (*KNOWN_COMPONENTS, REWARD) or component in rewards:
            taken = "another reward of yours" if component in rewards else "a component of deeprec's"
            raise ConfigError(f"The reward {name!r} has the name of {taken}. Rename the function.")
        rewards[component] = _checked(component, function)
    return rewards


def _checked(component: str, function: Callable[[RunTrace], Any]) -> Reward:
    def reward(trace: RunTrace) -> float:
        try:
            value = function(trace)
        except Exception as error:
            raise ConfigError(
                f"The reward {component!r} failed on run {trace.run.run_id}: {type(error).__name__}: {error}. Correct "
                "it, and return NaN for a run that it cannot score."
            ) from error
        if not isinstance(value, Real | np.bool_) or np.isinf(float(value)):
            raise ConfigError(
                f"The reward {component!r} returned {str(value)[:80]!r}, a {type(value).__name__}, for run "
                f"{trace.run.run_id}. Return a finite float, or NaN where there is no score."
            )
        return float(value)

    return reward
