"""Items to add or update are read by what the catalogue was made of, however few rows there are."""

import json
from pathlib import Path

import pandas as pd
import pytest

from deeprec.trm_tool import Catalogue, DataError, Item
from deeprec.trm_tool.data.item_file import read_items


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """A catalogue whose items had two columns of prose, as it comes back from its file."""
    items = [Item(id=f"f{n}", title=f"Film {n}", attributes={"genres": ("Drama",)}) for n in range(3)]
    made = Catalogue(items, {"genres": "tags"}, text_columns=("plot", "keywords"))
    made.to_parquet(tmp_path / "items.parquet")
    return Catalogue.from_parquet(tmp_path / "items.parquet")


def test_one_row_is_read_as_the_catalogue_was(catalogue: Catalogue, tmp_path: Path) -> None:
    file = tmp_path / "new.item"
    header = "item_id:token\ttitle:token_seq\tkeywords:token_seq\tgenres:token_seq\tplot:token_seq"
    file.write_text(f"{header}\n9\tAlien\tspace ship\tHorror\tA crew.\n", encoding="utf-8")
    [item] = read_items(file, catalogue)
    assert item.attributes == {"genres": ("Horror",)}
    assert item.text == "Alien. Horror. A crew.. space ship"


def test_tables_are_read_as_at_the_import(tmp_path: Path) -> None:
    kinds = {"genres": "tags", "price": "number", "released": "category"}
    known = {"genres": ("Slow Cinema",), "price": 3.0, "released": "1999-05-01"}
    film = Item(id="f1", title="Film", attributes=known)
    catalogue = Catalogue([film], kinds, text_columns=("plot",))  # type: ignore[arg-type]
    rows = [
        {"id": 7, "plot": "A crew, lost.", "name": "Alien", "genres": "Horror, Sci-Fi", "price": "1.299,00 €"}
        | {"released": "25.05.1979"}
    ]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "new.csv", index=False)
    frame.to_parquet(tmp_path / "new.parquet")
    (tmp_path / "new.jsonl").write_text(json.dumps(rows[0]), encoding="utf-8")
    for name in ("new.csv", "new.parquet", "new.jsonl"):
        [item] = read_items(tmp_path / name, catalogue)
        assert (item.id, item.title) == ("7", "Alien")
        assert item.attributes == {"genres": ("Horror", "Sci-Fi"), "price": 1299.0, "released": "1979-05-25"}
        assert item.text.endswith("A crew, lost.")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id,title,price\n1,Film,dear\n", "new.csv has 1 values of 'price' that cannot be read as number"),
        ("id,title\n1,Film\n1,Film\n", "new.csv:3 repeats item '1' of line 2"),
        ("title,price\nFilm,3\n", "--item-key|--item-column"),
        ("id,title\n,Film\n", "new.csv:2 has no item id"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, text: str, why: str) -> None:
    catalogue = Catalogue([], {"price": "number"})
    (tmp_path / "new.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=why):
        read_items(tmp_path / "new.csv", catalogue)
    with pytest.raises(DataError, match="does not exist"):
        read_items(tmp_path / "none.csv", catalogue)
