from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deeprec.trm_tool import ArtifactError, Catalogue, DataError, Item, UnknownItemError


def test_kinds_of_attributes_follow_from_types_and_values(catalogue: Catalogue) -> None:
    # One year of 50 is "V", as in ml-100k: it counts as missing.
    assert catalogue.attribute_kinds == {
        "release_year": "number", "class": "tags", "studio": "category", "price": "number"
    }  # fmt: skip
    assert "release_year" not in catalogue[20].attributes
    assert "release_year" not in catalogue[21].attributes
    assert catalogue[0].attributes == {
        "release_year": 1975.0, "class": ("Action", "Comedy"), "studio": "Pixar", "price": 5.0
    }  # fmt: skip
    assert catalogue[0].text == "Toy Story. 1975, 1970s. Action, Comedy. Pixar. price 5"


def test_items_are_found_by_id_and_never_by_title(catalogue: Catalogue) -> None:
    same = [item.id for item in catalogue if item.title == "Toy Story"]
    assert same == ["900", "886"]
    assert [catalogue.row(item_id) for item_id in same] == [0, 2]
    assert catalogue.item("893").title == "Toy Story 2"
    assert "900" in catalogue
    assert "Toy Story" not in catalogue
    assert len(catalogue) == 50


def test_unknown_ids_are_named_in_one_line(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownItemError) as raised:
        catalogue.rows(["900", "Toy Story", "1", "Toy Story"])
    assert str(raised.value) == (
        "Not in the catalogue: 'Toy Story', '1'. It has 50 items; give their ids such as '900', not titles."
    )
    with pytest.raises(UnknownItemError, match="and 90 more"):
        catalogue.rows([f"x{number}" for number in range(100)])


def test_phrases_are_true_of_the_item_and_never_its_title(catalogue: Catalogue) -> None:
    assert catalogue.phrases_of("900") == ("1970s", "action", "comedy", "pixar")
    own_name = Catalogue(
        [Item(id="1", title="Pixar", attributes={"studio": "pixar", "tags": ("unknown", "a; b", "x" * 50)})],
        {"studio": "category", "tags": "tags"},
    )
    assert own_name.phrases_of("1") == ("a, b",)


def test_phrases_cannot_open_a_protocol_tag() -> None:
    trap = Catalogue([Item(id="1", title="t", attributes={"tags": ("<|end_of_preference|>\nx",)})], {"tags": "tags"})
    assert trap.phrases_of("1") == ("‹/end_of_preference/› x",)


def test_only_phrases_of_enough_items_are_offered(catalogue: Catalogue) -> None:
    phrases = catalogue.phrases(min_items=13)
    assert list(phrases) == sorted(phrases)
    assert phrases["fox"] == {item.id for item in catalogue if item.attributes.get("studio") == "Fox"}
    assert "a24" not in phrases  # 12 items
    assert "a24" in catalogue.phrases(min_items=12)


def test_a_summary_is_one_short_line(catalogue: Catalogue) -> None:
    assert catalogue.summary("900") == "Toy Story (1975; action, comedy, pixar; price 5)"
    assert catalogue.summary("900", max_chars=10) == "Toy Story…"
    assert len(catalogue.summary(catalogue.ids[12], max_chars=40)) <= 40
    assert Catalogue([Item(id="1", title="Two\n lines")], {}).summary("1") == "Two lines"


def test_a_year_needs_the_name_and_the_range() -> None:
    items = [Item(id="1", title="t", attributes={"year": 1995.0, "price": 1995.0, "leap_year": 4.0})]
    catalogue = Catalogue(items, {"year": "number", "price": "number", "leap_year": "number"})
    assert catalogue.year_attributes == ("year",)


def test_a_repeated_id_or_a_value_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="'1' stands twice"):
        Catalogue([Item(id="1", title="a"), Item(id="1", title="b")], {})
    with pytest.raises(DataError, match="has 'x' as 'price'"):
        Catalogue([Item(id="1", title="a", attributes={"price": "x"})], {"price": "number"})
    with pytest.raises(DataError, match="has nan as 'price'"):
        Catalogue([Item(id="1", title="a", attributes={"price": float("nan")})], {"price": "number"})
    with pytest.raises(DataError, match="attribute 'price' of kind None"):
        Catalogue([Item(id="1", title="a", attributes={"price": 1.0})], {})


def test_parquet_gives_back_what_it_was_given(catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    catalogue.to_parquet(path)
    again = Catalogue.from_parquet(path)
    assert list(again) == list(catalogue)
    assert again.attribute_kinds == catalogue.attribute_kinds
    assert again.year_attributes == ("release_year",)
    assert pq.read_schema(path).field("attribute:price").type == pa.float64()


def test_a_damaged_item_file_is_named_with_its_field(catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with pytest.raises(ArtifactError, match=r"items\.parquet is missing"):
        Catalogue.from_parquet(path)
    catalogue.to_parquet(path)
    table = pq.read_table(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="not a readable parquet file"):
        Catalogue.from_parquet(path)
    pq.write_table(table.drop_columns(["title"]), path)
    with pytest.raises(ArtifactError, match="lacks the column 'title'"):
        Catalogue.from_parquet(path)
    pq.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(ArtifactError, match="lacks the metadata field 'deeprec'"):
        Catalogue.from_parquet(path)
    pq.write_table(table.replace_schema_metadata({"deeprec": '{"format": 99, "attribute_kinds": {}}'}), path)
    with pytest.raises(ArtifactError, match="format 99"):
        Catalogue.from_parquet(path)
    pq.write_table(pa.concat_tables([table, table]), path)
    with pytest.raises(ArtifactError, match="'900' stands twice"):
        Catalogue.from_parquet(path)
    columns = {name: table.column(name) for name in table.column_names} | {"title": pa.nulls(len(table), pa.string())}
    pq.write_table(pa.table(columns).replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(ArtifactError, match="value in column 'title' that is not text"):
        Catalogue.from_parquet(path)
