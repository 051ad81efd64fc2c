"""YAML files of settings (suites, training loops), read strictly: what they hold, and the paths that they name."""

from __future__ import annotations

import os.path
import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from deeprec.agent.graph.config import make_agent_config
from deeprec.evals.bounded_yaml import YamlBoundsError, load_yaml
from deeprec.trm_tool.errors import ConfigError, unlabelled

MAX_BYTES = 100_000


class FileSettings(BaseModel):
    """The content of a settings file. Paths in it are seen from the file; `path_of` resolves them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _paths: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def path_of(self, named: str | Path) -> str:
        """Resolve a path that the settings name, or a function in a file: from the file's folder to the current one."""
        return self._paths.get(str(named), str(named))

    def named_paths(self) -> list[str]:
        """List what the settings name by a path: files, folders, and functions in files (`path.py:function`)."""
        return []


Settings = TypeVar("Settings", bound=FileSettings)


def packaged_settings(package: str) -> list[str]:
    """The names of the settings files in a package, without `.yaml`."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(package).iterdir() if entry.name.endswith(".yaml")
    )


def read_settings(name_or_path: str | Path, kind: type[Settings], *, package: str, what: str) -> Settings:
    """Read settings by the name of a packaged file or by the path of a file.

    Args:
        name_or_path: A name of `packaged_settings`, which goes before a file of the same path; or a path.
        kind: The model that the file has to fit.
        package: Where the packaged files are.
        what: What the settings are, for the errors: "suite".

    Raises:
        ConfigError: there is no such file, it is too large or is not UTF-8, it is not YAML, or it does not fit `kind`;
            names the field and what is wrong with it.
    """
    path, known = Path(name_or_path), packaged_settings(package)
    if str(name_or_path) in known:
        return _parsed(f"{what} {name_or_path}", (files(package) / f"{path}.yaml").read_text("utf-8"), kind)
    if not path.is_file():
        raise ConfigError(
            f"There is no {what} {str(name_or_path)[:200]!r}. Name a YAML file, or one of {', '.join(known)}."
        )
    settings = _parsed(str(path), _text_of(path), kind)
    settings._paths = _seen_from_file(path, settings.named_paths())
    return settings


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size:,} bytes; settings are a small file. Name another one.")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings {path} cannot be read: {error}.") from error


def _parsed(source: str, text: str, kind: type[Settings]) -> Settings:
    try:
        content = load_yaml(text)
    except YamlBoundsError as error:
        raise ConfigError(f"{source} {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{source} is not YAML: {' '.join(str(error).split())[:200]}. Correct that place; text that has : or # in "
            "it needs quotes."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{source} holds {type(content).__name__}, not fields with their values.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{source}: {first_fault(error, kind)}") from error


def first_fault(error: ValidationError, kind: type[BaseModel]) -> str:
    """Describe the first fault of settings that do not fit `kind` in one line: the field and what is wrong with it."""
    fault = next((each for each in error.errors() if each["type"] == "extra_forbidden"), error.errors()[0])
    where = ".".join(str(part) for part in fault["loc"]) or "the settings"
    if fault["type"] == "missing":
        return f"the field {where} is missing. Add it."
    if fault["type"] == "extra_forbidden":
        close = get_close_matches(where, kind.model_fields, n=1)
        meant = f"Did you mean {close[0]!r}?" if close else "Leave it out."
        return f"there is no field {where!r}; found {fault['input']!r}"[:160] + f". {meant}"
    if fault["type"] == "value_error":  # a check of our own, whose message says what it found
        message = unlabelled(fault["msg"])
        return f"{where}: {message}" if message.endswith((".", "?")) else f"{where}: {message}."
    seen = f"; found {fault['input']!r}"[:120] if fault["loc"] else ""
    return f"{where}: {fault['msg']}{seen}."


def check_agent_block(named: Mapping[str, Any], *, fixed: Mapping[str, str]) -> dict[str, Any]:
    """Validate the `agent` block of a file: settings of `AgentConfig`, of which it may leave out any.

    Args:
        named: Setting -> value, as the file has it.
        fixed: Settings that the file cannot give here -> why.

    Returns:
        Setting -> value, of the setting's own type.

    Raises:
        ValueError: an unknown or a fixed setting, or a value that `AgentConfig` refuses.
    """
    for name in named:
        if name in fixed:
            raise ValueError(f"{name} cannot be set in this block: {fixed[name]}")
    config = make_agent_config(named)
    return {name: getattr(config, name) for name in named}


def _seen_from_file(file: Path, named: Iterable[str]) -> dict[str, str]:
    """Resolve the paths that a settings file names: relative ones are seen from the folder of the file.

    A relative path that exists from the current folder only, as files of older versions may have it, is taken from
    there with a warning.

    Args:
        file: The settings file.
        named: Paths, relative or absolute, of files, folders or functions in files.

    Returns:
        Path as named -> path from the current folder. A path that exists nowhere is seen from the file.
    """
    folder = file.parent
    paths = {path: str(folder / path) for path in named}
    elsewhere = [path for path, beside in paths.items() if not _exists(beside) and _exists(path)]
    if elsewhere:
        warnings.warn(
            f"{file} names paths that exist from the current folder and not from the file: {', '.join(elsewhere)}. "
            "They are taken from the current folder. Paths in a settings file are seen from the file; write them so: "
            f"{', '.join(os.path.relpath(path, folder) for path in elsewhere)}.",
            FutureWarning,
            stacklevel=4,
        )
    return paths | {path: path for path in elsewhere}


def _exists(named: str) -> bool:
    """Whether a path is there; of a function in a file, the file."""
    file, _, function = named.rpartition(":")
    return Path(file if file.endswith(".py") and function else named).exists()
