"""Rows of Parquet files, as values that the importers read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeprec.trm_tool.data.importers.formats.csv_rows import check_distinct
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.errors import DataError, reason_of

_BATCH_ROWS = 2**15


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file.

    Raises:
        DataError: the file is not readable Parquet, or two columns have the same name.
    """
    with _open_parquet(path, lambda: 0) as file:
        names = list(file.schema_arrow.names)
    check_distinct(names, path.name)
    return names


def read_parquet(path: Path, reading: Reading, *, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """Rows of a Parquet file as Python values of `columns`, each with its 1-based number.

    Time stamps are whole numbers in their own unit, dates are days.
    """
    number = 0
    with _open_parquet(path, lambda: number) as file:
        rows, size = max(file.metadata.num_rows, 1), path.stat().st_size
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
            if reading.on_bytes:
                reading.on_bytes(size * number // rows)
            for row in zip(*(_as_values(batch.column(name)) for name in columns), strict=True):
                number += 1
                yield number, list(row)


def _as_values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_date(column.type):
        return column.cast(pa.date32()).cast(pa.int32()).to_pylist()  # type: ignore[no-any-return]
    return column.to_pylist()  # type: ignore[no-any-return]


@contextmanager
def _open_parquet(path: Path, at: Callable[[], int]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Name a Parquet file.") from None
    except (pa.ArrowException, OSError) as error:
        where = f"is damaged after row {at()}" if at() else "is not a readable Parquet file"
        raise DataError(f"{path} {where} ({reason_of(error)}). Copy it again.") from None
