"""Folders of data: the name of the embedded one, and those written here, as a whole and never over files of others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.folders import check_not_current, one_writer, replace_folder, staging_folder

EMBEDDED = "ml-100k"
"""Name of the embedded data, in place of a folder."""
MARK = "deeprec-data.json"
"""Name of the file that marks a folder as written here, and lists its files."""
TIMELESS = "timeless"
"""Key of the mark of data without times, in the order of its file."""
_WRITER = "deeprec data"


def check_destination(folder: Path) -> None:
    """Raise ConfigError when `folder` holds something that this package did not write, or is where the user is."""
    if not folder.exists():
        return
    check_not_current(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file; data is written as a folder. Name another one with --out.")
    inside = {entry.name for entry in folder.iterdir()}
    if not inside:
        return
    foreign = sorted(inside - _written(folder / MARK))
    if foreign:
        what = ", ".join(foreign[:3])
        raise ConfigError(
            f"{folder} holds what `deeprec data` did not write ({what[:200]}). Name another folder with --out, or move "
            "this away."
        )


@contextmanager
def data_folder(folder: Path, mark: dict[str, object]) -> Iterator[Path]:
    """A folder beside `folder` to write into, which takes its place when the block ends without an error.

    Args:
        folder: The destination; a folder that this package wrote is replaced.
        mark: Content of the mark file beside the names of the files; it may be filled inside the block.

    Raises:
        ConfigError: the folder cannot be written, or holds something else. An OSError of the block counts as that;
            readers raise errors of their own.
    """
    folder = folder.resolve()
    check_destination(folder)
    with staging_folder(folder) as staging:
        try:
            yield staging
            files = sorted(entry.name for entry in staging.iterdir())
            text = json.dumps({"written_by": _WRITER, "files": files} | mark, indent=2)
            (staging / MARK).write_text(text + "\n", encoding="utf-8")
            staging.chmod(0o755)  # mkdtemp makes folders that only the owner can read
            with one_writer(folder.parent):
                check_destination(folder)  # another process may have written there meanwhile
                replace_folder(staging, folder)
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be written: {error.strerror}. Name another folder with --out."
            ) from None


def is_synthetic(folder: Path) -> bool:
    """Whether a folder is marked as generated data."""
    return _marked(folder, "synthetic")


def is_timeless(folder: Path) -> bool:
    """Whether a folder is marked as data without times."""
    return _marked(folder, TIMELESS)


def _marked(folder: Path, key: str) -> bool:
    try:
        return bool(json.loads((folder / MARK).read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _written(mark: Path) -> set[str]:
    """Names of the files in the mark, and the mark's own; none without a mark of this package."""
    try:
        claimed = json.loads(mark.read_text(encoding="utf-8"))
        if claimed["written_by"] != _WRITER:
            return set()
        return {MARK, *map(str, claimed["files"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
