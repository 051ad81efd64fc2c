"""Rows of a Parquet file as records: column -> Python value, times as `datetime`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_parquet import check_expanded
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.errors import DataError, reason_of

_BATCH = 1024
_MAX_UNPACKED_BYTES = 4 * 2**30


def read_records(path: Path, reading: Reading) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their 1-based numbers.

    Raises:
        DataError: the file is not readable Parquet, unpacks to over 4 GiB, or is damaged after a row.
    """
    number = 0
    with open_parquet(path, lambda: number) as file:
        rows, size = max(file.metadata.num_rows, 1), path.stat().st_size
        for batch in file.iter_batches(_BATCH):
            for values in _in_microseconds(batch).to_pylist():
                number += 1
                yield number, values
            if reading.on_bytes:
                reading.on_bytes(size * number // rows)


@contextmanager
def open_parquet(path: Path, at: Callable[[], int] = lambda: 0) -> Iterator[Any]:
    """Open a Parquet file; `at` gives the row that was reached, for the error."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = range(file.metadata.num_row_groups)
            unpacked = sum(file.metadata.row_group(group).total_byte_size for group in groups)
            if unpacked > _MAX_UNPACKED_BYTES:
                raise DataError(
                    f"{path} has {unpacked:,} bytes unpacked, and {_MAX_UNPACKED_BYTES:,} are read. Split the file."
                )
            try:
                check_expanded(path, rows=_BATCH)
            except pa.ArrowException:
                raise
            except ValueError as error:
                raise DataError(f"{path} is not read ({error}). Write it again with shorter texts.") from None
            yield file
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        where = f"is damaged after row {at()}" if at() else "is not a readable Parquet file"
        raise DataError(f"{path} {where} ({reason_of(error)}). Copy or write it again.") from None


def _in_microseconds(batch: Any) -> Any:
    """The batch without nanoseconds, which `datetime` does not have."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field
        for field in batch.schema
    ]
    return pa.Table.from_batches([batch]).cast(pa.schema(fields), safe=False)
