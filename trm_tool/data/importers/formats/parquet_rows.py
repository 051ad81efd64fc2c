"""Rows of Parquet files, as values that the importers read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_parquet import check_expanded
from deeprec.trm_tool.data.importers.formats.csv_rows import check_distinct
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.errors import DataError, reason_of

_BATCH_ROWS = 2**15


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file; the fields of a struct are columns called `outer.inner`.

    A struct that has a name stays whole, since the name is its value.

    Raises:
        DataError: the file is not readable Parquet, or two columns have the same name.
    """
    with _open_parquet(path, lambda: 0) as file:
        schema = file.schema_arrow
        check_distinct(schema.names, path.name)
        names: list[str] = []
        for field in schema:
            names += [f"{field.name}.{inner}" for inner in _fields_of(field.type)] or [field.name]
    check_distinct(names, path.name)
    return names


def read_parquet(
    path: Path, reading: Reading, *, columns: Sequence[str], stamps: bool = True
) -> Iterator[tuple[int, list[Any]]]:
    """Rows of a Parquet file as Python values of `columns`, each with its 1-based number.

    With `stamps`, a time stamp is a whole number in its own unit; otherwise it is a day, as dates are.
    """
    number = 0
    with _open_parquet(path, lambda: number) as file:
        _check_expanded(path)
        top = {name: name if name in file.schema_arrow.names else name.rpartition(".")[0] for name in columns}
        rows, size = max(file.metadata.num_rows, 1), path.stat().st_size
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(dict.fromkeys(top.values()))):
            if reading.on_bytes:
                reading.on_bytes(size * number // rows)
            arrays = [
                batch.column(outer) if outer == name else _inner(batch.column(outer), name.rpartition(".")[2])
                for name, outer in top.items()
            ]
            for row in zip(*(_as_values(array, stamps) for array in arrays), strict=True):
                number += 1
                yield number, list(row)


def _check_expanded(path: Path) -> None:
    import pyarrow as pa

    try:
        check_expanded(path, rows=_BATCH_ROWS)
    except pa.ArrowException:
        raise
    except ValueError as error:
        raise DataError(f"{path} is not read ({error}). Write it again with shorter texts.") from None


def _fields_of(kind: Any) -> list[str]:
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return []
    inner = [field.name for field in kind]
    return [] if any(name.lower().endswith(("name", "title", "label")) for name in inner) else inner


def _inner(column: Any, name: str) -> Any:
    import pyarrow.compute as pc

    return pc.struct_field(column, name)  # missing where the struct is


def _as_values(column: Any, stamps: bool) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64()) if stamps else column.cast(pa.date32(), safe=False)
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type):
        return [value if value is None else dict(value) for value in values]
    return values


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
