"""A report on a file of requests: its content, the rows that cannot be used, and what weakens it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deeprec.trm_tool.data.importers.lines import BadRows, Reading
from deeprec.trm_tool.data.problems import Problem
from deeprec.trm_tool.data.requests.known_items import with_known_items
from deeprec.trm_tool.data.requests.request import MAX_MESSAGE_CHARS, Request
from deeprec.trm_tool.data.requests.request_file import marks_of, read_requests
from deeprec.trm_tool.recommender import CatalogueView

_LAST_ARTICLE = re.compile(r", (the|an?)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReport:
    """The content of a file of requests."""

    file: str
    catalogue_items: int | None
    """Items of the catalogue that the file was written with; None where it names none."""
    catalogue_fingerprint: str | None
    requests: int
    made: int
    """Requests whose message nobody wrote."""
    conversations: int
    people: int
    sources: dict[str, int]
    """Origin -> requests."""
    first_time: float | None
    """Seconds since 1970 of the earliest request; None where none has a time."""
    last_time: float | None
    with_message: int
    longest_message: int
    """Characters; what is longer than 8,000 was cut."""
    cut_messages: int
    """Messages of 8,000 characters or more."""
    with_where: int
    with_shown: int
    with_chosen: int
    targets: dict[str, int]
    """`0`, `1`, `2`, `3 or more` -> requests with so many targets."""
    history_lengths: dict[str, float]
    """`min`, `median`, `mean`, `90%`, `max` of the items in a history."""
    without_history: int
    unknown_ids: dict[str, int] | None
    """Field -> ids that the named catalogue lacks, and under `requests` how many it leaves without a target; None where
    no catalogue was named."""
    named_targets: int | None
    """Requests whose message names the title of a target, for titles of several words; None as above."""
    problems: tuple[Problem, ...]
    """Kinds of rows that the strict reader refuses."""
    warnings: tuple[str, ...]
    """Weaknesses of figures on these requests, one sentence each."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def check_requests(path: Path, *, catalogue: CatalogueView | None = None) -> RequestReport:
    """Check a file of requests. Rows that cannot be used are reported, and none of them ends the check.

    Args:
        path: As `read_requests` takes it.
        catalogue: The catalogue to look up the ids in.

    Raises:
        DataError: the file is missing, not of requests, or of another catalogue.
    """
    path, problems = Path(path), _Problems(drop=True)
    marks = marks_of(path)
    found = _Sums(catalogue)
    requests = read_requests(path, Reading(problems), catalogue=catalogue)
    unknown = None if catalogue is None else Counter[str](requests=0)
    for _ in found.over(requests) if catalogue is None else with_known_items(found.over(requests), catalogue, unknown):
        pass
    lengths = np.array(found.history_lengths or [0])
    return RequestReport(
        file=str(path),
        catalogue_items=None if marks is None else marks.items,
        catalogue_fingerprint=None if marks is None else marks.fingerprint,
        requests=found.counts["requests"],
        made=found.counts["made"],
        conversations=len(found.conversations),
        people=len(found.people),
        sources=dict(found.sources.most_common()),
        first_time=found.first_time,
        last_time=found.last_time,
        with_message=found.counts["message"],
        longest_message=found.longest_message,
        cut_messages=found.counts["cut"],
        with_where=found.counts["where"],
        with_shown=found.counts["shown"],
        with_chosen=found.counts["chosen"],
        targets={name: found.targets[name] for name in ("0", "1", "2", "3 or more")},
        history_lengths={
            "min": float(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "90%": float(np.quantile(lengths, 0.9)),
            "max": float(lengths.max()),
        },
        without_history=found.counts["no history"],
        unknown_ids=None if unknown is None else dict(unknown),
        named_targets=None if catalogue is None else found.counts["named"],
        problems=tuple(problems.found.values()),
        warnings=tuple(_warnings(found, unknown, has_marks=marks is not None)),
    )


@dataclass(slots=True)
class _Problems(BadRows):
    """Bad rows by their kind, with the first of each."""

    found: dict[str, Problem] = field(default_factory=dict)

    def add(self, kind: str, file: str, line: int, why: str, remedy: str = "") -> None:
        first = f"{file}:{line} {why}"
        self.found.setdefault(kind, Problem(kind=kind, count=0, first=first, droppable=True)).count += 1


@dataclass(slots=True)
class _Sums:
    catalogue: CatalogueView | None
    counts: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    conversations: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    history_lengths: list[int] = field(default_factory=list)
    first_time: float | None = None
    last_time: float | None = None
    longest_message: int = 0

    def over(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self._add(request)
            yield request

    def _add(self, request: Request) -> None:
        length, targets = len(request.message), len(request.targets)
        self.conversations.add(request.conversation)
        if request.person is not None:
            self.people.add(request.person)
        self.history_lengths.append(len(request.history))
        self.sources[request.source] += 1
        self.targets["3 or more" if targets > 2 else str(targets)] += 1
        self.longest_message = max(self.longest_message, length)
        if request.time is not None:
            self.first_time = request.time if self.first_time is None else min(self.first_time, request.time)
            self.last_time = request.time if self.last_time is None else max(self.last_time, request.time)
        found = {
            "requests": True,
            "made": request.made,
            "message": length > 0,
            "cut": length >= MAX_MESSAGE_CHARS,
            "where": request.where is not None,
            "shown": request.shown is not None,
            "chosen": request.chosen is not None,
            "no history": not request.history,
            "named": self.catalogue is not None and _names_a_target(request, self.catalogue),
        }
        self.counts.update(name for name, is_so in found.items() if is_so)


def _warnings(found: _Sums, unknown: Counter[str] | None, *, has_marks: bool) -> Iterator[str]:
    requests = found.counts["requests"]
    if not requests:
        yield "The file has no usable request."
        return
    if found.counts["made"]:
        yield f"{_share(found.counts['made'], requests)} requests were made from attributes: nobody wrote their words."
    if found.targets["0"]:
        yield f"{_share(found.targets['0'], requests)} requests have no target: nothing can be measured on them."
    if found.counts["message"] < requests:
        silent = requests - found.counts["message"]
        yield f"{_share(silent, requests)} requests have no message: they are histories alone."
    if found.counts["cut"]:
        yield f"{_share(found.counts['cut'], requests)} messages are cut at {MAX_MESSAGE_CHARS:,} characters."
    if found.counts["named"]:
        yield f"{_share(found.counts['named'], requests)} requests name the title of a target in the message."
    if not has_marks:
        yield "The file names no catalogue, so that nothing tells whether its ids are those of another one."
    if unknown is not None and unknown["requests"]:
        yield f"{_share(unknown['requests'], requests)} requests have targets that the catalogue lacks, and no other."


def _names_a_target(request: Request, catalogue: CatalogueView) -> bool:
    message = _words(request.message)
    titles = [_words(catalogue.item(target).title) for target in request.targets if target in catalogue]
    return any(title.count(" ") > 2 and title in message for title in titles)


def _words(text: str) -> str:
    """The words of a text in lower case, with a space around each."""
    words = re.findall(r"\w+", _LAST_ARTICLE.sub("", text.casefold()))
    return f" {' '.join(words)} "


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}"
