"""The file of preferences written in logged runs: Parquet, one row for each preference; its writer and its reader."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.bounded_parquet import check_expanded
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS
from deeprec.trm_tool.errors import ConfigError, DataError, reason_of
from deeprec.trm_tool.folders import staging_file
from deeprec.trm_tool.text import plain

KIND, FORMAT = "written preferences", 1
"""Kind and format in the metadata field `deeprec` of such a file."""
_BATCH = 1024
_REMEDY = "Write it again with `deeprec traces export --preferences FILE`."


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPreference:
    """A preference that a model wrote in a run, with the proof of its position in a person's sequence."""

    run_id: str
    turn: int
    """Position of the turn that wrote it, 0-based."""
    retrieval: int | None
    """Position of the retrieval that it was used in; None where the run ended before that."""
    user_id: str | None
    target_id: str | None
    """The held-out item, where the run was given one."""
    split: str | None
    """The run's split: "test", "valid", "train", or None outside an experiment."""
    history_length: int
    """Items that the run's history held."""
    history_sha256: str
    """`history_digest` of that history."""
    policy_model: str
    adapter: str | None
    adapter_version: str | None
    guided: bool
    """Whether the server held the model to known phrases."""
    trm_fingerprint: str
    trm_holdout: int | None
    """How many of each person's last items the run's recommender had not learned; None where that was not logged."""
    dataset_fingerprint: str | None
    """Fingerprint of the data that the run's recommender was trained on; None where that was not logged."""
    preference: str


_TEXTS = frozenset(field.name for field in fields(WrittenPreference) if "str" in str(field.type))
_COUNTS = frozenset(field.name for field in fields(WrittenPreference) if "int" in str(field.type))
_OPTIONAL = frozenset(field.name for field in fields(WrittenPreference) if "None" in str(field.type))


def history_digest(history: Sequence[str]) -> str:
    """Sha256 (hex) of item ids in their order, which proves that a history is the beginning of a sequence."""
    return hashlib.sha256(json.dumps(list(history)).encode()).hexdigest()


def check_preference_file(path: Path) -> None:
    """Raise ConfigError when a file of preferences written to `path` would overwrite something else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return
    try:
        found = path.is_file() and _kind(pq.read_schema(path).metadata)[0] == KIND
    except (OSError, pa.ArrowException):
        found = False
    if not found:
        raise ConfigError(f"{path} exists and is not a file of preferences, so it stays. Name another file.")


def write_preference_file(path: Path, rows: Iterable[WrittenPreference]) -> int:
    """Write a file of preferences atomically: it is complete, or the file that was there before stays.

    Args:
        path: The destination. A file of preferences that is there is replaced, anything else is refused.
        rows: They are read one by one, so that memory does not grow with them.

    Returns:
        The number of rows.

    Raises:
        ConfigError: the file is something else, or cannot be written.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    check_preference_file(path)
    schema, count, remaining = _schema(), 0, iter(rows)
    with (
        staging_file(path) as staging,
        pq.ParquetWriter(staging, schema, compression="zstd", write_page_checksum=True) as file,
    ):
        while batch := list(islice(remaining, _BATCH)):
            file.write_batch(_to_arrow(batch, schema))
            count += len(batch)
    return count


def read_preference_file(path: Path) -> Iterator[WrittenPreference]:
    """Read a file of preferences row by row; texts are cleaned and cut as the retriever does it.

    Raises:
        DataError: at the call, the file is missing, damaged, something else, of another version or without a column;
            during the iteration, a value does not fit. The file is named, and column and row (from 1) where known.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}. {_REMEDY}")
    try:
        check_expanded(path, rows=_BATCH)
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file ({reason_of(error)}). {_REMEDY}") from None
    kind, version = _kind(file.schema_arrow.metadata)
    if kind != KIND:
        raise DataError(f"{path} is a Parquet file, but not of preferences written in logged runs. {_REMEDY}")
    if version != FORMAT:
        raise DataError(
            f"{path} has format {version!r}; this version of deeprec-agent reads {FORMAT}. Export it again with this "
            "version, or install the version that wrote it."
        )
    for wanted in _schema():
        if wanted.name not in file.schema_arrow.names:
            raise DataError(f"{path} lacks the column {wanted.name!r}. {_REMEDY}")
        seen = file.schema_arrow.field(wanted.name).type
        if not seen.equals(wanted.type):
            raise DataError(f"{path}: column {wanted.name!r} is of type {seen}, not {wanted.type}. {_REMEDY}")
    return _rows(path, file)


def _rows(path: Path, file: Any) -> Iterator[WrittenPreference]:
    import pyarrow as pa

    number = 0
    names = [field.name for field in fields(WrittenPreference)]
    try:
        for batch in file.iter_batches(_BATCH, columns=names):
            for values in batch.to_pylist():
                number += 1
                yield _checked(path, number, values)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged after row {number} ({reason_of(error)}). {_REMEDY}") from None
    finally:
        file.close()


def _checked(path: Path, number: int, values: dict[str, Any]) -> WrittenPreference:
    def refuse(name: str, why: str) -> DataError:
        return DataError(f"{path}: column {name!r} {why} in row {number}. {_REMEDY}")

    for name, value in values.items():
        if value is None:
            if name not in _OPTIONAL:
                raise refuse(name, "has no value")
        elif name in _COUNTS and value < 0:
            raise refuse(name, f"is {value}, below 0,")
    digest = values["history_sha256"]
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise refuse("history_sha256", f"is {plain(digest, 70)!r}, not a sha256 in hex,")
    return WrittenPreference(**values | {"preference": plain(values["preference"], MAX_TEXT_CHARS)})


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(
                field.name,
                pa.string() if field.name in _TEXTS else pa.int64() if field.name in _COUNTS else pa.bool_(),
                nullable=field.name in _OPTIONAL,
            )
            for field in fields(WrittenPreference)
        ],
        metadata={"deeprec": json.dumps({"kind": KIND, "format": FORMAT})},
    )


def _to_arrow(rows: Sequence[WrittenPreference], schema: Any) -> Any:
    import pyarrow as pa

    return pa.record_batch([[getattr(row, field.name) for row in rows] for field in schema], schema=schema)


def _kind(metadata: dict[bytes, bytes] | None) -> tuple[object, object]:
    """Kind and format in a Parquet file's metadata."""
    try:
        meta = parse_json((metadata or {})[b"deeprec"])
        return meta.get("kind"), meta.get("format")
    except (KeyError, ValueError, AttributeError):
        return None, None
