"""Outcomes of conversations as JSON lines, written as each conversation ends, so that what was interrupted goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from deeprec.evals.simulation.outcomes import ConversationOutcome
from deeprec.trm_tool.errors import ConfigError

_OUTCOME = TypeAdapter(ConversationOutcome)


class OutcomeFile:
    """A file of outcomes. Until `finish` they stand in a file beside it, whose name ends in `.part`.

    Args:
        path: The file; what it holds stays until `finish` replaces it.
        settings: What the outcomes depend on, as JSON values. A `.part` of the same settings goes on.

    Raises:
        ConfigError: there is a `.part` of other settings, or one that cannot be read.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path, self._part = path, path.with_name(f"{path.name}.part")
        self._kept: dict[tuple[str, str], ConversationOutcome] = {}
        if self._part.is_file():
            self._read(settings)
        else:
            self._part.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")

    def kept(self, system: str) -> dict[str, ConversationOutcome]:
        """Person -> the outcome with a system, of those that ended before an interruption."""
        return {person: outcome for (of, person), outcome in self._kept.items() if of == system}

    def add(self, system: str, outcome: ConversationOutcome) -> None:
        """Write an outcome."""
        with self._part.open("a", encoding="utf-8") as file:
            file.write(_line(system, outcome))

    def finish(self, outcomes: Mapping[str, Sequence[ConversationOutcome]]) -> None:
        """Write all outcomes into the file itself."""
        lines = [_line(system, outcome) for system, listed in outcomes.items() for outcome in listed]
        self._part.write_text("".join(lines), encoding="utf-8")
        os.replace(self._part, self.path)

    def _read(self, settings: Mapping[str, Any]) -> None:
        try:
            lines = self._part.read_bytes().splitlines(keepends=True)
            before = dict(json.loads(lines[0])["settings"])
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise ConfigError(
                f"{self._part} does not begin with the settings of conversations. Delete it, or name another --out."
            ) from None
        other = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        if other:
            was = ", ".join(f"{name} {before.get(name)!r} and not {settings.get(name)!r}" for name in other)
            raise ConfigError(
                f"{self._part} holds conversations that were interrupted, with {was}. Give the same settings to go on, "
                "or delete it."
            )
        whole = [line for line in lines if line.endswith(b"\n")]  # the last one may have been cut off
        for line in whole[1:]:
            # A conversation whose line is damaged is held again, as one that failed is.
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                values = json.loads(line)
                system = values.pop("system")
                outcome = _OUTCOME.validate_python(values)
                if outcome.error is None:
                    self._kept[system, outcome.person] = outcome
        if len(whole) < len(lines):
            self._part.write_bytes(b"".join(whole))


def _line(system: str, outcome: ConversationOutcome) -> str:
    return json.dumps({"system": system, **asdict(outcome)}, allow_nan=True) + "\n"
