"""Rows of an atomic file with their line numbers, the repeated ones, and those that cannot be used."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeAlias, get_args

from deeprec.trm_tool.data.columns import Column, ColumnType
from deeprec.trm_tool.data.importers.lines import BadRows
from deeprec.trm_tool.errors import DataError

WRONG_WIDTH, NO_UTF8, NO_ROWS = "wrong_width", "not_utf8", "no_rows"
"""Kinds of what cannot be read in any atomic file; the last one is no row that could be left out."""
OnBad: TypeAlias = Callable[[str, str, int, str, str], None]
"""Called with the kind of a row that cannot be used, its file and line, the reason as a sentence, and the remedy."""


def refuse(kind: str, file: str, line: int, why: str, remedy: str) -> NoReturn:
    """Raise DataError for a row that cannot be used."""
    raise DataError(f"{file}:{line} {why} {remedy}.")


class AtomicFile:
    """An open atomic file: its header, and its rows with line numbers. Blank lines are skipped.

    The constructor raises DataError where the header cannot be read; `on_bad` takes rows that cannot be read.
    """

    def __init__(self, path: Path, on_bad: OnBad = refuse) -> None:
        self.path, self.name = path, path.name
        self._on_bad, self._rows = on_bad, 0
        lines = self._lines()
        header = next(lines, None)
        if header is None:
            raise DataError(f"{path} is empty. Give it a header such as user_id:token and one row a line.")
        self.columns = self._parse_header(header[1])
        self._rest = lines

    def __iter__(self) -> Iterator[tuple[int, str, list[str]]]:
        for number, line in self._rest:
            self._rows += 1
            fields = line.split("\t")
            if len(fields) == len(self.columns):
                yield number, line, fields
                continue
            self._on_bad(
                WRONG_WIDTH,
                self.name,
                number,
                f"has {len(fields)} tab-separated fields where the header has {len(self.columns)}.",
                "Correct the line (remove tabs and line breaks inside fields)",
            )
        if not self._rows:
            self._on_bad(NO_ROWS, self.name, 1, "has a header and no rows.", "Put one row a line under the header")

    def _lines(self) -> Iterator[tuple[int, str]]:
        try:
            with self.path.open("rb") as file:
                for number, raw in enumerate(file, start=1):
                    try:
                        line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                    except UnicodeDecodeError as error:
                        seen = error.object[error.start : error.start + 4].hex(" ")
                    else:
                        if line.strip():
                            yield number, line
                        continue
                    self._rows += 1
                    (refuse if number == 1 else self._on_bad)(
                        NO_UTF8,
                        self.name,
                        number,
                        f"is not UTF-8 (bytes {seen}).",
                        f"Convert the file, for example with `iconv -f latin1 -t utf-8 {self.name}`",
                    )
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror}). Check its permissions.") from None

    def _parse_header(self, line: str) -> tuple[Column, ...]:
        columns = []
        for declared in line.split("\t"):
            name, _, kind = declared.strip().rpartition(":")
            if not name or ":" in name or kind not in get_args(ColumnType):
                raise DataError(
                    f"{self.name}:1 has the header field {declared[:80]!r}; each must be NAME:TYPE, "
                    "tab-separated, with a type of token, token_seq, float or float_seq."
                )
            columns.append(Column(name, kind))  # type: ignore[arg-type]  # checked just above
        repeated = [name for name, count in Counter(column.name for column in columns).items() if count > 1]
        if repeated:
            raise DataError(f"{self.name}:1 has two columns called {repeated[0]!r}. Rename one of them.")
        return tuple(columns)


class SeenLines:
    """Lines of a file that were read, with their numbers, in 24 to 48 bytes each, however long they are.

    It is a table with open addressing that holds 8 bytes of a digest instead of the line. The chance that two of a
    hundred million lines share a digest is 1 in 3,000.
    """

    def __init__(self) -> None:
        self._count = 0
        self._digests, self._numbers = array("Q", bytes(8 * 64)), array("Q", bytes(8 * 64))  # 0 is an empty slot

    def first(self, line: str, number: int) -> int | None:
        """The number of the line that this one repeats; None if it is new, and then it is stored."""
        digest = int.from_bytes(hashlib.blake2b(line.encode(), digest_size=8).digest()) or 1
        slot = self._slot(digest)
        if self._digests[slot]:
            return self._numbers[slot]
        self._digests[slot], self._numbers[slot] = digest, number
        self._count += 1
        if 3 * self._count > 2 * len(self._digests):
            self._grow()
        return None

    def _slot(self, digest: int) -> int:
        last = len(self._digests) - 1  # a power of 2 less 1
        slot = digest & last
        while self._digests[slot] not in (0, digest):
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        digests, numbers = self._digests, self._numbers
        empty = bytes(2 * 8 * len(digests))
        self._digests, self._numbers = array("Q", empty), array("Q", empty)
        for digest, number in zip(digests, numbers, strict=True):
            if digest:
                slot = self._slot(digest)
                self._digests[slot], self._numbers[slot] = digest, number


class BadGroup:
    """Rows of one kind that cannot be used: the first is the error, after the last one, with the number of others.

    Where such rows may be dropped, `bad` takes each of them at once.
    """

    def __init__(self, kind: str, bad: BadRows) -> None:
        self._kind, self._bad = kind, bad
        self._first: tuple[str, int, str, str] | None = None
        self._count = 0

    def add(self, file: str, line: int, why: str, remedy: str) -> None:
        """Store a row; `why` has no full stop, as the number of further rows follows it."""
        self._count += 1
        if self._bad.drop:
            self._bad.add(self._kind, file, line, f"{why}.")
        elif self._first is None:
            self._first = file, line, why, remedy

    def raise_if_any(self) -> None:
        """Raise DataError for the first row, unless such rows are dropped."""
        if self._first is not None:
            file, line, why, remedy = self._first
            more = f" ({self._count - 1} more like it)" if self._count > 1 else ""
            self._bad.add(self._kind, file, line, f"{why}{more}.", remedy)
