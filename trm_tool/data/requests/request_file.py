"""The file of requests: JSON lines or Parquet, one row for each request; its reader and its writer."""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.data.atomic_rows import SeenLines
from deeprec.trm_tool.data.importers.lines import Reading, bare_suffix, first_line, read_lines
from deeprec.trm_tool.data.requests.catalogue_marks import CatalogueMarks
from deeprec.trm_tool.data.requests.parquet_records import open_parquet, read_records
from deeprec.trm_tool.data.requests.request import FIELDS, Request, RequestFieldError, request_of, values_of
from deeprec.trm_tool.errors import ConfigError, DataError, reason_of
from deeprec.trm_tool.folders import staging_file
from deeprec.trm_tool.recommender import CatalogueView

KIND, FORMAT = "requests", 1
"""Kind and format in the first line of a file of JSON lines, and in the metadata field `deeprec` of a Parquet file."""
JSON_SUFFIXES, PARQUET_SUFFIXES = (".jsonl", ".ndjson", ".json"), (".parquet", ".pq")
_JSON = ("where", "said")
"""Fields that a Parquet file holds as JSON in text."""
_BATCH = 1024
_NAMES = "Name a file that ends in .jsonl, .jsonl.gz or .parquet."


def read_requests(
    path: Path, reading: Reading | None = None, *, catalogue: CatalogueView | None = None
) -> Iterator[Request]:
    """Read a file of requests one by one, in constant memory beside 48 bytes a request.

    A file of JSON lines that was written by hand needs no first line of `write_requests`.

    Args:
        path: A file of JSON lines (`.jsonl`, also `.gz`) or Parquet.
        reading: It takes rows that cannot be used, and the progress. By default the first such row is the error.
        catalogue: The catalogue that the ids are meant to be of. Ids that it lacks stay (`with_known_items`).

    Raises:
        DataError: at the call, the file is missing, not of requests, of another format or of another catalogue; during
            the iteration, a row that cannot be used, named by file, line and field, or a repeated turn.
    """
    path, reading = Path(path), reading or Reading()
    marks = marks_of(path)
    if catalogue is not None and marks is not None:
        marks.check(catalogue, path.name)
    return _requests(path, reading)


def marks_of(path: Path) -> CatalogueMarks | None:
    """The marks of the catalogue that a file was written with; None where it has none.

    Raises:
        DataError: the file is missing, not of requests, or of another format.
    """
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}. Name a file of requests.")
    _check_suffix(path, DataError)
    if is_parquet(path):
        with open_parquet(path) as file:
            header = _parsed((file.schema_arrow.metadata or {}).get(b"deeprec", b""))
            if header is None and "conversation" not in file.schema_arrow.names:
                has = ", ".join(file.schema_arrow.names)[:200]
                raise DataError(f"{path} has no column 'conversation'; it has {has}. Name a file of requests.")
    else:
        line = first_line(path)
        if not line:
            raise DataError(f"{path} is empty. Give it one request a line, such as {_EXAMPLE}.")
        header = _parsed(line)
        if header is not None:
            header = header | {"kind": header["deeprec"]} if "deeprec" in header else None
    return None if header is None else _marks(path, header)


def write_requests(path: Path, requests: Iterable[Request], *, catalogue: CatalogueView | None = None) -> int:
    """Write a file of requests atomically: it is complete, or the file that was there before stays.

    Args:
        path: The destination; its name chooses JSON lines (`.jsonl`, also `.gz`) or Parquet. A file of requests that is
            there is replaced, anything else is refused.
        requests: They are read one by one, so that memory does not grow with them.
        catalogue: The catalogue that the ids are of: a reader that names another is refused.

    Returns:
        The number of requests.

    Raises:
        ConfigError: the file is something else, or cannot be written.
        DataError: two requests have the same conversation and turn.
    """
    path = Path(path)
    check_request_file(path)
    marks = {} if catalogue is None else {"catalogue": asdict(CatalogueMarks.of(catalogue))}
    with staging_file(path) as staging:
        return (_write_parquet if is_parquet(path) else _write_json_lines)(staging, path, marks, _distinct(requests))


def check_request_file(path: Path, *, made: bool = False) -> None:
    """Raise ConfigError when a file of requests written to `path` would overwrite something else, or has no suffix.

    Args:
        path: The destination.
        made: Whether made requests are to be written: they do not replace what people asked.
    """
    _check_suffix(path, ConfigError)
    if not path.exists():
        return
    try:
        first = next(read_requests(path), None)
        found = first is not None or marks_of(path) is not None
    except DataError:
        first, found = None, False
    if not found:
        raise ConfigError(f"{path} exists and is not a file of requests, so it stays. Name another file.")
    if made and first is not None and not first.made:
        raise ConfigError(
            f"{path} holds requests that people wrote, which made ones do not replace. Name another file with --out."
        )


def is_parquet(path: Path) -> bool:
    """Whether a file of requests is Parquet by its name."""
    return path.suffix.lower() in PARQUET_SUFFIXES


