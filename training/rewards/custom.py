"""A reward of your own: one function of a run's trace, named as `module:function` or `path.py:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from deeprec.agent.traces import RunTrace
from deeprec.evals.metrics.rewards import Reward
from deeprec.training.rewards.stages import KNOWN_COMPONENTS, REWARD
from deeprec.trm_tool.errors import ConfigError


def load_rewards(named: Iterable[str]) -> dict[str, Reward]:
    """Import rewards of your own.

    Args:
        named: each `module:function` or `path.py:function`. The code is run.

    Returns:
        function name -> the function, which is the component that it is stored and weighted under. What it returns is
        checked: a number, or NaN where there is none.

    Raises:
        ConfigError: there is no such function, it cannot be imported, or its name is taken. Later, from the reward: it
            failed on a run, or returned no number.
    """
    rewards: dict[str, Reward] = {}
    for name in named:
        function = _function(name)
        component = getattr(function, "__name__", "") or ""
        if not component.isidentifier():
            raise ConfigError(f"The reward {name!r} has no name of its own. Give it one with def.")
        if component in (*KNOWN_COMPONENTS, REWARD) or component in rewards:
            taken = "another reward of yours" if component in rewards else "a component of deeprec's"
            raise ConfigError(f"The reward {name!r} has the name of {taken}. Rename the function.")
        rewards[component] = _checked(component, function)
    return rewards


def _function(name: str) -> Callable[[RunTrace], Any]:
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ConfigError(f"{name!r} names no reward. Write module:function or path.py:function.")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_path(place)
    function = getattr(module, attribute, None)
    if function is None:
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        some = f" It has {', '.join(functions[:5])}." if functions else ""
        raise ConfigError(f"{place} has no function {attribute!r}.{some} Name one that takes a run's trace.")
    if not callable(function):
        raise ConfigError(f"{name} is a {type(function).__name__} and not a function of a run's trace.")
    loaded: Callable[[RunTrace], Any] = function
    return loaded


def _from_path(module: str) -> ModuleType:
    sys.path.insert(0, "")  # what stands in the folder that the command was given in, as with `python -m`
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise _import_error(module, error) from error
        raise ConfigError(
            f"There is no module {module!r}. Check its name, or name the file: path/to/rewards.py:function."
        ) from error
    except Exception as error:
        raise _import_error(module, error) from error
    finally:
        sys.path.remove("")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"There is no file {path}. Check the path of the reward.")
    spec = spec_from_file_location(f"deeprec_own_{path.stem}", path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    beside = str(path.absolute().parent)
    sys.modules[spec.name] = module  # dataclasses look for the module that they stand in
    sys.path.insert(0, beside)  # what stands beside the file
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise _import_error(str(path), error) from error
    finally:
        sys.path.remove(beside)
    return module


def _import_error(place: str, error: Exception) -> ConfigError:
    return ConfigError(f"{place} cannot be imported: {type(error).__name__}: {error}. Mend it; it holds a reward.")


def _checked(component: str, function: Callable[[RunTrace], Any]) -> Reward:
    def reward(trace: RunTrace) -> float:
        try:
            value = function(trace)
        except Exception as error:
            raise ConfigError(
                f"The reward {component!r} failed on run {trace.run.run_id}: {type(error).__name__}: {error}. Mend it, "
                "and return NaN for a run that it cannot score."
            ) from error
        if not isinstance(value, Real | np.bool_) or np.isinf(float(value)):
            raise ConfigError(
                f"The reward {component!r} returned {str(value)[:80]!r}, a {type(value).__name__}, for run "
                f"{trace.run.run_id}. Return a finite float, or NaN where there is no score."
            )
        return float(value)

    return reward
