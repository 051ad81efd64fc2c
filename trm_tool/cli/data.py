"""`deeprec data`: import, check and generate data to train on."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import (
    MAX_SEED,
    AttributeOption,
    CatalogueOption,
    ColumnOption,
    ColumnOptions,
    JsonOption,
    notes_replaced,
    print_json,
    split_names,
)
from deeprec.trm_tool.cli.requests import check_requests_file, import_requests_command, make_requests_command
from deeprec.trm_tool.data.dates import DateOrder
from deeprec.trm_tool.data.importers.detection import Format
from deeprec.trm_tool.data.importers.formats.csv_rows import Quotes
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
    with notes_replaced(out, "data"), reading_bar(Console(stderr=True, quiet=as_json)) as on_progress:
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
        print_json(report.to_dict())
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
        if columns.dropped_rows is not None:
            raise ConfigError(
                f"--dropped-rows goes with a folder of atomic files, and {folder} is a file. Leave it out."
            )
        check_requests_file(folder, catalogue, columns.drop_bad_rows, as_json)
        return
    if not folder.exists() and (catalogue is not None or folder.suffix):
        raise DataError(
            f"{folder} does not exist. Name a folder of atomic files (`deeprec data import` writes one), or a file of "
            "requests (`deeprec data import-requests` writes one)."
        )
    if catalogue is not None and folder.is_dir():
        raise ConfigError(f"--catalogue goes with a file of requests, and {folder} is a folder. Leave it out.")
    report = check_data(
        folder,
        columns=columns.names(),
        drop_bad_rows=columns.drop_bad_rows,
        dropped_rows=columns.dropped_file(),
    )
    if as_json:
        print_json(report.to_dict())
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

    with notes_replaced(out, "data"):
        report = generate_shop(out, ShopConfig(seed=seed, products=products, people=people))
    if as_json:
        print_json(report.to_dict())
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


app.command("import-requests")(import_requests_command)
app.command("make-requests")(make_requests_command)