def _check_suffix(path: Path, error: type[DataError | ConfigError]) -> None:
    if bare_suffix(path) not in JSON_SUFFIXES and not is_parquet(path):
        raise error(f"{path} has no suffix of a file of requests. {_NAMES}")


def _requests(path: Path, reading: Reading) -> Iterator[Request]:
    seen = SeenLines()
    for number, values in (_parquet_rows if is_parquet(path) else _json_rows)(path, reading):
        try:
            request = request_of(values)
        except RequestFieldError as error:
            reading.bad.add(f"requests with an unusable {error.field}", path.name, number, f"has a problem: {error}")
            continue
        earlier = seen.first(_key(request), number)
        if earlier is not None:
            why = f"repeats turn {request.turn} of conversation {request.conversation[:80]!r} of line {earlier}."
            reading.bad.add("repeated turns of a conversation", path.name, number, why)
            continue
        yield request


def read_json_lines(path: Path, reading: Reading, encoding: str | None = None) -> Iterator[tuple[int, Any]]:
    """The values of JSON lines, each with its line; blank lines are skipped, and what is not JSON is a bad row."""
    for number, line in read_lines(path, reading, encoding):
        if not line.strip():
            continue
        try:
            yield number, parse_json(line)
        except ValueError as error:
            why = f"is not a line of JSON ({reason_of(error)}); a file that was cut off ends so."
            reading.bad.add("lines that are not JSON", path.name, number, why)


def _json_rows(path: Path, reading: Reading) -> Iterator[tuple[int, Mapping[str, Any]]]:
    first = True
    for number, values in read_json_lines(path, reading):
        if not isinstance(values, dict):
            reading.bad.add("lines that are not requests", path.name, number, f"is not a request such as {_EXAMPLE}.")
        elif not first or "deeprec" not in values:
            yield number, values
        first = False


def _parquet_rows(path: Path, reading: Reading) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, values in read_records(path, reading):
        yield number, values | {name: _parsed_text(values[name]) for name in _JSON if values.get(name)}


def _parsed_text(value: object) -> object:
    """A value of a Parquet column that holds JSON as text. What cannot be read stays, and is refused as such."""
    try:
        return parse_json(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _write_json_lines(staging: Path, path: Path, marks: Mapping[str, object], requests: Iterator[Request]) -> int:
    count = 0
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    # a lone surrogate is written as JSON's escape of it
    with opened(staging, "wt", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.write(json.dumps({"deeprec": KIND, "format": FORMAT, **marks}) + "\n")
        for request in requests:
            file.write(json.dumps(values_of(request), ensure_ascii=False, default=list) + "\n")
            count += 1
    return count


def _write_parquet(staging: Path, _: Path, marks: Mapping[str, object], requests: Iterator[Request]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    schema = _schema().with_metadata({"deeprec": json.dumps({"kind": KIND, "format": FORMAT, **marks})})
    with pq.ParquetWriter(staging, schema, compression="zstd", write_page_checksum=True) as file:
        while batch := list(islice(requests, _BATCH)):
            rows = [values_of(each) for each in batch]
            for row in rows:
                row |= {name: json.dumps(row[name], default=list) for name in _JSON if name in row}
            file.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
            count += len(batch)
    return count


def _schema() -> Any:
    import pyarrow as pa

    text, ids = pa.string(), pa.list_(pa.string())
    types = (text, pa.int64(), pa.float64(), text, ids, text, text, ids, ids, ids, text, text, pa.bool_())
    return pa.schema([pa.field(name, kind) for name, kind in zip(FIELDS, types, strict=True)])


def _distinct(requests: Iterable[Request]) -> Iterator[Request]:
    seen = SeenLines()
    for number, request in enumerate(requests, start=1):
        if seen.first(_key(request), number) is not None:
            raise DataError(
                f"Two requests are turn {request.turn} of conversation {request.conversation[:80]!r}. Number the turns."
            )
        yield request


def _key(request: Request) -> str:
    return json.dumps([request.conversation, request.turn])


def _parsed(text: str | bytes) -> dict[str, Any] | None:
    try:
        found = parse_json(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _marks(path: Path, header: dict[str, Any]) -> CatalogueMarks | None:
    """The marks in the header of a file.

    Raises:
        DataError: the file is of another kind or format, or its header is damaged.
    """
    if header.get("kind") != KIND:
        raise DataError(
            f"{path} is a file of deeprec-agent of {str(header.get('kind'))[:40]!r}, not of requests. Name another."
        )
    if header.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {str(header.get('format'))[:40]!r}; this version of deeprec-agent reads {FORMAT}. "
            "Import the requests again with this version, or install the version that wrote it."
        )
    if header.get("catalogue") is None:
        return None
    try:
        items, fingerprint, titles = (header["catalogue"][name] for name in ("items", "fingerprint", "titles"))
        return CatalogueMarks(
            items=int(items),
            fingerprint=str(fingerprint),
            titles={str(item_id): str(digest) for item_id, digest in titles.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(f"{path} has a header whose catalogue cannot be read. Import the requests again.") from None


_EXAMPLE = '{"conversation": "c1", "message": "something light", "targets": ["17"]}'
