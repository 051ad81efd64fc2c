"""`deeprec data`: import, check and generate data to train on."""

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from deeprec.trm_tool.cli.option_groups import SettingsOf, option_groups
from deeprec.trm_tool.cli.options import (
    MAX_SEED,
    AttributeOption,
    CatalogueOption,
    ColumnOption,
    ColumnOptions,
    JsonOption,
    split_names,
)
from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.importers.detection import Format
from deeprec.trm_tool.data.importers.formats.csv_rows import Quotes
from deeprec.trm_tool.data.made_requests.config import MadeRequestConfig
from deeprec.trm_tool.data.requests.importers.importing import RequestFormat
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.text import plain

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Out = Annotated[Path, typer.Option("--out", help="Folder to write; one that `deeprec data` wrote before is replaced.")]


@app.callback()
def _group() -> None:
    """Import, check and generate the data that a recommender is trained on."""


@app.command("import")
def import_command(
    source: Annotated[
        Path, typer.Argument(help="A folder as it was published, or the file of interactions (CSV, Parquet, JSON).")
    ],
    out: Out,
    data_format: Annotated[
        Format | None,
        typer.Option("--format", help="What the files are.", show_default="found by their names and first lines"),
    ] = None,
    items: Annotated[Path | None, typer.Option(help="The file of items, where SOURCE is a file.")] = None,
    importer: Annotated[
        str | None,
        typer.Option(
            help="A function of your own that reads SOURCE, module:function or path.py:function; see "
            "deeprec.trm_tool.data.Source."
        ),
    ] = None,
    join: Annotated[
        list[str] | None,
        typer.Option(
            help="A table with further columns of items, again for each: tags.csv, or "
            "file=info.json,on=ITEM_COLUMN:FILE_COLUMN,columns=plot+star. Without `on` its rows name items by id."
        ),
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(help="Leave out people and items with fewer interactions, until none is left; 5 in the paper."),
    ] = None,
    max_history: Annotated[
        int | None,
        typer.Option(help="Keep this many items before the last one of each person, the latest; 20 in the paper."),
    ] = None,
    min_rating: Annotated[float | None, typer.Option(help="Leave out what is rated lower, or not at all.")] = None,
    drop_bad_rows: Annotated[
        bool, typer.Option("--drop-bad-rows", help="Leave out and count rows that cannot be used.")
    ] = False,
    user_column: ColumnOption = None,
    item_column: ColumnOption = None,
    time_column: ColumnOption = None,
    title_column: ColumnOption = None,
    item_key: Annotated[
        str | None,
        typer.Option(
            help="The item's id in the file of items.", show_default="as in the interactions, a usual name, or id"
        ),
    ] = None,
    rating_column: ColumnOption = None,
    rating_value: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT=NUMBER", help="What a text in the column of ratings is worth. May be repeated."),
    ] = None,
    event_column: ColumnOption = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=WEIGHT]",
            help="A kind of event that stays, such as purchase; a weight becomes its rating. May be repeated.",
            show_default="all but those that undo another, such as remove",
        ),
    ] = None,
    order_by_file: Annotated[
        bool, typer.Option("--order-by-file", help="There are no times: the order of the rows is that of time.")
    ] = False,
    header: Annotated[
        str | None, typer.Option(help="Names of the columns of CSV without a header, separated by commas.")
    ] = None,
    items_header: Annotated[str | None, typer.Option(help="The same for the file of items.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Delimiter of CSV; otherwise found in the header.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of CSV; otherwise UTF-8.")] = None,
    quotes: Annotated[
        Quotes | None,
        typer.Option(
            help="How CSV writes quotes inside quoted fields; with none, quotes are plain text.",
            show_default="found from the whole file",
        ),
    ] = None,
    date_order: Annotated[
        DateOrder | None,
        typer.Option(
            help="Which of day and month stands first in dates such as 1/2/2020.",
            show_default="found from the whole column",
        ),
    ] = None,
    attribute: AttributeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write RecBole atomic files from MovieLens, Amazon Reviews, CSV, Parquet, or a format of your own.

    MovieLens: the unpacked folder of 100K, 1M, latest or 25M. Amazon Reviews 2018 or 2023: a folder with one file of
    reviews and one of metadata, also packed. A person's repeats of an item are left out (the first stays), and so are
    people with fewer than 3 interactions.
    """
    from deeprec.trm_tool.data.column_kinds import parse_kinds
    from deeprec.trm_tool.data.columns import ColumnNames
    from deeprec.trm_tool.data.importers.importing import import_data
    from deeprec.trm_tool.data.importers.interaction_table import parse_meanings
    from deeprec.trm_tool.data.importers.interactions import FilterConfig
    from deeprec.trm_tool.data.importers.item_joins import ItemJoin
    from deeprec.trm_tool.data.importers.own_importer import load_importer
    from deeprec.trm_tool.data.importers.own_tables import TableOptions
    from deeprec.trm_tool.data.reports import reading_bar, show_import

    filters = FilterConfig(k_core=k_core, max_history=max_history, min_rating=min_rating)
    columns = ColumnNames(
        user=user_column,
        item=item_column,
        time=time_column,
        title=title_column,
        kinds=parse_kinds(attribute or ()),
    )
    with reading_bar(Console(stderr=True, quiet=as_json)) as on_progress:
        report = import_data(
            source,
            out,
            data_format=data_format,
            items=items,
            options=TableOptions(
                columns=columns,
                item_key=item_key,
                rating=rating_column,
                event=event_column,
                meanings=parse_meanings(rating_value or (), event or ()),
                order_by_file=order_by_file,
                header=split_names(header) or None,
                items_header=split_names(items_header) or None,
                delimiter=delimiter,
                encoding=encoding,
                quotes=quotes,
                date_order=date_order,
            ),
            filters=filters,
            drop_bad_rows=drop_bad_rows,
            on_progress=on_progress,
            importer=load_importer(importer) if importer else None,
            joins=[ItemJoin.parse(each) for each in join or ()],
        )
    if as_json:
        _print_json(report.to_dict())
    else:
        show_import(report, Console(highlight=False))


@app.command("check")
@option_groups
def check_command(
    folder: Annotated[Path, typer.Argument(help="A folder of RecBole atomic files, or a file of requests.")],
    catalogue: CatalogueOption = None,
    columns: ColumnOptions = ColumnOptions(),
    plots: Annotated[
        bool, typer.Option("--plots", help="Also draw how interactions spread over time and items.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Report what is in the data, what weakens it, and whether `deeprec trm train` takes it with the same options."""
    from deeprec.trm_tool.data.check import check_data
    from deeprec.trm_tool.data.reports import show_check

    if folder.is_file():
        _check_requests(folder, catalogue, columns.drop_bad_rows, as_json)
        return
    if catalogue is not None and folder.is_dir():
        raise ConfigError(f"--catalogue goes with a file of requests, and {folder} is a folder. Leave it out.")
    report = check_data(folder, columns=columns.names(), drop_bad_rows=columns.drop_bad_rows)
    if as_json:
        _print_json(report.to_dict())
    else:
        show_check(report, Console(highlight=False), plots=plots)
    if not report.trainable:
        raise DataError(report.advice)


