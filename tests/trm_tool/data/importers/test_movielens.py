from pathlib import Path

import pytest

from deeprec.trm_tool import DataError, read_atomic_files
from deeprec.trm_tool.data import import_data
from tests.trm_tool.data.samples import (
    MOVIES_100K,
    inter_lines,
    item_lines,
    movie_100k,
    write_1m,
    write_100k,
    write_latest,
)


def test_100k_gives_titles_years_and_genres_with_their_types(tmp_path: Path) -> None:
    report = import_data(write_100k(tmp_path / "ml-100k"), tmp_path / "out")
    assert (report.format, report.interactions_file, report.items_file) == ("ml-100k", "u.data", "u.item")
    data = read_atomic_files(tmp_path / "out")
    assert data.catalogue.attribute_kinds == {"release_year": "number", "genres": "tags"}
    assert data.catalogue.year_attributes == ("release_year",)
    cafe = data.catalogue.item("1")
    assert (cafe.title, cafe.attributes) == ("Café of Sighs", {"release_year": 1971.0, "genres": ("Comedy", "Romance")})
    assert data.catalogue.phrases_of("3") == ("1990s", "animation", "children's", "sci-fi")
    assert data.sequences == {"7": ("5", "4", "3", "2", "1"), "3": ("5", "4", "3", "2", "1")}


def test_100k_quirks_of_titles_and_dates(tmp_path: Path) -> None:
    import_data(write_100k(tmp_path / "ml-100k"), tmp_path / "out")
    lines = {line[0]: line[1:] for line in item_lines(tmp_path / "out")}
    assert lines["2"] == ["Lantern, The", "1988", "Horror"]  # the title's year, not that of the release
    assert lines["3"][:2] == ["Small Robots II", "1996"]  # (1996) (V)
    assert lines["4"] == ["unknown", "", ""]  # no date, and "unknown" is no genre
    assert lines["5"][:2] == ["Nameless Year", "1972"]  # no year in the title: that of the release


def test_100k_that_somebody_converted_to_utf8_is_not_garbled(tmp_path: Path) -> None:
    folder = write_100k(tmp_path / "ml-100k")
    (folder / "u.item").write_text("".join(f"{movie}\n" for movie in MOVIES_100K), encoding="utf-8")
    import_data(folder, tmp_path / "out")
    assert item_lines(tmp_path / "out")[1][1] == "Café of Sighs"


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("u.genre", "Action|1\n", "u.genre must number its genres from 0"),
        ("u.genre", "Action\n", "u.genre:1 is 'Action'; it must be NAME|NUMBER"),
        ("u.genre", "", "u.genre must number its genres"),
        ("u.item", "1|Title|||\n", "u.item:1 has 5 fields separated by '|' in place of 24"),
        ("u.item", movie_100k(1, "A | B (1999)", "") + "\n", "u.item:1 has 25 fields"),
        ("u.item", "", "u.item has no items"),
        ("u.data", "1\t2\t3\n", "u.data:1 has 3 fields separated by '\\t' in place of 4"),
        ("u.data", "1\t2\t3\tNaN\n", "u.data:1 has 'NaN' as time stamp"),
        ("u.data", "1\t2\tgood\t4\n", "u.data:1 has 'good' as rating"),
        ("u.data", "1\t\t3\t4\n", "u.data:1 has no item id"),
        ("u.data", "", "u.data has no interactions"),
        ("u.data", "1\t99\t3\t4\n", "u.data:1 names item '99', which u.item lacks"),
    ],
)
def test_a_bad_line_of_100k_is_named(tmp_path: Path, file: str, content: str, why: str) -> None:
    folder = write_100k(tmp_path / "ml-100k")
    (folder / file).write_text(content, encoding="latin-1")
    with pytest.raises(DataError) as raised:
        import_data(folder, tmp_path / "out")
    assert why in str(raised.value)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ml-100k"]  # nothing half written is left


def test_a_missing_file_of_100k_is_named(tmp_path: Path) -> None:
    folder = write_100k(tmp_path / "ml-100k")
    (folder / "u.genre").unlink()
    with pytest.raises(DataError, match=r"ml-100k lacks u.genre. Name the unpacked folder of ml-100k"):
        import_data(folder, tmp_path / "out")


def test_1m_is_parted_by_double_colons_that_a_title_may_hold_too(tmp_path: Path) -> None:
    report = import_data(write_1m(tmp_path / "ml-1m"), tmp_path / "out")
    assert report.format == "ml-1m"
    catalogue = read_atomic_files(tmp_path / "out").catalogue
    assert catalogue.item("1").title == "Café of Sighs"
    assert catalogue.item("3").title == "Colons :: and More"
    assert catalogue.item("3").attributes == {"release_year": 1996.0, "genres": ("Animation", "Children's", "Sci-Fi")}
    assert inter_lines(tmp_path / "out")[1] == ["7", "5", "3", "900000695"]


def test_the_10m_set_has_the_files_of_1m_in_utf8(tmp_path: Path) -> None:
    import_data(write_1m(tmp_path / "ml-10m", encoding="utf-8"), tmp_path / "out")
    assert item_lines(tmp_path / "out")[1][1] == "Café of Sighs"


def test_a_line_of_1m_without_its_genres_is_named(tmp_path: Path) -> None:
    folder = write_1m(tmp_path / "ml-1m")
    (folder / "movies.dat").write_text("1::Title (1999)\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"movies.dat:1 has 2 fields separated by '::' in place of 3"):
        import_data(folder, tmp_path / "out")


def test_latest_has_quoted_titles_spans_of_years_and_half_stars(tmp_path: Path) -> None:
    report = import_data(write_latest(tmp_path / "ml-latest"), tmp_path / "out")
    assert report.format == "ml-latest"
    lines = {line[0]: line[1:] for line in item_lines(tmp_path / "out")}
    assert lines["1"][0] == "Café of Sighs"
    assert lines["2"][0] == "Lantern, The"
    assert lines["3"] == ["“Great Nights”: Cats", "1998", "Animation Children IMAX"]
    assert lines["4"] == ["Long Series", "2006", "Drama"]
    assert lines["5"] == ["No Year At All", "", ""]
    assert inter_lines(tmp_path / "out")[1] == ["7", "5", "2.5", "900000695"]


def test_latest_without_a_column_is_refused(tmp_path: Path) -> None:
    folder = write_latest(tmp_path / "ml-latest")
    (folder / "ratings.csv").write_text("userId,movieId,timestamp\n1,1,1\n")
    with pytest.raises(DataError, match=r"ratings.csv:1 has no column 'rating'; it has userId, movieId, timestamp"):
        import_data(folder, tmp_path / "out")
