"""Items to add or update are read by what the catalogue was made of, however few rows there are."""

from pathlib import Path

import pytest

from deeprec.trm_tool import Catalogue, Item
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


def test_a_catalogue_that_does_not_know_its_columns_of_prose_says_so() -> None:
    assert Catalogue([], {}).text_columns is None
