"""Turn a log of what people asked, or a data set of dialogues, into a file of requests."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.catalogue_folder import read_catalogue
from deeprec.trm_tool.data.importers.lines import BadRows, Reading, first_line
from deeprec.trm_tool.data.requests.importers.film_links import LINKS, FilmLinks, read_films, read_links
from deeprec.trm_tool.data.requests.importers.log_columns import LogOptions
from deeprec.trm_tool.data.requests.importers.past_items import PastItems
from deeprec.trm_tool.data.requests.importers.redial import read_redial
from deeprec.trm_tool.data.requests.importers.shop_log import read_log
from deeprec.trm_tool.data.requests.known_items import with_known_items
from deeprec.trm_tool.data.requests.request import Request
from deeprec.trm_tool.data.requests.request_file import check_request_file, write_requests
from deeprec.trm_tool.errors import ConfigError, DataError

RequestFormat: TypeAlias = Literal["redial", "log"]
"""Dialogues of ReDial, or a shop's log."""
FILMS = "id2info.json"
"""The file beside ReDial's dialogues that has the IMDb ids of its films."""
OnProgress = Callable[[Path, int], None]
"""Called with the file that is read, and how many of its bytes were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestImport:
    """Counts of what an import of requests read, wrote and left out."""

    format: str
    file: str
    """The file that was read."""
    out: str
    requests: int
    conversations: int
    targets: int
    """Targets of all requests together."""
    left_out: dict[str, int]
    """What gave no request, by the reason."""
    linked: dict[str, int]
    """Films by how they were found in the catalogue; empty for a log."""
    unknown_ids: dict[str, int]
    """Field -> ids that the catalogue lacks, and under `requests` those that were left without a target."""
    dropped: dict[str, int]
    """Kind of bad row -> how many were left out on request."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueOptions:
    """How dialogues about films are read."""

    links: Path | None = None
    """MovieLens' `links.csv`; None looks for it in the catalogue's folder."""
    films: Path | None = None
    """A file of the films' names and IMDb ids; None looks for `id2info.json` beside the dialogues."""
    keep_names: bool = True
    """Whether the words keep the names of films, or lose them."""


def import_requests(
    path: Path,
    out: Path,
    *,
    catalogue: Path | None = None,
    data_format: RequestFormat | None = None,
    log: LogOptions | None = None,
    interactions: Path | None = None,
    dialogues: DialogueOptions | None = None,
    drop_bad_rows: bool = False,
    on_progress: OnProgress | None = None,
) -> RequestImport:
    """Read what people asked and write it as a file of requests.

    Args:
        path: A file of ReDial's dialogues, or a shop's log.
        out: The file to write, `.jsonl` or `.parquet`; a file of requests that is there is replaced.
        catalogue: The folder of the items (`read_catalogue`); dialogues need it, a log is checked against it.
        data_format: The format; None finds it by the first line.
        log: How a log is read.
        interactions: A folder of atomic files; what a log's people had before is then in the histories too.
        dialogues: How dialogues are read.
        drop_bad_rows: Leave out and count rows that cannot be used; otherwise the first one is the error.
        on_progress: Called with the file and the bytes read so far.

    Raises:
        DataError: a row cannot be used, or no request came out; the message names file and line.
        ConfigError: an option cannot work, or `out` holds something else.
    """
    path, out = Path(path), Path(out)
    check_request_file(out)
    if data_format is not None and data_format not in get_args(RequestFormat):
        raise ConfigError(f"There is no format {data_format!r}. Choose one of {', '.join(get_args(RequestFormat))}.")
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}. Name the file to read.")
    data_format = data_format or _detected(path)
    bad, left_out, unknown = BadRows(drop=drop_bad_rows), Counter[str](), Counter[str]()
    reading = Reading(bad, (lambda done: on_progress(path, done)) if on_progress else None)
    items = None if catalogue is None else read_catalogue(catalogue)
    links: FilmLinks | None = None
    if data_format == "redial":
        if catalogue is None or items is None:
            raise ConfigError(
                "ReDial names films by ids of its own. Name the items that they are linked to with --catalogue: a "
                "MovieLens folder, as published or imported."
            )
        options = dialogues or DialogueOptions()
        links, films = _links(catalogue, items, options), _beside(path, FILMS, options.films)
        requests = read_redial(
            path,
            links,
            reading,
            left_out,
            films=None if films is None else read_films(films),
            keep_names=options.keep_names,
        )
    else:
        past = None if interactions is None else PastItems(interactions)
        requests = read_log(path, log or LogOptions(), reading, left_out, catalogue=items, past=past)
        if items is not None:
            requests = with_known_items(requests, items, unknown)
    counts, conversations = Counter[str](), set[str]()

    def counted(requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            conversations.add(request.conversation)
            counts.update(requests=1, targets=len(request.targets))
            yield request
        if not counts["requests"]:
            reasons = "; ".join(f"{count} {why}" for why, count in (left_out + unknown + bad.counts).items() if count)
            raise DataError(f"{path} gave no request ({reasons or 'no rows'}). Check its columns and --catalogue.")

    write_requests(out, counted(requests), catalogue=items)
    return RequestImport(
        format=data_format,
        file=path.name,
        out=str(out),
        requests=counts["requests"],
        conversations=len(conversations),
        targets=counts["targets"],
        left_out=dict(+left_out),
        linked={} if links is None else dict(links.counts),
        unknown_ids=dict(unknown),
        dropped=dict(bad.counts),
    )


def _links(catalogue: Path, items: Catalogue, options: DialogueOptions) -> FilmLinks:
    links = _beside(catalogue / LINKS, LINKS, options.links)
    return FilmLinks(items, None if links is None else read_links(links))


def _beside(path: Path, name: str, named: Path | None) -> Path | None:
    """The file that was named, or the one of a usual name in the folder of `path`; None where there is none."""
    if named is not None:
        return named
    usual = path.with_name(name)
    return usual if usual.is_file() else None


def _detected(path: Path) -> RequestFormat:
    try:
        first = parse_json(first_line(path))
    except ValueError:
        return "log"
    return "redial" if isinstance(first, dict) and {"messages", "initiatorWorkerId"} <= set(first) else "log"
