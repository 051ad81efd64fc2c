"""`deeprec trm items`: change the catalogue of an artifact without training again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from deeprec.trm_tool.cli.item_ids import read_ids
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import ArtifactArgument, ColumnOption, JsonOption, TextColumns, is_there, split_names

if TYPE_CHECKING:
    from deeprec.trm_tool.catalogue.catalogue import Catalogue, Item
    from deeprec.trm_tool.trm.retriever import Retriever

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

FileArgument = Annotated[
    Path,
    typer.Argument(
        help="Items with the columns of the catalogue: a RecBole .item file, or CSV, Parquet, JSON or Excel.",
        callback=is_there,
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder to write to: a new one, or ARTIFACT itself.", show_default="ARTIFACT itself")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemColumnOptions:
    """How a file of items is read."""

    item_column: ColumnOption = None
    title_column: ColumnOption = None
    text_columns: TextColumns = None

    def read(self, file: Path, catalogue: "Catalogue", *, whole: bool) -> "tuple[Item, ...]":
        """Read items for a catalogue; see `read_items`."""
        from deeprec.trm_tool.data.columns import ColumnNames
        from deeprec.trm_tool.data.item_file import read_items

        names = ColumnNames(item=self.item_column, title=self.title_column, text=split_names(self.text_columns))
        return read_items(file, catalogue, columns=names, whole=whole)


@app.callback()
def _group() -> None:
    """Add, update and remove items of an artifact, without training again."""


@app.command()
@option_groups
def add(
    artifact: ArtifactArgument,
    file: FileArgument,
    out: Out = None,
    columns: ItemColumnOptions = ItemColumnOptions(),
    as_json: JsonOption = False,
) -> None:
    """Add the items of a file; they are ranked by their text. Items that were removed come back."""
    retriever, before = _load(artifact)
    items = columns.read(file, retriever.catalogue, whole=False)
    retriever.add_items(items)
    _finish(retriever, before, out or artifact, "added", len(items), as_json)


@app.command()
@option_groups
def update(
    artifact: ArtifactArgument,
    file: FileArgument,
    out: Out = None,
    columns: ItemColumnOptions = ItemColumnOptions(),
    as_json: JsonOption = False,
) -> None:
    """Replace title, text and attributes of items by those of a file; the id embeddings stay."""
    retriever, before = _load(artifact)
    items = columns.read(file, retriever.catalogue, whole=True)
    changed = sum(item != retriever.catalogue.item(item.id) for item in items if item.id in retriever.catalogue)
    retriever.update_items(items)
    _finish(retriever, before, out or artifact, "updated", changed, as_json)


@app.command()
def remove(
    artifact: ArtifactArgument,
    item_ids: Annotated[
        list[str],
        typer.Argument(
            help="Ids of items, each an argument of its own; or one @FILE with one id a line.", metavar="ID..."
        ),
    ],
    out: Out = None,
    as_json: JsonOption = False,
) -> None:
    """Take items out of every answer; histories may still hold them."""
    retriever, before = _load(artifact)
    removed = (
        item_ids if len(item_ids) > 1 or not item_ids[0].startswith("@") else read_ids(item_ids, retriever.catalogue)
    )
    retriever.remove_items(removed)
    _finish(retriever, before, out or artifact, "removed", len(set(removed)), as_json)


def _load(artifact: Path) -> tuple["Retriever", str]:
    from deeprec.trm_tool.trm.retriever import Retriever

    retriever = Retriever.load(artifact)
    return retriever, retriever.fingerprint


def _finish(retriever: "Retriever", before: str, out: Path, change: str, count: int, as_json: bool) -> None:
    retriever.save(out)
    removed = len(retriever.catalogue.removed)
    if as_json:
        result = {
            "artifact": str(out),
            change: count,
            "items": len(retriever.catalogue) - removed,
            "removed_items": removed,
            "trm_fingerprint": retriever.fingerprint,
            "changed_from": before,
        }
        print(json.dumps(result, indent=2))
        return
    items = f"{count} {'item' if count == 1 else 'items'} {change}"
    kept = f", and keeps {removed} that were removed for the histories that hold them" if removed else ""
    Console(highlight=False).print(
        Text(
            f"{items}. {out} ranks {len(retriever.catalogue) - removed} items now{kept}. "
            f"Fingerprint {retriever.fingerprint}, was {before}."
        ),
        soft_wrap=True,
    )
