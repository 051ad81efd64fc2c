import json
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from deeprec.trm_tool import (
    ArtifactError,
    Catalogue,
    ConfigError,
    DataError,
    HashingEncoder,
    Item,
    Query,
    Retrieved,
    Retriever,
    UnknownItemError,
    load_artifact,
)
from deeprec.trm_tool.trm.id_embedding_estimates import expected_ids
from tests.counting_encoder import CountingEncoder

HISTORY = ("900", "893", "753")
NEW = Item(
    id="n1",
    title="Brazil",
    attributes={"release_year": 1985.0, "class": ("Comedy", "Sci-Fi"), "studio": "Fox", "price": 9.0},
)
OTHER = Item(id="n2", title="Stalker", attributes={"release_year": 1979.0, "class": ("Drama",)})


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def changed(artifact_folder: Path, encoder: CountingEncoder) -> Retriever:
    """A retriever of its own, which the test may change."""
    return Retriever.load(artifact_folder, encoder)


def ids(found: Retrieved) -> list[str]:
    return [item.id for item in found]


def answers(retriever: Retriever) -> list[Retrieved]:
    """Whole rankings for every kind of query; equal catalogues give equal ones."""
    queries = [Query(history=h, preference=p) for h in ((), HISTORY, HISTORY[:1]) for p in (None, "comedy; 1980s")]
    return retriever.retrieve_batch(queries, k=1000)


def assert_same(first: Sequence[Retrieved], second: Sequence[Retrieved]) -> None:
    for one, two in zip(first, second, strict=True):
        assert ids(one) == ids(two)
        assert [item.score for item in one] == pytest.approx([item.score for item in two], abs=1e-6)