@app.command("generate-shop")
def generate_shop_command(
    out: Out,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same shop.")] = 0,
    products: Annotated[int, typer.Option(help="Products in the catalogue.")] = 2000,
    people: Annotated[int, typer.Option(help="Simulated people.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Generate a synthetic shop: made-up products, and simulated people with tastes of their own.

    It is for constraints, conversations and demonstrations; figures on it are no measure of quality.
    """
    from deeprec.trm_tool.data.generated_shop.generator import ShopConfig, generate_shop

    report = generate_shop(out, ShopConfig(seed=seed, products=products, people=people))
    if as_json:
        _print_json(report.to_dict())
        return
    console = Console(highlight=False)
    console.print(
        Text(
            f"Wrote {report.out}: a SYNTHETIC shop (seed {report.seed}) with {report.products} made-up products and "
            f"{report.interactions} interactions of {report.people} simulated people."
        ),
        soft_wrap=True,
    )
    console.print(Text("For example:"))
    for line in report.examples:
        console.print(Text(f"  {plain(line, 200)}"), soft_wrap=True)
    console.print(Text(f"Train on it: deeprec trm train --data {quote(report.out)} --out ARTIFACT"), soft_wrap=True)


@app.command("import-requests")
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

    with reading_bar(Console(stderr=True, quiet=as_json)) as on_progress:
        report = import_requests(
            source,
            out,
            catalogue=catalogue,
            data_format=data_format,
            log=LogOptions(columns=_columns(column), delimiter=delimiter, encoding=encoding, last_message=last_message),
            interactions=interactions,
            dialogues=DialogueOptions(links=links, films=films, keep_names=names),
            drop_bad_rows=drop_bad_rows,
            on_progress=on_progress,
        )
    if as_json:
        _print_json(report.to_dict())
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


@app.command("make-requests")
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
    from deeprec.trm_tool.data.atomic_files import read_atomic_files
    from deeprec.trm_tool.data.made_requests.request_maker import RequestMaker
    from deeprec.trm_tool.data.requests.request_file import check_request_file, write_requests

    config = MadeRequestConfig(**settings)
    check_request_file(out)
    dataset = read_atomic_files(folder, columns=columns.names(), drop_bad_rows=columns.drop_bad_rows)
    making = RequestMaker(dataset, config)
    count = write_requests(out, making.make(), catalogue=dataset.catalogue)
    if as_json:
        _print_json({"out": str(out), "made": count, "left_out": dict(making.left_out)})
        return
    console = Console(highlight=False)
    left_out = "".join(f"; {number} left out: {reason}" for reason, number in making.left_out.most_common())
    console.print(Text(f"Wrote {out}: {count} MADE requests in {config.words} words{left_out}."), soft_wrap=True)
    for message in making.examples:
        console.print(Text(f"  {plain(message, 200)}"), soft_wrap=True)


def _check_requests(file: Path, catalogue: Path | None, drop_bad_rows: bool, as_json: bool) -> None:
    from deeprec.trm_tool.data.catalogue_folder import read_catalogue
    from deeprec.trm_tool.data.requests.check import check_requests
    from deeprec.trm_tool.data.requests.reports import show_requests

    report = check_requests(file, catalogue=None if catalogue is None else read_catalogue(catalogue))
    if as_json:
        _print_json(report.to_dict())
    else:
        show_requests(report, Console(highlight=False))
    if report.problems and not drop_bad_rows:
        raise DataError(f"{report.problems[0].first} Correct it, or leave such rows out with --drop-bad-rows.")


def _print_json(report: dict[str, Any]) -> None:
    print(json.dumps(report, indent=2, allow_nan=False))
