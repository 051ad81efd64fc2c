"""Options that several commands share: the interaction data and its columns, and the range of a seed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.data.folder import EMBEDDED
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.trm.artifact_folder import check_artifact

if TYPE_CHECKING:
    from deeprec.trm_tool.data.columns import ColumnNames
    from deeprec.trm_tool.data.dataset import Dataset

DEFAULT_ARTIFACT = Path(".deeprec/trm/ml-100k")
"""Folder of the demo's recommender, and the default of every command that needs one."""
DEFAULT_CACHE = Path(".deeprec/cache/embeddings")
"""Folder in which commands cache text embeddings; delete it to empty the cache."""
MAX_SEED = 2**32 - 1
"""Every generator of random numbers that is used here takes seeds from 0 to this."""


def is_there(path: Path | None) -> Path | None:
    """Return the path of a file or a folder that a command reads; the callback of its option, before the command runs.

    Raises:
        DataError: nothing is there.
    """
    if path is not None and not path.exists():
        raise DataError(f"{path} does not exist. Name a file or a folder that is there.")
    return path


def data_is_there(folder: Path | None) -> Path | None:
    """Return the folder of data, or the name of the embedded data; otherwise as `is_there`."""
    return folder if str(folder) == EMBEDDED else is_there(folder)


def artifact_is_there(folder: Path | None) -> Path | None:
    """Return the folder of an artifact; the callback of its option, before the command imports what loads it.

    Raises:
        ArtifactError: the folder, or the configuration in it, is missing.
    """
    if folder is not None:
        check_artifact(folder)
    return folder


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DropBadRows = Annotated[
    bool,
    typer.Option(
        "--drop-bad-rows",
        help="Leave out rows that cannot be read or used, repeats, unknown items, and users below 3 interactions.",
    ),
]
DroppedRows = Annotated[
    Path | None,
    typer.Option(
        "--dropped-rows",
        help="File for what --drop-bad-rows leaves out: file, line, kind and reason, separated by tabs.",
        show_default="none; beside the artifact for training",
    ),
]
ColumnOption = Annotated[
    str | None, typer.Option(help="The name of this column.", show_default="found by the usual names")
]
TextColumns = Annotated[
    str | None,
    typer.Option(help="Names of further item columns that hold prose, separated by commas, beside those found."),
]
AttributeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME=KIND",
        help="What a column of the items is: category, tags, text, number, date or ignore. May be repeated.",
        show_default="as `deeprec data check` shows",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnOptions:
    """How a folder of RecBole atomic files is read."""

    drop_bad_rows: DropBadRows = False
    dropped_rows: DroppedRows = None
    user_column: ColumnOption = None
    item_column: ColumnOption = None
    time_column: ColumnOption = None
    title_column: ColumnOption = None
    text_columns: TextColumns = None
    attribute: AttributeOption = None

    def names(self) -> "ColumnNames":
        """The columns that were named."""
        from deeprec.trm_tool.data.column_kinds import parse_kinds
        from deeprec.trm_tool.data.columns import ColumnNames

        return ColumnNames(
            user=self.user_column,
            item=self.item_column,
            time=self.time_column,
            title=self.title_column,
            text=split_names(self.text_columns),
            kinds=parse_kinds(self.attribute or ()),
        )

    def dropped_file(self, default: Path | None = None) -> Path | None:
        """The file for the rows that are left out, `default` where none was named.

        Raises:
            ConfigError: a file was named, and no rows are to be left out.
        """
        if self.dropped_rows is not None and not self.drop_bad_rows:
            raise ConfigError("--dropped-rows was given without --drop-bad-rows, so no rows are left out. Give both.")
        return self.dropped_rows or (default if self.drop_bad_rows else None)

    def read(self, folder: Path | None, dropped_rows: Path | None = None) -> "Dataset":
        """Read a folder of RecBole atomic files; None reads the embedded ml-100k.

        `dropped_rows` is the file for the rows that are left out, where the user named none.

        Raises:
            ConfigError: the embedded data is not installed, or the file of dropped rows cannot be written.
            DataError: as `read_atomic_files`.
        """
        from deeprec.trm_tool.data.atomic_files import embedded_ml100k, read_atomic_files

        if str(folder) == EMBEDDED and not Path(EMBEDDED).exists():
            folder = None
        return read_atomic_files(
            folder or embedded_ml100k(),
            columns=self.names(),
            drop_bad_rows=self.drop_bad_rows,
            dropped_rows=self.dropped_file(dropped_rows),
        )


SignalsOption = Annotated[
    Path | None,
    typer.Option(
        "--signals", help="Order lists from histories again: a file from `deeprec trm signals`.", callback=is_there
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of RecBole atomic files.", show_default="the embedded ml-100k", callback=data_is_there
    ),
]
ArtifactArgument = Annotated[
    Path, typer.Argument(help="A folder from `deeprec trm train`.", callback=artifact_is_there)
]
ArtifactOption = Annotated[
    Path,
    typer.Option(
        "--artifact", help="The recommender: a folder that `deeprec trm train` wrote.", callback=artifact_is_there
    ),
]

CatalogueOption = Annotated[
    Path | None,
    typer.Option(
        help="The items that requests name: a folder of `deeprec data import`, an artifact, or MovieLens as published."
    ),
]


def split_names(names: str | None) -> tuple[str, ...]:
    """Names that a comma separates, without white space around them."""
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


WhereOption = Annotated[
    str | None,
    typer.Option("--where", help='Constraints as JSON: {"release_year": {"min": 1990}, "class": {"in": ["Comedy"]}}'),
]


def read_where(where: str | None) -> dict[str, Any] | None:
    """Read the value of `WhereOption`.

    Raises:
        ConfigError: it is not a JSON object.
    """
    if where is None:
        return None
    example = """Write JSON such as '{"release_year": {"min": 1990}}'."""
    try:
        conditions = parse_json(where)
    except ValueError:
        raise ConfigError(f"--where is {where[:80]!r}, which is not JSON. {example}") from None
    if not isinstance(conditions, dict):
        raise ConfigError(f"--where is {where[:80]!r}, which is not a JSON object. {example}")
    return conditions


@contextmanager
def notes_replaced(path: Path, holding: str) -> Iterator[None]:
    """A block that writes to a path; a line on stderr says afterwards that it replaced what was there.

    Args:
        path: A file or a folder.
        holding: What was there, such as "requests".
    """
    is_there = path.is_file() or (path.is_dir() and any(path.iterdir()))
    yield
    if is_there:
        typer.echo(f"Note: {path} held {holding} already; they were replaced.", err=True)


def print_json(report: dict[str, Any]) -> None:
    """Print a report for machines."""
    print(json.dumps(report, indent=2, allow_nan=False))