class TestAdding:
    def test_a_new_item_is_found_at_once(self, changed: Retriever) -> None:
        changed.add_items([NEW, OTHER])
        assert len(changed.catalogue) == 52
        for found in answers(changed):
            assert {"n1", "n2"} <= set(ids(found))
        assert ids(changed.retrieve((), k=100, where={"release_year": {"in": [1979]}, "class": {"in": ["drama"]}})) == [
            item.id
            for item in changed.catalogue
            if item.attributes.get("release_year") == 1979.0 and "Drama" in item.attributes["class"]  # type: ignore[operator]
        ]
        assert changed.catalogue.phrases_of("n1") == ("1980s", "comedy", "sci-fi", "fox")

    def test_its_score_is_that_of_its_text_beside_the_id_that_the_text_lets_expect(
        self, changed: Retriever, artifact_folder: Path
    ) -> None:
        changed.add_items([NEW, OTHER])
        artifact = load_artifact(artifact_folder)
        model = artifact.model
        text = "Brazil. 1985, 1980s. Comedy, Sci-Fi. Fox. price 9"
        assert changed.catalogue.item("n1").text == text
        encoded = torch.from_numpy(HashingEncoder().encode([text]))
        expected = expected_ids(model, artifact.popularity, encoded)
        vector = F.normalize(expected + model.adapt_text(encoded), dim=-1)[0]
        rows = torch.full((1, 8), -1)
        rows[0, :3] = torch.from_numpy(artifact.catalogue.rows(HISTORY))
        (score,) = [item.score for item in changed.retrieve(HISTORY, k=100) if item.id == "n1"]
        assert score == pytest.approx(float(model.query(rows)[0] @ vector), abs=1e-6)

    def test_old_items_keep_their_scores_and_nobody_is_more_popular_for_it(
        self, changed: Retriever, retriever: Retriever
    ) -> None:
        changed.add_items([NEW, OTHER])
        without = [Retrieved([item for item in found if item.id not in ("n1", "n2")]) for found in answers(changed)]
        assert_same(without, answers(retriever))
        popular = changed.retrieve((), k=100)
        assert [(item.id, item.score) for item in popular][-2:] == [("n1", 0.0), ("n2", 0.0)]

    def test_a_history_may_hold_it(self, changed: Retriever) -> None:
        changed.add_items([NEW, OTHER])
        with_one, with_other = (changed.retrieve([*HISTORY, new], k=100) for new in ("n1", "n2"))
        assert "n1" not in ids(with_one)
        assert len(with_one) == 48
        assert [item for item in with_one if item.id != "n2"] != [item for item in with_other if item.id != "n1"]

    def test_only_new_texts_are_encoded(self, changed: Retriever, encoder: CountingEncoder) -> None:
        changed.add_items([NEW, Item(id="n3", title="Given", text="my own words")])
        assert encoder.encoded == ["Brazil. 1985, 1980s. Comedy, Sci-Fi. Fox. price 9", "my own words"]
        before = changed.fingerprint
        changed.add_items([])
        assert changed.fingerprint == before

    def test_one_bad_item_changes_nothing(self, changed: Retriever, encoder: CountingEncoder) -> None:
        before, catalogue = changed.fingerprint, changed.catalogue
        with pytest.raises(DataError, match="In the catalogue already: '900', '893'"):
            changed.add_items([NEW, changed.catalogue.item("900"), changed.catalogue.item("893")])
        with pytest.raises(DataError, match=r"already: .* and 2 more\. Nothing was added"):
            changed.add_items(list(changed.catalogue)[:12])
        assert (changed.fingerprint, changed.catalogue) == (before, catalogue)
        assert encoder.encoded == []

    def test_numbers_and_lists_are_taken_as_people_write_them(self, changed: Retriever) -> None:
        attributes: dict[str, Any] = {"release_year": 1985, "class": ["Comedy"], "studio": "", "price": np.float32(2)}
        changed.add_items([Item(id="n1", title="\x00\x07", attributes=attributes)])
        item = changed.catalogue.item("n1")
        assert item.attributes == {"release_year": 1985.0, "class": ("Comedy",), "price": 2.0}
        assert all(type(item.attributes[name]) is float for name in ("release_year", "price"))
        assert item.title == "n1"  # nothing of the title can be read


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (Item(id="", title="t"), "An item has the id ''"),
        (Item(id=" n", title="t"), "An item has the id ' n'"),
        (Item(id="a\x1b[31m", title="t"), r"An item has the id 'a\x1b[31m'"),
        (Item(id=7, title="t"), "An item has the id 7, which is not text"),  # type: ignore[arg-type]
        (Item(id=["n"], title="t"), "An item has the id ['n']"),  # type: ignore[arg-type]
        (Item(id="n", title=None), "Item 'n' has None as 'title'"),  # type: ignore[arg-type]
        (Item(id="n", title="a\ud800"), "lone surrogate) in 'title'"),
        (Item(id="n", title="t", attributes={"class": ("\udfff",)}), "lone surrogate) in 'class'"),
        (Item(id="n", title="t", attributes={"colour": "red"}), "'n' has an attribute 'colour', which the catalogue"),
        (Item(id="n", title="t", attributes={"price": float("nan")}), "'n' has nan as 'price', which takes a finite"),
        (Item(id="n", title="t", attributes={"price": float("inf")}), "'n' has inf as 'price'"),
        (Item(id="n", title="t", attributes={"price": 10**400}), "'n' has 1000"),
        (Item(id="n", title="t", attributes={"price": True}), "'n' has True as 'price'"),
        (Item(id="n", title="t", attributes={"price": "9"}), "'n' has '9' as 'price'"),
        (Item(id="n", title="t", attributes={"class": "Comedy"}), "'n' has 'Comedy' as 'class', which takes several"),
        (Item(id="n", title="t", attributes={"class": (1.0,)}), "'n' has (1.0,) as 'class'"),  # type: ignore[dict-item]
        (
            Item(id="n", title="t", attributes={"class": np.array(["Comedy", "Drama"])}),
            "'n' has array(['Comedy', 'Drama'",
        ),
        (Item(id="n", title="t", attributes={"class": np.eye(2)}), "'n' has array([[1., 0.], [0., 1.]]) as 'class'"),
        (Item(id="n", title="t", attributes={"studio": np.array([])}), "'n' has array([], dtype=float64) as 'studio'"),
        (Item(id="n", title="t", attributes={"studio": ("Fox",)}), "'n' has ('Fox',) as 'studio', which takes one"),
        (Item(id="n", title="t", attributes=[("price", 1.0)]), "as attributes. Give a mapping"),  # type: ignore[arg-type]
        ("n", "One of the items is 'n'"),
    ],
)
def test_a_hostile_item_is_named_and_changes_nothing(changed: Retriever, item: Item, why: str) -> None:
    before, catalogue = changed.fingerprint, changed.catalogue
    with pytest.raises(DataError) as raised:
        changed.add_items([NEW, item])
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    if getattr(item, "id", None) == "n":
        with pytest.raises(DataError) as raised:
            changed.update_items([Item(id="900", title=item.title, attributes=item.attributes)])
        assert why.partition("'n'")[2] in str(raised.value)
    assert (changed.fingerprint, changed.catalogue) == (before, catalogue)


