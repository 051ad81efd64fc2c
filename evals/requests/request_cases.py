"""Cases of an evaluation from requests: one for each request and target, as the ReDial literature counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from deeprec.evals.requests.cases import Case
from deeprec.trm_tool.data import MadeRequestConfig, Request, RequestMaker, read_requests
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.made_requests.words import WordSet
from deeprec.trm_tool.data.requests.known_items import with_known_items
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import CatalogueView

MADE_TEST = "made"
"""What a suite names in place of a file of requests: requests made in test words, one for each person."""
NO_TARGET = "requests without a target"
UNKNOWN_TARGETS = "requests whose targets the catalogue lacks"
REMOVED_TARGET = "targets that were removed from the catalogue"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCases:
    """The cases of some requests, and what was left out of them."""

    cases: tuple[Case, ...]
    """The cases in the order of the requests; those of one request stand together."""
    left_out: Mapping[str, int]
    """What was left out -> how many: `requests without a target`, `requests whose targets the catalogue lacks`,
    `targets that were removed from the catalogue`."""
    unknown_ids: Mapping[str, int]
    """Field of a request -> ids that the catalogue lacks, and that were skipped."""
    examples: tuple[str, ...]
    """The first of those ids."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a sentence each; none where nothing was."""
        found = [f"{count} {what} were left out." for what, count in self.left_out.items() if count]
        if self.examples:
            counts = ", ".join(f"{count} in {name}" for name, count in self.unknown_ids.items() if count)
            named = ", ".join(repr(item_id)[:80] for item_id in self.examples)
            found.append(f"The catalogue lacks items that the requests name ({counts}), such as {named}: skipped.")
        return tuple(found)


def make_request_cases(requests: Iterable[Request], catalogue: CatalogueView, *, source: str) -> RequestCases:
    """Make the cases of requests: one for each request and target.

    Args:
        requests: They are read one by one.
        catalogue: Of the recommender. Ids that it lacks are skipped and counted, and so are removed targets.
        source: Where the requests are from, for the errors.

    Raises:
        ConfigError: no case is left, or no case has a message.
    """
    left_out = Counter({NO_TARGET: 0, UNKNOWN_TARGETS: 0, REMOVED_TARGET: 0})
    unknown, examples = Counter[str](), dict[str, None]()
    found: list[Case] = []

    def with_examples() -> Iterable[Request]:
        for request in requests:
            if len(examples) < _EXAMPLES:
                ids = (*request.history, *request.targets)
                examples.update(dict.fromkeys(item_id for item_id in ids if item_id not in catalogue))
            yield request

    for request in with_known_items(with_examples(), catalogue, unknown):
        left_out[NO_TARGET] += not request.targets
        kept = [case for case in request_cases(request) if case.target not in catalogue.removed]
        left_out[REMOVED_TARGET] += len(request.targets) - len(kept)
        found += kept
    left_out[UNKNOWN_TARGETS] = unknown.pop("requests", 0)
    made = RequestCases(
        cases=tuple(found),
        left_out=dict(left_out),
        unknown_ids=dict(unknown),
        examples=tuple(examples)[:_EXAMPLES],
    )
    if not found:
        raise ConfigError(
            f"{source} has no request with a target to recommend. {' '.join(made.notes)} Name requests of this "
            "recommender's catalogue; `deeprec data check FILE` reports what a file holds."
        )
    if not any(case.message for case in found):
        raise ConfigError(
            f"None of the {len(found)} cases of {source} has a message, so there are no words to measure. Leave "
            "`requests` out to evaluate histories alone, or name requests with messages."
        )
    return made


def request_cases(request: Request) -> list[Case]:
    """Make the cases of one request as it is: one for each of its targets."""
    return [
        Case(
            user=request.conversation if request.person is None else request.person,
            history=request.history,
            target=target,
            message=request.message or None,
            where=request.where,
            conversation=request.conversation,
            turn=request.turn,
            said=request.said,
        )
        for target in request.targets
    ]


def read_request_cases(path: Path, catalogue: CatalogueView) -> RequestCases:
    """Read the cases of a file of requests.

    Raises:
        DataError: the file is missing, damaged, or was written with another catalogue.
        ConfigError: as `make_request_cases`.
    """
    return make_request_cases(read_requests(path, catalogue=catalogue), catalogue, source=str(path))


def made_request_cases(
    dataset: Dataset, catalogue: CatalogueView, split: str, *, words: WordSet = "test", seed: int = 0
) -> RequestCases:
    """Make requests from the targets of a split, one for each person, and their cases.

    Each has one wish, so that no target is an item that a recommender of the split has learned.

    Args:
        dataset: People, their sequences, and a catalogue with attributes.
        catalogue: Of the recommender.
        split: `test`, `valid` or `train`.
        words: `test` or `training`: two sets of words that do not meet.
        seed: Of the making.

    Raises:
        DataError: the catalogue has no attribute to speak of.
        ConfigError: as `make_request_cases`.
    """
    config = MadeRequestConfig(
        words=words, split=cast(Literal["train", "valid", "test"], split), second_wishes=0.0, seed=seed
    )
    return make_request_cases(RequestMaker(dataset, config).make(), catalogue, source=f"{dataset.name}, made requests")


def with_other_words(cases: Sequence[Case]) -> list[Case]:
    """Give every case the message of another conversation: what is then found owes nothing to the person's own words.

    Each conversation gets the messages of the next one, the last one those of the first.

    Raises:
        ConfigError: there is one conversation only.
    """
    messages: dict[str, list[str | None]] = {}
    for case in cases:
        messages.setdefault(case.cluster, []).append(case.message)
    names = list(messages)
    if len(names) < 2:
        raise ConfigError("The requests are of one conversation only, so that no case can get another one's words.")
    others = dict(zip(names, [*names[1:], names[0]], strict=True))
    position = Counter[str]()
    changed = []
    for case in cases:
        theirs = messages[others[case.cluster]]
        changed.append(replace(case, message=theirs[position[case.cluster] % len(theirs)]))
        position[case.cluster] += 1
    return changed


_EXAMPLES = 5
