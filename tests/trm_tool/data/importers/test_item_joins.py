"""Items take further columns from other tables: by id, by another column, or by title and year."""

import json
from pathlib import Path

import pytest

from deeprec.trm_tool import Catalogue, ConfigError, DataError, read_atomic_files
from deeprec.trm_tool.data import ImportReport, import_data
from deeprec.trm_tool.data.importers.item_joins import MAX_TAGS, ItemJoin

FILMS = "movieId,title,genres\n1,Lantern (1988),Horror\n2,Small Robots (1996),Animation|Sci-Fi\n3,Quiet (1999),Drama\n"
RATINGS = "userId,movieId,rating,timestamp\n" + "".join(f"{u},{m},4,{u * 10 + m}\n" for u in (1, 2) for m in (1, 2, 3))
LINKS = "movieId,imdbId,tmdbId\n1,0000011,5\n2,0000022,6\n3,0000033,7\n"
TAGS = "userId,movieId,tag,timestamp\n1,1,spooky,5\n2,1,Spooky cellar,6\n3,1,spooky,7\n1,2,robots,8\n"
INFO = {
    "900": {"name": "The Lantern (1988)", "plot": "A light goes out.", "star": ["Ada A"], "imdb_id": "tt0000011"},
    "901": {"name": "Small Robots! (1996)", "plot": "Two robots, and a garden.", "star": [], "imdb_id": "tt0000022"},
    "902": {"name": "Nobody (2001)", "plot": "Nothing.", "star": ["Bo B"], "imdb_id": None},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("movies.csv", FILMS), ("ratings.csv", RATINGS), ("links.csv", LINKS), ("tags.csv", TAGS)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "info.json").write_text(json.dumps(INFO), encoding="utf-8")
    return tmp_path


def joined(folder: Path, *joins: str) -> tuple[ImportReport, Catalogue]:
    """The import of the folder's films with further tables, named as on the command line, in that folder."""
    parsed = [ItemJoin.parse(each.replace("file=", f"file={folder}/")) for each in joins]
    report = import_data(folder, folder / "out", joins=parsed)
    return report, read_atomic_files(folder / "out").catalogue


def test_rows_of_one_item_become_tags_the_most_frequent_first(folder: Path) -> None:
    report, _ = joined(folder, "file=tags.csv")
    assert "tags.csv: tag joined to 2 items (2 in the file)." in report.notes
    text = (folder / "out" / "out.item").read_text(encoding="utf-8")
    assert "spooky|Spooky cellar|" in text
    assert "\trobots|" in text
    assert "timestamp" not in text


def test_a_table_is_joined_through_the_columns_of_another(folder: Path) -> None:
    report, catalogue = joined(folder, "file=links.csv", "file=info.json,on=imdbId:imdb_id,columns=plot+star")
    assert "info.json: plot, star joined to 2 items (2 in the file)." in report.notes
    assert "A light goes out." in catalogue.item("1").text
    assert "Two robots, and a garden." in catalogue.item("2").text
    assert "garden" not in catalogue.item("3").text


def test_titles_match_without_case_and_punctuation_but_with_their_year(folder: Path) -> None:
    other = {"1": {"name": "SMALL ROBOTS! (1996)", "plot": "Found."}, "2": {"name": "Quiet (2012)", "plot": "Another."}}
    (folder / "other.json").write_text(json.dumps(other), encoding="utf-8")
    _, catalogue = joined(folder, "file=other.json,on=title:name,columns=plot")
    assert "Found." in catalogue.item("2").text
    assert "Another." not in catalogue.item("3").text


def test_columns_come_in_the_order_in_which_they_are_named(folder: Path) -> None:
    joined(folder, "file=links.csv", "file=info.json,on=imdbId:imdb_id,columns=star+plot")
    header = (folder / "out" / "out.item").read_text(encoding="utf-8").splitlines()[0]
    assert header.index("star:") < header.index("plot:")


def test_a_table_has_an_encoding_and_a_delimiter_of_its_own(folder: Path) -> None:
    (folder / "plots.csv").write_text("movieId;plot\n1;Ein Löwe, allein\n", encoding="latin-1")
    _, catalogue = joined(folder, "file=plots.csv,encoding=latin-1,delimiter=;")
    assert "Ein Löwe, allein" in catalogue.item("1").text


def test_many_values_of_one_item_are_bounded(folder: Path) -> None:
    rows = "".join(f"1,1,tag {number},5\n" for number in range(100))
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\n" + rows, encoding="utf-8")
    joined(folder, "file=tags.csv")
    assert (folder / "out" / "out.item").read_text(encoding="utf-8").count("tag ") == MAX_TAGS


@pytest.mark.parametrize(
    ("join", "why"),
    [
        ("file=links.csv,on=imdb:imdbId", "movies.csv has no column 'imdb' to join links.csv on; it has title"),
        ("file=links.csv,columns=plot", "links.csv has no column 'plot'; it has movieId, imdbId, tmdbId"),
        ("file=movies.csv", "both have a column 'title'"),
        ("file=none.csv", "none.csv"),
        ("file=empty.json", "is JSON of another form"),
        ("file=broken.json", "broken.json is not JSON"),
    ],
)
def test_what_cannot_be_joined_is_named(folder: Path, join: str, why: str) -> None:
    (folder / "empty.json").write_text("[]", encoding="utf-8")
    (folder / "broken.json").write_text("{" * 5000, encoding="utf-8")
    with pytest.raises(DataError, match=why):
        joined(folder, join)


@pytest.mark.parametrize("text", ["file=,on=a", "file=x.csv,by=a", "a.csv,b.csv", ""])
def test_an_option_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not FILE or file=FILE"):
        ItemJoin.parse(text)
