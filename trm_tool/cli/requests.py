"""The commands of `deeprec data` on requests: their import, requests that are made, and the check of a file of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from deeprec.trm_tool.cli.option_groups import SettingsOf, option_groups
from deeprec.trm_tool.cli.options import CatalogueOption, ColumnOptions, JsonOption, notes_replaced, print_json
from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.made_requests.config import MadeRequestConfig
from deeprec.trm_tool.data.requests.importers.importing import RequestFormat
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.text import plain


def import_requests_command(
    source: Annotated[
        Path, typer.Argument(help="Dialogues of ReDial, or a log of a shop: CSV, Parquet or JSON lines.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write: .jsonl, .jsonl.gz or .parquet.")],
    catalogue: CatalogueOption = None,
    data_format: Annotated[
        RequestFormat | None,
        typer.Option("--format", help="What the file is.", show_default="found by its first line"),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="ROLE=NAME, again for each column of a log that is not found: conversation, turn, time, person, "
            "message, targets, shown, chosen, history, where, sender."
        ),
    ] = None,
    interactions: Annotated[
        Path | None,
        typer.Option(help="A folder of RecBole atomic files: what people of a log had before is in the histories too."),
    ] = None,
    last_message: Annotated[
        bool, typer.Option("--last-message", help="The message of a log is what was written last, as in a search box.")
    ] = False,
    delimiter: Annotated[str | None, typer.Option(help="Delimiter of CSV; otherwise found in the header.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the file; otherwise UTF-8.")] = None,
    date_order: Annotated[
        DateOrder | None,
        typer.Option(
            help="Which of day and month stands first in dates of a log such as 1/2/2020.",
            show_default="found from the whole column",
        ),
    ] = None,
    links: Annotated[
        Path | None,
        typer.Option(help="links.csv of MovieLens.", show_default="the one in the catalogue's folder"),
    ] = None,
    films: Annotated[
        Path | None,
        typer.Option(help="Names and IMDb ids of ReDial's films.", show_default="id2info.json beside the dialogues"),
    ] = None,
    names: Annotated[bool, typer.Option(help="Keep the names of films in the words of a dialogue.")] = True,
    drop_bad_rows: Annotated[
        bool, typer.Option("--drop-bad-rows", help="Leave out and count rows that cannot be used.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a file of requests: what people asked in their own words, and what they took.

    In dialogues of ReDial, a turn becomes a request where a film is recommended that nobody named before. In a log, the
    rows of one message become one; what the person took before is the history. Counts say what was left out and why.
    """
    from deeprec.trm_tool.data.reports import reading_bar
    from deeprec.trm_tool.data.requests.importers.importing import DialogueOptions, import_requests
    from deeprec.trm_tool.data.requests.importers.log_columns import LogOptions
    from deeprec.trm_tool.data.requests.reports import show_request_import

    bar = reading_bar(Console(stderr=True, quiet=as_json))
    with notes_replaced(out, "requests"), bar as on_progress:
        report = import_requests(
            source,
            out,
            catalogue=catalogue,
            data_format=data_format,
            log=LogOptions(
                columns=_columns(column),
                delimiter=delimiter,
                encoding=encoding,
                last_message=last_message,
                date_order=date_order,
            ),
            interactions=interactions,
            dialogues=DialogueOptions(links=links, films=films, keep_names=names),
            drop_bad_rows=drop_bad_rows,
            on_progress=on_progress,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        show_request_import(report, catalogue, Console(highlight=False))


def _columns(named: Sequence[str] | None) -> dict[str, str]:
    """Role -> column, of options such as `message=query`."""
    columns: dict[str, str] = {}
    for each in named or ():
        role, equals, name = each.partition("=")
        if not equals or not name or role in columns:
            raise ConfigError(f"--column {each[:60]} is not ROLE=NAME, or names a role again. Try message=query.")
        columns[role] = name
    return columns


@option_groups
def make_requests_command(
    folder: Annotated[Path, typer.Argument(help="A folder of RecBole atomic files, with attributes of items.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .jsonl, .jsonl.gz or .parquet.")],
    settings: Annotated[dict[str, Any], SettingsOf(MadeRequestConfig)],
    columns: ColumnOptions = ColumnOptions(),
    as_json: JsonOption = False,
) -> None:
    """Make requests from attributes of what people took next: for training, and for tests in other words.

    Nobody wrote these messages: they are labelled as made in the file and in every report. No message names its target.
    """
    from deeprec.trm_tool.data.made_requests.request_maker import RequestMaker
    from deeprec.trm_tool.data.requests.request_file import check_request_file, write_requests

    config = MadeRequestConfig(**settings)
    check_request_file(out, made=True)
    dataset = columns.read(folder)
    making = RequestMaker(dataset, config)
    with notes_replaced(out, "made requests"):
        count = write_requests(out, making.make(), catalogue=dataset.catalogue)
    if as_json:
        print_json({"out": str(out), "made": count, "left_out": dict(making.left_out)})
        return
    console = Console(highlight=False)
    left_out = "".join(f"; {number} left out: {reason}" for reason, number in making.left_out.most_common())
    console.print(Text(f"Wrote {out}: {count} MADE requests in {config.words} words{left_out}."), soft_wrap=True)
    for message in making.examples:
        console.print(Text(f"  {plain(message, 200)}"), soft_wrap=True)


def check_requests_file(file: Path, catalogue: Path | None, drop_bad_rows: bool, as_json: bool) -> None:
    """Report on a file of requests; DataError where it has bad rows that are not to be left out."""
    from deeprec.trm_tool.data.catalogue_folder import read_catalogue
    from deeprec.trm_tool.data.requests.check import check_requests
    from deeprec.trm_tool.data.requests.reports import show_requests

    report = check_requests(file, catalogue=None if catalogue is None else read_catalogue(catalogue))
    if as_json:
        print_json(report.to_dict())
    else:
        show_requests(report, Console(highlight=False))
    if report.problems and not drop_bad_rows:
        raise DataError(f"{report.problems[0].first} Correct it, or leave such rows out with --drop-bad-rows.")
