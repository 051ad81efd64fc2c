"""Small YAML files of settings (suites, training loops), read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from deeprec.trm_tool.errors import ConfigError

MAX_BYTES = 100_000
Settings = TypeVar("Settings", bound=BaseModel)


def read_settings_text(path: Path) -> str:
    """The text of a settings file.

    Raises:
        ConfigError: it is too large, cannot be read, or is no UTF-8.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size:,} bytes; settings are a small file. Name another one.")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings {path} cannot be read: {error}.") from error


def parse_settings(source: str, text: str, kind: type[Settings]) -> Settings:
    """Read settings out of a YAML text.

    Args:
        source: what errors call it.
        text: YAML; no tags but the plain ones.
        kind: what it has to be.
    Raises:
        ConfigError: it is no YAML, or not such settings: names the field and what is wrong with it.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{source} is no YAML: {' '.join(str(error).split())[:200]}. Mend that place; text that has : or # in it "
            "needs quotes."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{source} holds {type(content).__name__}, not fields with their values.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    fault = next((each for each in error.errors() if each["type"] == "extra_forbidden"), error.errors()[0])
    if fault["type"] == "missing":
        return f"the field {'.'.join(str(part) for part in fault['loc'])} is missing. Add it."
    where = ".".join(str(part) for part in fault["loc"]) or "the settings"
    seen = f"; found {fault['input']!r}"[:120]
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}{seen if fault['loc'] else ''}."
