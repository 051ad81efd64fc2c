"""Lines of large files, plain or gzipped, with their numbers; errors name file and line."""

import codecs
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deeprec.trm_tool.errors import ConfigError, DataError

MAX_LINE_BYTES = 2**24
"""A longer line is not a row of any known format, and would fill the memory."""
MAX_PACKING, PACKED_FROM_BYTES = 200, 2**30
"""A compressed file of over so many bytes may unpack to so many times its size; tables unpack to 20 times at most."""


@dataclass(slots=True)
class BadRows:
    """Rows that cannot be used: the first one is the error, unless they may be dropped, and then all are counted."""

    drop: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    log: IO[str] | None = None
    """A file for the rows that are left out: tab-separated file, line, kind and reason of each."""

    def add(self, kind: str, file: str, line: int, why: str, remedy: str = "Correct it") -> None:
        """Count a row by its kind, or raise DataError with `why`, such as "has no user id.", and the remedy."""
        if not self.drop:
            raise DataError(f"{file}:{line} {why} {remedy}, or leave such rows out with --drop-bad-rows.")
        self.counts[kind] += 1
        if self.log is not None:
            self.log.write("\t".join((file, str(line), kind, " ".join(why.split()))) + "\n")


@contextmanager
def logged_rows(bad: BadRows, path: Path) -> Iterator[None]:
    """Write the rows that are left out into a file, which stays where there are any.

    Raises:
        ConfigError: the file cannot be written.
    """
    if not bad.drop:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("w", encoding="utf-8", newline="\n", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); it takes the rows that are left out. Name another file."
        ) from None
    with log as bad.log:
        bad.log.write("file\tline\tkind\twhy\n")
        yield
    bad.log = None
    if not bad.counts:
        path.unlink()


@dataclass(frozen=True, slots=True)
class Reading:
    """The argument of every reader: it takes bad rows and the progress."""

    bad: BadRows = field(default_factory=BadRows)
    on_bytes: Callable[[int], None] | None = None
    """Called at intervals with the bytes of the file read so far, compressed ones where it is compressed."""
    notes: list[str] = field(default_factory=list)
    """What a person should know about what was read, one sentence each; a reader adds to it."""


def bare_suffix(path: Path) -> str:
    """The suffix in lower case without `.gz`: `.jsonl` of `Books.jsonl.gz`."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def read_lines(path: Path, reading: Reading, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Lines with their 1-based numbers, line ends kept, a byte order mark left out.

    Args:
        path: A text file, plain or compressed by gzip (`.gz`).
        reading: It takes lines that are not in this encoding.
        encoding: None is UTF-8, or the encoding of the byte order mark.

    Raises:
        DataError: the file is missing, truncated, unpacks to far more than a table, or has a line above
            `MAX_LINE_BYTES`.
        ConfigError: the encoding is unknown.
    """
    encoding = encoding or _encoding_of(path)
    if not _keeps_ascii(encoding) or _ends_in_cr(path):
        yield from _read_wide(path, reading, encoding)
        return
    number = 0
    with open_binary(path, lambda: number) as (file, raw):
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise _too_long(path, number)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if number % 4096 == 0:
                _check_packing(path, file.tell(), raw.tell())
                if reading.on_bytes:
                    reading.on_bytes(raw.tell())
            try:
                yield number, line.decode(encoding)
            except UnicodeDecodeError as error:
                reading.bad.add("lines in another encoding", path.name, number, _why(error, encoding))


@contextmanager
def open_binary(path: Path, at: Callable[[], int]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The decompressed bytes of a file, and the file itself; `at` gives the line that was reached, for the error."""
    try:
        with path.open("rb") as raw:
            if path.suffix.lower() == ".gz":
                with gzip.open(raw) as unpacked:
                    yield unpacked, raw  # type: ignore[misc]  # a GzipFile reads as any binary file does
            else:
                yield raw, raw
    except (EOFError, zlib.error):
        raise DataError(
            f"{path.name} is truncated inside its compressed data after line {at()}. Copy or download it again."
        ) from None
    except gzip.BadGzipFile as error:
        raise DataError(f"{path.name} is damaged after line {at()} ({error}). Copy or download it again.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Check the path and its permissions.") from None


def first_line(path: Path) -> str:
    """The first line that is not blank, stripped; "" where all are blank."""
    with open_binary(path, lambda: 0) as (file, _):
        encoding = None
        while raw := file.readline(MAX_LINE_BYTES):
            encoding = encoding or _bom(raw) or "utf-8"
            line = raw.decode(encoding, errors="replace").removeprefix("\ufeff").strip()
            if line:
                return line.splitlines()[0] if _ends_in_cr(path) else line
    return ""


def has_byte(path: Path, byte: bytes) -> bool:
    """Whether a file holds a byte."""
    with open_binary(path, lambda: 0) as (file, raw):
        while chunk := file.read(2**20):
            if byte in chunk:
                return True
            _check_packing(path, file.tell(), raw.tell())
    return False


def is_utf8(path: Path) -> bool:
    """Whether the whole file is UTF-8; for files of a few megabytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_binary(path, lambda: 0) as (file, _):
        try:
            while chunk := file.read(2**20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _read_wide(path: Path, reading: Reading, encoding: str) -> Iterator[tuple[int, str]]:
    """Lines that end in CR alone, or of an encoding such as UTF-16, in which they cannot be found before decoding."""
    number = 0
    with open_binary(path, lambda: number) as (file, raw):
        text = io.TextIOWrapper(file, encoding=encoding, newline="")
        try:
            while line := text.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise _too_long(path, number)
                if number % 4096 == 0:
                    _check_packing(path, file.tell(), raw.tell())
                if reading.on_bytes and number % 4096 == 0:
                    reading.on_bytes(raw.tell())
                yield number, line.removeprefix("\ufeff") if number == 1 else line
        except UnicodeError as error:
            raise DataError(
                f"{path.name} is not {encoding} after line {number} ({error}). Name its encoding with --encoding."
            ) from None
        finally:
            text.detach()


def _too_long(path: Path, number: int) -> DataError:
    return DataError(
        f"{path.name}:{number} is longer than {MAX_LINE_BYTES} bytes. Check that this is a text file with one row a "
        "line."
    )


def _check_packing(path: Path, unpacked: int, packed: int) -> None:
    if unpacked > PACKED_FROM_BYTES and unpacked > MAX_PACKING * packed:
        raise DataError(
            f"{path.name} has {unpacked:,} bytes unpacked in its first {packed:,}, over {MAX_PACKING} times as many, "
            "as no table has. Check where it comes from; unpack it yourself if it is right."
        )


def _why(error: UnicodeDecodeError, encoding: str) -> str:
    seen = error.object[error.start : error.start + 4].hex(" ")
    return f"is not {encoding.upper()} (bytes {seen}). Name its encoding, for example --encoding latin-1."


def _encoding_of(path: Path) -> str:
    with open_binary(path, lambda: 0) as (file, _):
        return _bom(file.read(4)) or "utf-8"


def _ends_in_cr(path: Path) -> bool:
    """Whether lines end in CR alone, as old programs for the Mac write them."""
    with open_binary(path, lambda: 0) as (file, _):
        head = file.read(2**16)
    return b"\r" in head[:-1] and b"\n" not in head


def _bom(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return None


def _keeps_ascii(encoding: str) -> bool:
    """Whether lines can be split before they are decoded."""
    try:
        return "a,\n".encode(encoding) == b"a,\n"
    except (LookupError, ValueError):
        raise ConfigError(
            f"There is no encoding {encoding!r}. Name one such as utf-8, latin-1, cp1252 or utf-16."
        ) from None
