import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.trm_tool import ArtifactError, ConfigError, DataError, Item, Retriever, UnknownItemError
from tests.trm_tool.cli.trm_command import refusal, run

HEADER = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tstudio:token\tprice:float"
NEW = ["n1\tBrazil\t1985\tComedy Sci-Fi\tFox\t9", "n2\tStalker\tV\tDrama\t\t", "n3\t\t1979\t\tMosfilm\tnan"]

WriteItems = Callable[..., Path]


@pytest.fixture
def artifact(artifact_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny artifact that a test may change."""
    return Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))


@pytest.fixture
def write_items(tmp_path: Path) -> WriteItems:
    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "more.item"
        path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")
        return path

    return write


def test_items_of_a_file_are_added_to_the_artifact(artifact: Path, write_items: WriteItems) -> None:
    before = Retriever.load(artifact).fingerprint
    result = run("items", "add", artifact, write_items(*NEW))
    assert result.exit_code == 0, result.exception
    again = Retriever.load(artifact)
    assert (
        result.output
        == f"3 items added. {artifact} ranks 53 items now. Fingerprint {again.fingerprint}, was {before}.\n"
    )
    items = [again.catalogue.item(f"n{number}") for number in (1, 2, 3)]
    assert [item.title for item in items] == ["Brazil", "Stalker", "n3"]
    assert items[0].text == "Brazil. 1985, 1980s. Comedy, Sci-Fi. Fox. price 9"
    assert [item.attributes for item in items[1:]] == [
        {"class": ("Drama",)},
        {"release_year": 1979.0, "studio": "Mosfilm"},
    ]
    assert {"n1", "n2", "n3"} <= {item.id for item in again.retrieve((), "comedy", k=100)}


def test_another_folder_is_written_and_the_first_left_alone(
    artifact: Path, tmp_path: Path, write_items: WriteItems
) -> None:
    before = Retriever.load(artifact).fingerprint
    result = run("items", "add", artifact, write_items(*NEW), "--out", tmp_path / "out", "--json")
    assert json.loads(result.stdout) == {
        "artifact": str(tmp_path / "out"),
        "added": 3,
        "items": 53,
        "removed_items": 0,
        "trm_fingerprint": Retriever.load(tmp_path / "out").fingerprint,
        "changed_from": before,
    }
    assert Retriever.load(artifact).fingerprint == before


def test_items_are_updated_by_a_file(artifact: Path, write_items: WriteItems) -> None:
    result = run("items", "update", artifact, write_items("900\tBrazil\t1985\tComedy Sci-Fi\tFox\t9"), "--json")
    assert result.exit_code == 0, result.exception
    answer = json.loads(result.stdout)
    assert (answer["updated"], answer["items"]) == (1, 50)
    item = Retriever.load(artifact).catalogue.item("900")
    assert (item.title, item.text) == ("Brazil", "Brazil. 1985, 1980s. Comedy, Sci-Fi. Fox. price 9")


def test_a_row_that_is_as_it_was_changes_nothing(artifact: Path, atomic_folder: Path) -> None:
    before = Retriever.load(artifact).fingerprint
    result = run("items", "update", artifact, atomic_folder / "tiny.item", "--json")
    assert result.exit_code == 0, result.exception
    answer = json.loads(result.stdout)
    assert answer["updated"] == 0
    assert answer["trm_fingerprint"] == before


def test_items_are_removed_by_id(artifact: Path) -> None:
    result = run("items", "remove", artifact, "900", "893")
    assert result.exit_code == 0, result.exception
    assert f"2 items removed. {artifact} ranks 48 items now, and keeps 2 that were removed" in result.output
    again = Retriever.load(artifact)
    assert again.catalogue.removed == {"900", "893"}
    assert not {"900", "893"} & {item.id for item in again.retrieve((), k=100)}
    assert json.loads(run("items", "remove", artifact, "886", "--json").stdout)["removed_items"] == 3


def test_a_mistake_is_one_line_and_changes_nothing(artifact: Path, tmp_path: Path, write_items: WriteItems) -> None:
    before = Retriever.load(artifact).fingerprint
    new = write_items(*NEW)
    assert isinstance(refusal("items", "add", tmp_path / "none", new), ArtifactError)
    assert isinstance(refusal("items", "add", artifact, tmp_path / "none.item"), DataError)
    assert isinstance(refusal("items", "add", artifact, new, "--out", new), ConfigError)
    assert isinstance(refusal("items", "update", artifact, new), UnknownItemError)
    assert isinstance(refusal("items", "remove", artifact, "900", "Toy Story"), UnknownItemError)
    assert "already: '900'" in str(refusal("items", "add", artifact, write_items(*NEW, "900\tBrazil\t\t\t\t")))
    assert "more.item:3 repeats item 'n1' of line 2" in str(
        refusal("items", "add", artifact, write_items(NEW[0], NEW[0]))
    )
    assert "more.item:2 has no item id" in str(refusal("items", "add", artifact, write_items(" \tBrazil\t\t\t\t")))
    assert "more.item:2 has 'nine' as price" in str(
        refusal("items", "add", artifact, write_items("n1\tBrazil\t\t\t\tnine"))
    )
    assert "has no column 'title'" in str(refusal("items", "add", artifact, new, "--title-column", "title"))
    assert "no column 'plot'; it has item_id," in str(refusal("items", "add", artifact, new, "--text-columns", "plot"))
    assert Retriever.load(artifact).fingerprint == before


def test_a_column_that_the_catalogue_lacks_is_prose_or_refused(artifact: Path, write_items: WriteItems) -> None:
    header = "item_id:token\tmovie_title:token_seq\tplot:token_seq\tcolour:token\tvector:float_seq"
    file = write_items("n1\tBrazil\tA clerk dreams.\tred\t1 2", header=header)
    why = str(refusal("items", "add", artifact, file))
    assert "has the column 'colour', an attribute that the catalogue lacks; it has release_year, class," in why
    assert run("items", "add", artifact, file, "--text-columns", "colour").exit_code == 0
    assert Retriever.load(artifact).catalogue.item("n1").text == "Brazil. A clerk dreams.. red"


def test_an_update_must_bring_every_column(artifact: Path, write_items: WriteItems) -> None:
    prices = write_items("900\t3", header="item_id:token\tprice:float")
    why = str(refusal("items", "update", artifact, prices))
    assert "has no column 'title'; it has item_id, price, and an update replaces whole items" in why
    titles = write_items("900\tBrazil\t3", header="item_id:token\ttitle:token_seq\tprice:float")
    assert "has no column 'release_year'" in str(refusal("items", "update", artifact, titles))


def test_columns_go_by_the_catalogue_and_not_by_what_few_rows_suggest(artifact: Path, write_items: WriteItems) -> None:
    """Ten rows of which no two share a studio would be prose if they were a catalogue of their own."""
    rows = [f"n{number}\tFilm {number}\t{1980 + number}\tRare{number}\tStudio {number}\t1" for number in range(25)]
    assert run("items", "add", artifact, write_items(*rows)).exit_code == 0
    catalogue = Retriever.load(artifact).catalogue
    assert catalogue.item("n7").attributes == {
        "release_year": 1987.0,
        "class": ("Rare7",),
        "studio": "Studio 7",
        "price": 1.0,
    }


def test_tags_of_several_words_stay_whole(artifact: Path, write_items: WriteItems) -> None:
    """One row shows no separator; that the catalogue's tags hold spaces shows that the space is none."""
    first = write_items("n1\tBrazil\t\tBlack Comedy|Sci-Fi\t\t")
    assert run("items", "add", artifact, first).exit_code == 0
    assert run("items", "add", artifact, write_items("n2\tStalker\t\tSlow Cinema\t\t")).exit_code == 0
    catalogue = Retriever.load(artifact).catalogue
    assert catalogue.item("n1").attributes["class"] == ("Black Comedy", "Sci-Fi")
    assert catalogue.item("n2").attributes["class"] == ("Slow Cinema",)


@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_what_stands_within_a_tag_of_the_catalogue_parts_no_tags(
    artifact: Path, write_items: WriteItems, separator: str
) -> None:
    known = f"Rock{separator} Pop & Soul"
    retriever = Retriever.load(artifact)
    retriever.add_items([Item(id="n0", title="First", attributes={"class": (known,)})])
    retriever.save(artifact)
    rows = [f"n1\tSecond\t\t{known}\t\t", f'n2\tThird\t\t"Folk{separator} Blues"\t\t']
    assert run("items", "add", artifact, write_items(*rows)).exit_code == 0
    catalogue = Retriever.load(artifact).catalogue
    assert catalogue.item("n1").attributes["class"] == (known,)
    assert catalogue.item("n2").attributes["class"] == (f"Folk{separator} Blues",)


def test_other_separators_still_part_tags(artifact: Path, write_items: WriteItems) -> None:
    retriever = Retriever.load(artifact)
    retriever.add_items([Item(id="n0", title="First", attributes={"class": ("Rock, Pop & Soul", "It's")})])
    retriever.save(artifact)
    rows = ["n1\tSecond\t\tRock, Pop & Soul|Folk\t\t", "n2\tThird\t\tIt's\t\t", "n3\tFourth\t\t\t\t"]
    assert run("items", "add", artifact, write_items(*rows)).exit_code == 0
    catalogue = Retriever.load(artifact).catalogue
    assert catalogue.item("n1").attributes["class"] == ("Rock, Pop & Soul", "Folk")
    assert catalogue.item("n2").attributes["class"] == ("It's",)
    assert "class" not in catalogue.item("n3").attributes
