"""Code of a user's own, named as `module:function` or `path.py:function`: rewards, systems, importers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from deeprec.trm_tool.errors import ConfigError

_log = logging.getLogger(__name__)


def load_function(name: str, *, role: str, takes: str, named_in: str | None = None) -> Callable[..., Any]:
    """Import a function of a user's own. The code of its module is run.

    Args:
        name: `module:function`, found as `python -m` finds it, or `path.py:function`.
        role: What the function is, for the errors: "reward", "importer".
        takes: What it is called with, for the errors: "a run's trace".
        named_in: The file that names the function, where the caller did not: a warning says whose code runs now.

    Raises:
        ConfigError: the name is malformed, there is no such file, module or function, or the import fails.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ConfigError(f"{name!r} names no {role}. Write module:function or path.py:function.")
    if named_in is not None:
        _log.warning("%s names the %s %s: the code of %s runs now.", named_in, role, name, place)
    module = _from_file(Path(place), role) if place.endswith(".py") else _from_import_path(place, role)
    function = getattr(module, attribute, None)
    if function is None:
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        some = f" It has {', '.join(functions[:5])}." if functions else ""
        raise ConfigError(f"{place} has no function {attribute!r}.{some} Name one that takes {takes}.")
    if not callable(function):
        raise ConfigError(f"{name} is a {type(function).__name__} and not a function. Name one that takes {takes}.")
    loaded: Callable[..., Any] = function
    return loaded


def _from_import_path(module: str, role: str) -> ModuleType:
    sys.path.insert(0, "")  # modules of the working folder are found, as with `python -m`
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise _import_error(module, role, error) from error
        raise ConfigError(
            f"There is no module {module!r}. Check its name, or name the file: path/to/{role}s.py:function."
        ) from error
    except Exception as error:
        raise _import_error(module, role, error) from error
    finally:
        sys.path.remove("")


def _from_file(path: Path, role: str) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"There is no file {path}. Check the path of the {role}.")
    spec = spec_from_file_location(f"deeprec_own_{path.stem}", path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    beside = str(path.absolute().parent)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    sys.path.insert(0, beside)  # the file may import modules of its own folder
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise _import_error(str(path), role, error) from error
    finally:
        sys.path.remove(beside)
    return module


def _import_error(place: str, role: str, error: Exception) -> ConfigError:
    return ConfigError(f"{place} cannot be imported: {type(error).__name__}: {error}. Correct it; it holds the {role}.")
