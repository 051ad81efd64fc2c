"""Item ids on the command line, whatever characters they hold: separated by commas, repeated, or in a file."""

import csv
from collections.abc import Container, Sequence
from pathlib import Path
from shlex import quote

from deeprec.trm_tool.errors import ConfigError, reason_of

IDS_HELP = "Item ids: separated by commas; or the option again for each; or @FILE with one id a line"
"""The part of an option's help that says how ids are given."""
_MAX_BYTES = 64 * 2**20


def read_ids(values: Sequence[str] | None, known: Container[object] = ()) -> list[str]:
    """The ids that an option names.

    An option that is given once is one id where `known` has it; else `@FILE`, or ids separated by commas, with double
    quotes around those that hold a comma. An option that is given several times names one id each time.

    Args:
        values: What the option was given, each time.
        known: The ids of the catalogue.

    Raises:
        ConfigError: the file cannot be read, or a quote is never closed.
    """
    if not values:
        return []
    if len(values) > 1 or values[0] in known:
        return [value.strip() for value in values if value.strip()]
    [value] = values
    if value.startswith("@"):
        return _ids_of_file(Path(value[1:]))
    try:
        rows = list(csv.reader([value], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ConfigError(
            f"The ids {value[:80]!r} cannot be read ({error}). Give the option again for each id."
        ) from None
    return [item_id.strip() for row in rows for item_id in row if item_id.strip()]


def show_ids(option: str, ids: Sequence[str]) -> str:
    """The option that names ids, as it can be pasted into a shell."""
    plain_ids = all(item_id == item_id.strip() and not set(item_id) & set(",\"'@") for item_id in ids)
    if plain_ids:
        return f"{option} {quote(','.join(ids))}"
    if len(ids) == 1:
        ids = ['"' + ids[0].replace('"', '""') + '"']
    return " ".join(f"{option} {quote(item_id)}" for item_id in ids)


def _ids_of_file(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The ids in {path} cannot be read ({reason_of(error)}). Name a UTF-8 file with one id a line after the @; "
            "an id that begins with @ is given with the option twice, or in such a file."
        ) from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path} has over {_MAX_BYTES:,} bytes. Name a file with one id a line.")
    return [line.strip() for line in text.splitlines() if line.strip()]