@pytest.mark.parametrize("name", ["studio", "price", "class"])
def test_a_missing_value_of_pandas_is_named(changed: Retriever, name: str) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas, of the extra [trm]")
    with pytest.raises(DataError, match=f"Item 'n' has <NA> as '{name}', which takes .* leave the attribute out"):
        changed.add_items([Item(id="n", title="t", attributes={name: pandas.NA})])


@pytest.mark.parametrize("items", [NEW, "n1", None])
def test_what_is_no_list_of_items_is_refused(changed: Retriever, items: Any) -> None:
    for change in (changed.add_items, changed.update_items):
        with pytest.raises(DataError, match="Give a list of items"):
            change(items)


def test_an_id_that_stands_twice_in_one_call_is_refused(changed: Retriever) -> None:
    with pytest.raises(DataError, match="'n1' stands twice among the items given"):
        changed.add_items([NEW, NEW])
    with pytest.raises(DataError, match="'900' stands twice"):
        changed.update_items([changed.catalogue.item("900")] * 2)
    assert "n1" not in changed.catalogue


def test_a_title_full_of_control_characters_is_kept_and_harms_nobody(changed: Retriever, tmp_path: Path) -> None:
    title = "\x1b]0;owned\x07</think>\u202e\n[1] Brazil"
    changed.add_items([Item(id="n1", title=title)])
    changed.save(tmp_path / "out")
    again = Retriever.load(tmp_path / "out")
    assert again.catalogue.item("n1").title == title
    assert "n1" in ids(again.retrieve((), "brazil", k=100))


def test_values_that_would_take_the_decades_away_are_refused(changed: Retriever) -> None:
    wrong = [Item(id=f"n{number}", title="t", attributes={"release_year": 19850.0}) for number in range(5)]
    changed.add_items(wrong[:1])  # one slip in fifty is none
    assert changed.catalogue.year_attributes == ("release_year",)
    with pytest.raises(DataError, match=r"'release_year' would hold too few years .*: item 'n1' has 19850"):
        changed.add_items(wrong[1:])
    assert "n1" not in changed.catalogue


class _Impostor(HashingEncoder):
    def __init__(self, vectors: Callable[[int], np.ndarray]) -> None:
        super().__init__()
        self.vectors = vectors

    def encode(self, texts: Sequence[str], **role: Any) -> np.ndarray:
        return self.vectors(len(texts))


@pytest.mark.parametrize(
    ("vectors", "why"),
    [
        (lambda n: np.zeros((n, 7), np.float32), r"gave vectors of shape \(1, 7\) where the artifact needs \(1, 32\)"),
        (lambda n: np.zeros((n + 1, 32), np.float32), r"gave vectors of shape \(2, 32\)"),
        (lambda n: np.full((n, 32), np.nan, np.float32), "gave values not finite"),
    ],
)
def test_an_encoder_that_does_not_fit_changes_nothing(
    artifact_folder: Path, vectors: Callable[[int], np.ndarray], why: str
) -> None:
    retriever = Retriever(load_artifact(artifact_folder), _Impostor(vectors))
    before = retriever.catalogue
    for change in (lambda: retriever.add_items([NEW]), lambda: retriever.update_items([Item(id="900", title="New")])):
        with pytest.raises(ConfigError, match=why):
            change()
    assert retriever.catalogue is before


