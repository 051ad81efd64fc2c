"""Parquet that comes from outside, measured before it is expanded: a repeated text takes a few bytes in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MAX_EXPANDED_BYTES = 4 * 2**30
"""The most bytes of texts that are held at once."""
_ROWS = 2**15


def check_expanded(path: Path, *, rows: int | None = None) -> None:
    """Refuse a Parquet file whose texts take too much memory, without expanding those that repeat.

    Args:
        path: The file.
        rows: The rows that are read at once; None where the whole file is.

    Raises:
        ValueError: its texts expand to over `MAX_EXPANDED_BYTES`.
        OSError, pyarrow.ArrowException: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        texts = _repeated_texts(file.metadata, rows)
    if not texts:
        return
    expanded = 0
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(min(rows or _ROWS, _ROWS), columns=texts):
            size = sum(map(_expanded, pa.Table.from_batches([batch]).flatten().columns))
            expanded = size if rows else expanded + size
            if expanded > MAX_EXPANDED_BYTES:
                raise ValueError(f"its texts expand to over {MAX_EXPANDED_BYTES:,} bytes")


def _repeated_texts(metadata: Any, rows: int | None) -> list[str]:
    """Paths of the columns of texts in a dictionary, where the longest that it may hold, in each row, is too much."""
    most = dict[str, int]()
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            if chunk.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in name for name in chunk.encodings):
                is_list = "." in chunk.path_in_schema
                values = chunk.num_values if rows is None or is_list else min(rows, chunk.num_values)
                most[chunk.path_in_schema] = most.get(chunk.path_in_schema, 0) + values * chunk.total_uncompressed_size
    return list(most) if sum(most.values()) > MAX_EXPANDED_BYTES else []


def _expanded(column: Any) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for array in column.chunks:
        while pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            array = array.flatten()
        if pa.types.is_dictionary(array.type):
            lengths = pc.binary_length(array.dictionary).cast(pa.int64())
            size += pc.sum(lengths.take(array.indices)).as_py() or 0
        else:
            size += array.nbytes
    return size
