"""Options that several commands share: the interaction data and its columns, and the range of a seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deeprec.trm_tool.data.dataset import Dataset

DEFAULT_ARTIFACT = Path(".deeprec/trm/ml-100k")
"""Where the demo leaves its recommender, and where every command looks for one."""
DEFAULT_CACHE = Path(".deeprec/cache/embeddings")
"""Where commands keep text embeddings; delete it to forget them."""
MAX_SEED = 2**32 - 1
"""Every generator of random numbers that is used here takes seeds from 0 to this."""

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of RecBole atomic files; the embedded ml-100k by default.")
]
DropBadRows = Annotated[
    bool, typer.Option("--drop-bad-rows", help="Leave out repeats, unknown items and users below 3 interactions.")
]
ColumnOption = Annotated[str | None, typer.Option(help="Else found by name.")]
TextColumns = Annotated[
    str | None, typer.Option(help="Item columns of prose, separated by commas, beside those found.")
]


def read_data(
    folder: Path | None,
    *,
    drop_bad_rows: bool,
    user_column: str | None,
    item_column: str | None,
    time_column: str | None,
    title_column: str | None,
    text_columns: str | None,
) -> "Dataset":
    """Read the data that the options name; without a folder, the embedded ml-100k.

    Raises:
        ConfigError: the embedded data is not installed.
        DataError: as `read_atomic_files`.
    """
    from deeprec.trm_tool.data.atomic_files import embedded_ml100k, read_atomic_files
    from deeprec.trm_tool.data.columns import ColumnNames

    columns = ColumnNames(
        user=user_column, item=item_column, time=time_column, title=title_column, text=split_names(text_columns)
    )
    return read_atomic_files(folder or embedded_ml100k(), columns=columns, drop_bad_rows=drop_bad_rows)


def split_names(names: str | None) -> tuple[str, ...]:
    """Names that a comma separates, without white space around them."""
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())