class TestUpdating:
    def test_text_and_attributes_change_and_the_id_embedding_stays(
        self, changed: Retriever, artifact_folder: Path
    ) -> None:
        changed.update_items([Item(id="893", title="Brazil", text="words", attributes={"studio": "Pixar"})])
        artifact = load_artifact(artifact_folder)
        row = artifact.catalogue.row("893")
        text = artifact.model.adapt_text(torch.from_numpy(HashingEncoder().encode(["words"])))[0]
        vector = F.normalize(artifact.model.id_embedding.weight[row] + text, dim=0)
        rows = torch.full((1, 8), -1)
        rows[0, 0] = artifact.catalogue.row("900")
        (score,) = [item.score for item in changed.retrieve(["900"], k=100) if item.id == "893"]
        assert score == pytest.approx(float(artifact.model.query(rows)[0] @ vector), abs=1e-6)
        assert changed.catalogue.summary("893") == "Brazil (pixar)"
        assert changed.catalogue.ids == artifact.catalogue.ids
        assert "893" in ids(changed.retrieve((), k=100, where={"studio": {"in": ["Pixar"]}}))
        assert "893" not in ids(changed.retrieve((), k=100, where={"price": {"min": 0}}))
        assert changed.retrieve((), k=100) == Retriever(artifact).retrieve((), k=100)  # popularity stays

    def test_an_item_that_was_added_is_ranked_by_its_new_text_alone(
        self, changed: Retriever, artifact_folder: Path
    ) -> None:
        changed.add_items([NEW])
        changed.update_items([Item(id="n1", title="Stalker")])
        direct = Retriever.load(artifact_folder)
        direct.add_items([Item(id="n1", title="Stalker")])
        assert_same(answers(changed), answers(direct))

    def test_it_is_read_anew_in_histories(self, changed: Retriever, retriever: Retriever) -> None:
        changed.update_items([Item(id="893", title="Brazil")])
        assert changed.retrieve(["893"], k=100) != retriever.retrieve(["893"], k=100)

    def test_only_texts_that_changed_are_encoded(self, changed: Retriever, encoder: CountingEncoder) -> None:
        first, second = changed.catalogue.item("900"), changed.catalogue.item("893")
        cheaper = Item(id="900", title=first.title, text=first.text, attributes={**first.attributes, "price": 1.0})
        before = changed.fingerprint, answers(changed)
        encoder.encoded.clear()
        changed.update_items([first, second])  # as they are
        assert changed.fingerprint == before[0]
        changed.update_items([cheaper, second])
        assert encoder.encoded == []
        assert changed.fingerprint != before[0]
        assert ids(changed.retrieve((), k=100, where={"price": {"max": 2}})) == ["900"]
        assert answers(changed) == before[1]

    def test_an_item_that_is_not_there_is_named(self, changed: Retriever) -> None:
        changed.remove_items(["886"])
        before = changed.fingerprint
        with pytest.raises(UnknownItemError, match=r"'n1', '886' \(1 of them were removed; add them .* was updated"):
            changed.update_items([changed.catalogue.item("900"), NEW, changed.catalogue.item("886")])
        assert changed.fingerprint == before


