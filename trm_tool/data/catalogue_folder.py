"""The catalogue that a folder holds: an artifact, a folder of atomic files, or a data set as it was published."""

from pathlib import Path

from deeprec.trm_tool.catalogue.catalogue import Catalogue, Item
from deeprec.trm_tool.data.atomic_files import read_atomic_files
from deeprec.trm_tool.data.importers.detection import find_source
from deeprec.trm_tool.data.importers.item_values import TITLE
from deeprec.trm_tool.data.importers.lines import BadRows, Reading
from deeprec.trm_tool.errors import DataError

_YEAR = "release_year"


def read_catalogue(folder: Path) -> Catalogue:
    """Read the items of a folder, and none of its interactions where they can be left out.

    Args:
        folder: A recommender's artifact, a folder of RecBole atomic files, or a published data set with a file of
            items, such as MovieLens; the last gives ids, titles and years only.

    Raises:
        DataError: the folder holds no items.
        ArtifactError: the artifact's items cannot be read.
    """
    folder = Path(folder)
    if (folder / "items.parquet").is_file() and (folder / "config.json").is_file():
        return Catalogue.from_parquet(folder / "items.parquet")
    if folder.is_dir() and any(folder.glob("*.item")) and any(folder.glob("*.inter")):
        return read_atomic_files(folder, drop_bad_rows=True).catalogue
    file = find_source(folder).items
    if file is None:
        raise DataError(f"{folder} has no file of items. Name a folder of `deeprec data import`, or an artifact.")
    names = [name for name, _ in file.columns]
    items: dict[str, Item] = {}
    for _, item_id, values in file.read(Reading(BadRows(drop=True))):
        row = dict(zip(names, values, strict=True))
        year = row.get(_YEAR)
        attributes = {_YEAR: float(year)} if isinstance(year, int | float) else {}
        items.setdefault(item_id, Item(id=item_id, title=str(row.get(TITLE) or item_id), attributes=attributes))
    return Catalogue(items.values(), {_YEAR: "number"})