class TestRemoving:
    def test_it_never_comes_back_and_the_rest_stays(self, changed: Retriever, retriever: Retriever) -> None:
        changed.remove_items(["886", "893", "893"])
        kept = [Retrieved([item for item in found if item.id not in ("886", "893")]) for found in answers(retriever)]
        assert_same(answers(changed), kept)
        assert len(changed.retrieve(HISTORY, k=100, include_seen=True)) == 48
        assert len(changed.retrieve((), k=100, where={"class": {"not_in": ["Western"]}})) == 48
        assert changed.rank_of("886", Query(history=HISTORY)) == 47  # after the 46 that may come back

    def test_a_history_may_still_hold_it(self, changed: Retriever, retriever: Retriever) -> None:
        changed.remove_items(["893"])
        assert changed.retrieve(HISTORY, "comedy", k=100) == retriever.retrieve(HISTORY, "comedy", k=100)
        assert changed.catalogue.summary("893") == retriever.catalogue.summary("893")
        assert len(changed.retrieve((), k=100, exclude=["893"])) == 49

    def test_nobody_is_offered_its_phrases(self, changed: Retriever) -> None:
        changed.add_items([Item(id="n1", title="t", attributes={"studio": "Toho"})])
        assert "toho" in changed.catalogue.phrases(min_items=1)
        changed.remove_items(["n1"])
        assert "toho" not in changed.catalogue.phrases(min_items=1)
        assert changed.catalogue.phrases_of("n1") == ("toho",)

    def test_one_unknown_id_changes_nothing(self, changed: Retriever) -> None:
        changed.remove_items(["886"])
        before = changed.fingerprint
        for bad in ("nothing", "886"):
            with pytest.raises(UnknownItemError, match=f"Not in the catalogue: '{bad}'.* Nothing was removed"):
                changed.remove_items(["900", bad])
        for bad in ("900", None):
            with pytest.raises(ConfigError, match=f"item_ids is {bad!r}"):
                changed.remove_items(bad)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="has the id 900, which is not text"):
            changed.remove_items([900])  # type: ignore[list-item]
        changed.remove_items([])
        assert changed.fingerprint == before
        assert changed.catalogue.removed == {"886"}

    def test_adding_brings_it_back_with_what_was_learnt(
        self, changed: Retriever, retriever: Retriever, encoder: CountingEncoder
    ) -> None:
        item = changed.catalogue.item("893")
        changed.remove_items(["893"])
        encoder.encoded.clear()
        changed.add_items([item, NEW])
        assert item.text not in encoder.encoded
        back = [Retrieved([found for found in answer if found.id != "n1"]) for answer in answers(changed)]
        assert_same(back, answers(retriever))

    def test_all_items_can_go(self, changed: Retriever) -> None:
        changed.remove_items(changed.catalogue.ids)
        assert [ids(found) for found in answers(changed)] == [[]] * 6
        assert changed.catalogue.phrases(min_items=1) == {}


def change_everything(retriever: Retriever) -> None:
    retriever.add_items([NEW, OTHER])
    retriever.update_items([Item(id="900", title="Renamed", attributes={"studio": "A24"})])
    retriever.remove_items(["893", "n2"])


class TestSaving:
    def test_what_is_loaded_gives_the_same_answers(self, changed: Retriever, tmp_path: Path) -> None:
        change_everything(changed)
        before = answers(changed)
        changed.save(tmp_path / "out")
        again = Retriever.load(tmp_path / "out")
        assert_same(answers(again), before)
        assert list(again.catalogue) == list(changed.catalogue)
        assert again.catalogue.removed == {"893", "n2"}
        assert again.fingerprint == changed.fingerprint
        again.add_items([OTHER])  # and it can be changed on
        assert "n2" in ids(again.retrieve((), k=100))

    def test_the_lineage_is_written(self, changed: Retriever, artifact_folder: Path, tmp_path: Path) -> None:
        trained = changed.fingerprint
        change_everything(changed)
        in_memory = changed.fingerprint
        changed.save(tmp_path / "out")
        assert len({trained, in_memory, changed.fingerprint}) == 3
        config = load_artifact(tmp_path / "out").config
        assert config["trained_items"] == 50
        assert config["items"] == 52
        assert config["removed_items"] == 2
        assert config["changes"] == {"added": 2, "updated": 1, "removed": 2}
        assert (config["changed_from"], config["changed_as"]) == (trained, in_memory)
        for name in ("seed", "holdout", "dataset_fingerprint", "encoder_id", "versions", "architecture"):
            assert config[name] == load_artifact(artifact_folder).config[name]
        card = (tmp_path / "out" / "README.md").read_text()
        assert "Ranks 50 items" in card
        assert f"after training on 50 items, from artifact `{trained}`" in card
        assert "2 added, 1 updated, 2 removed" in card
        first = changed.fingerprint
        changed.add_items([Item(id="n3", title="t")])
        changed.save(tmp_path / "out")
        config = load_artifact(tmp_path / "out").config
        assert (config["trained_items"], config["changed_from"]) == (50, first)
        assert config["changes"]["added"] == 3

    def test_equal_changes_give_equal_fingerprints(self, artifact_folder: Path) -> None:
        first, second, third = (Retriever.load(artifact_folder) for _ in range(3))
        for retriever in (first, second):
            change_everything(retriever)
        third.add_items([NEW])
        assert first.fingerprint == second.fingerprint != third.fingerprint

    def test_an_unchanged_one_is_a_copy(self, changed: Retriever, artifact_folder: Path, tmp_path: Path) -> None:
        changed.save(tmp_path / "out")
        assert load_artifact(tmp_path / "out").fingerprint == load_artifact(artifact_folder).fingerprint

    def test_the_folder_is_replaced_at_once(self, artifact_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))
        measured = {"validation": {"masked": {"recall@10": 0.25}}}
        (folder / "metrics.json").write_text(json.dumps(measured))
        retriever = Retriever.load(folder)
        retriever.add_items([NEW])
        retriever.save(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["artifact"]
        assert "n1" in Retriever.load(folder).catalogue
        assert json.loads((folder / "metrics.json").read_text()) == measured  # of the training, before the change
        assert "| masked | 0.2500 |" in (folder / "README.md").read_text()
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "thesis.tex").write_text("years of work")
        before = retriever.fingerprint
        with pytest.raises(ConfigError, match="something other than an artifact"):
            retriever.save(tmp_path / "home")
        assert retriever.fingerprint == before

    def test_another_ones_change_is_not_lost(self, artifact_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))
        first, second = Retriever.load(folder), Retriever.load(folder)
        first.add_items([NEW])
        second.remove_items(["900"])
        first.save(folder)
        before = second.fingerprint
        with pytest.raises(ConfigError, match=rf"another artifact \({first.fingerprint}\) .* Load it again and repeat"):
            second.save(folder)
        assert second.fingerprint == before
        assert "n1" in load_artifact(folder).catalogue
        assert [path.name for path in tmp_path.iterdir()] == ["artifact"]
        second.save(tmp_path / "elsewhere")
        first.add_items([OTHER])  # one's own saves never conflict, in whichever folder
        first.save(folder)
        first.save(tmp_path / "copy")
        first.save(folder)
        third = Retriever.load(folder)
        third.remove_items(["900"])
        third.save(folder)
        with pytest.raises(ConfigError, match="another artifact"):
            first.save(folder)
        assert load_artifact(folder).catalogue.removed == {"900"}

    def test_what_would_be_written_anyway_may_be_there(self, artifact_folder: Path, tmp_path: Path) -> None:
        for _ in range(2):
            retriever = Retriever.load(artifact_folder)
            retriever.add_items([NEW])
            retriever.save(tmp_path / "out")
        assert "n1" in load_artifact(tmp_path / "out").catalogue

    @pytest.mark.parametrize("files", [None, {}, [], {"model.safetensors": 1}, {"model.safetensors": "\ud800"}])
    def test_a_damaged_artifact_is_another_one(self, artifact_folder: Path, tmp_path: Path, files: object) -> None:
        folder = Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))
        retriever = Retriever.load(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"files": files}))
        with pytest.raises(ConfigError, match=r"another artifact \(damaged\)"):
            retriever.save(folder)

    def test_one_of_many_that_save_at_once_wins(self, artifact_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))
        won: list[int] = []

        def save(number: int, retriever: Retriever) -> None:
            barrier.wait()
            with suppress(ConfigError):
                retriever.save(folder)
                won.append(number)

        barrier = threading.Barrier(4)
        retrievers = [Retriever.load(folder) for _ in range(4)]
        for number, retriever in enumerate(retrievers):
            retriever.add_items([Item(id=f"n{number}", title="t")])
        threads = [threading.Thread(target=save, args=each) for each in enumerate(retrievers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert f"n{won[0]}" in load_artifact(folder).catalogue
        assert [path.name for path in tmp_path.iterdir()] == ["artifact"]

    @pytest.mark.parametrize(
        "metrics", ["", "[1]", '{"validation": {"masked": 3}}', '{"validation": {"a": {"b": "c"}}}']
    )
    def test_damaged_metrics_stop_nobody(self, artifact_folder: Path, tmp_path: Path, metrics: str) -> None:
        folder = Path(shutil.copytree(artifact_folder, tmp_path / "artifact"))
        (folder / "metrics.json").write_text(metrics)
        retriever = Retriever.load(folder)
        retriever.add_items([NEW])
        retriever.save(folder)
        assert "n1" in Retriever.load(folder).catalogue

    def test_only_removals_need_the_newer_format(self, changed: Retriever, tmp_path: Path) -> None:
        def formats(folder: Path) -> int:
            meta = json.loads(pq.read_schema(folder / "items.parquet").metadata[b"deeprec"])
            return int(meta["format"])

        changed.add_items([NEW])
        changed.save(tmp_path / "out")
        assert formats(tmp_path / "out") == 1  # an older version reads it, and rightly
        changed.remove_items(["n1"])
        changed.save(tmp_path / "out")
        assert formats(tmp_path / "out") == 2  # an older version would recommend what was removed: it refuses


def test_a_removed_column_that_is_missing_or_no_truth_is_named(catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    Catalogue(catalogue, catalogue.attribute_kinds, ["900"]).to_parquet(path)
    assert Catalogue.from_parquet(path).removed == {"900"}
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["removed"]), path)
    with pytest.raises(ArtifactError, match="lacks the column 'removed'"):
        Catalogue.from_parquet(path)
    at = table.column_names.index("removed")
    pq.write_table(table.set_column(at, "removed", [table.column("id")]), path)
    with pytest.raises(ArtifactError, match="'removed' that is neither true nor false"):
        Catalogue.from_parquet(path)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"changes": [1]}, "'changes' is"),
        ({"changes": {"added": "1"}}, "'changes' is"),
        ({"changes": {"lost": 1}}, "'changes' is"),
        ({"trained_items": "50"}, "'trained_items' is '50' of 51"),
        ({"trained_items": 52}, "'trained_items' is '52' of 51"),
    ],
)
def test_a_lineage_that_cannot_be_is_named(
    changed: Retriever, tmp_path: Path, wrong: dict[str, object], why: str
) -> None:
    changed.add_items([NEW])
    changed.save(tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(ArtifactError, match=why):
        load_artifact(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_asks_during_a_change_sees_the_old_catalogue_or_the_new_one(changed: Retriever) -> None:
    queries = [Query(history=HISTORY, preference="comedy"), Query(history=HISTORY)]
    old = changed.retrieve_batch(queries, k=100)
    renewed = Item(id="900", title="Renamed", attributes={"studio": "A24"})
    original = changed.catalogue.item("900")

    changed.add_items([NEW])
    with_new = changed.retrieve_batch(queries, k=100)
    changed.update_items([renewed])
    with_both = changed.retrieve_batch(queries, k=100)
    changed.remove_items(["n1"])
    removed = changed.retrieve_batch(queries, k=100)
    allowed = [[ids(found) for found in both] for both in (old, with_new, with_both, removed)]
    changed.update_items([original])
    changed.add_items([NEW])

    done, seen, wrong = threading.Event(), set(), []

    def ask() -> None:
        while not done.is_set():
            found = [ids(each) for each in changed.retrieve_batch(queries, k=100)]
            if found not in allowed:
                wrong.append(found)
                return
            seen.add(len(found[0]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(25):
        changed.update_items([renewed])
        changed.remove_items(["n1"])
        changed.update_items([original])
        changed.add_items([NEW])
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(seen) == 2  # answers from before and from after a change were among them


def test_changes_from_several_threads_are_all_kept(changed: Retriever) -> None:
    def add(start: int) -> None:
        for number in range(start, start + 10):
            changed.add_items([Item(id=f"n{number}", title=f"New {number}")])

    threads = [threading.Thread(target=add, args=(100 * worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(changed.catalogue) == 90
    assert len(changed.retrieve(HISTORY, k=100)) == 87
