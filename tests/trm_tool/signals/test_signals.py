"""Complementary signals: what they count, what they leave uncounted, what a re-ranking makes of them, and its file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from deeprec.trm_tool import (
    ArtifactError,
    Catalogue,
    ComplementarySignals,
    ConfigError,
    Dataset,
    Evidence,
    Item,
    Query,
    Retriever,
    SignalReranking,
    fit_reranking,
)
from deeprec.trm_tool.signals.complementary_signals import SIGNALS
from deeprec.trm_tool.testing import check_recommender
from tests.small_recommender import CoOccurrence

NEXT, TOGETHER, COUNT, RECENCY = (SIGNALS.index(name) for name in ("next", "together", "count", "recency"))
ITEMS = 40


@pytest.fixture(scope="module")
def walks() -> Dataset:
    """People who walk through a ring of items, three steps of one and then a leap."""
    draw, ids = np.random.default_rng(5), [f"i{at}" for at in range(ITEMS)]
    sequences = {}
    for user in range(120):
        starts = draw.permutation(ITEMS // 4)[:3] * 4
        sequences[f"u{user}"] = tuple(ids[start + step] for start in starts for step in range(4))
    return Dataset(
        name="walks",
        catalogue=Catalogue([Item(id=each, title=each) for each in ids], {}),
        users=tuple(sequences),
        sequences=sequences,
    )


def popular(dataset: Dataset, **identity: Any) -> CoOccurrence:
    """A recommender that knows nothing of anybody's history: its list is the same for all."""
    made = CoOccurrence(dataset.catalogue, [])
    known: dict[str, Any] = {"dataset_fingerprint": dataset.fingerprint, "holdout": 2}
    made.identity = replace(made.identity, **(known | identity))
    return made


def test_what_followed_and_what_went_together_stands_out(walks: Dataset) -> None:
    signals = ComplementarySignals.count(walks, holdout=2)
    values = signals.values(["i8", "i9"], walks.catalogue.ids)
    assert values.shape == (ITEMS, len(SIGNALS))
    assert walks.catalogue.ids[int(values[:, NEXT].argmax())] in ("i9", "i10")
    assert {walks.catalogue.ids[at] for at in np.argsort(-values[:, TOGETHER])[:4]} == {"i8", "i9", "i10", "i11"}


def test_what_is_held_out_is_not_counted(walks: Dataset) -> None:
    cut = {user: (*sequence[:-2], "i0", "i1") for user, sequence in walks.sequences.items()}
    counted = ComplementarySignals.count(walks, holdout=2).values(["i8"], walks.catalogue.ids)
    other = ComplementarySignals.count(replace(walks, sequences=cut), holdout=2).values(["i8"], walks.catalogue.ids)
    np.testing.assert_array_equal(counted, other)
    assert not np.array_equal(counted, ComplementarySignals.count(walks, holdout=0).values(["i8"], walks.catalogue.ids))


def test_counts_and_recency_are_those_of_people(walks: Dataset) -> None:
    sequences = {"a": ("i0", *(f"i{at}" for at in range(1, 25))), "b": ("i0", "i1", "i2")}
    signals = ComplementarySignals.count(replace(walks, users=("a", "b"), sequences=sequences), holdout=0)
    counts = signals.values([], ["i0", "i24", "i30"])
    np.testing.assert_allclose(np.expm1(counts[:, COUNT]), [2, 1, 0])
    # `a` chose i0 before their last 20 items, `b` within them: 1 of 2 with one added to each.
    np.testing.assert_allclose(np.exp(counts[:, RECENCY]), [2 / 3, 1, 1])


def test_items_that_were_not_counted_are_skipped(walks: Dataset) -> None:
    signals = ComplementarySignals.count(walks, holdout=2)
    values = signals.values(["new", "i8"], ["i9", "newer"])
    np.testing.assert_array_equal(values[0], signals.values(["i8"], ["i9"])[0])
    assert not values[1].any()


def test_evidence_names_the_item_of_the_history_that_speaks_for_another(walks: Dataset) -> None:
    signals = ComplementarySignals.count(walks, holdout=2)
    followed, stranger, new = signals.evidence(["i20", "i9", "i8"], ["i10", "i3", "new"])
    assert (followed.next, followed.together) in {("i9", "i9"), ("i9", "i8")}
    assert stranger.next is None
    assert new == Evidence()
    assert signals.evidence([], ["i10"])[0].together is None


def test_only_what_many_people_chose_is_chosen_lately(walks: Dataset) -> None:
    early, late = (tuple(f"i{at}" for at in range(start, start + 20)) for start in (0, 20))
    sequences = {f"u{user}": (*early, *late[: user + 1]) for user in range(20)}
    signals = ComplementarySignals.count(replace(walks, users=tuple(sequences), sequences=sequences), holdout=0)
    evidence = signals.evidence([], walks.catalogue.ids)
    recent = [item_id for item_id, each in zip(walks.catalogue.ids, evidence, strict=True) if each.is_recent]
    values = signals.values([], ["i19", "i39"])
    assert values[1, RECENCY] > values[0, RECENCY]  # one person chose i39, lately
    assert "i20" in recent  # all chose it, lately
    assert "i39" not in recent
    short = ComplementarySignals.count(walks, holdout=2)  # all that anybody chose is among their last 20 items
    assert not any(each.is_recent for each in short.evidence([], walks.catalogue.ids))


def test_a_fitted_order_finds_test_items_that_the_recommender_does_not(walks: Dataset) -> None:
    reranking, ids = fit_reranking(popular(walks), walks), walks.catalogue.ids
    placed = []
    for user in walks.users:
        left = [item_id for item_id in ids if item_id not in walks.history(user, 1)]
        order = reranking.order(walks.history(user, 1), left, np.zeros(len(left)))
        placed.append(int(order.tolist().index(left.index(walks.target(user, 1)))))
    assert np.mean(np.array(placed) == 0) > 0.9  # the recommender's own list is in the order of the catalogue


def test_the_weights_read_no_later_item_than_the_first_that_is_held_out(walks: Dataset) -> None:
    changed = replace(walks, sequences={user: (*each[:-1], "i0") for user, each in walks.sequences.items()})
    before, after = fit_reranking(popular(walks), walks), fit_reranking(popular(changed), changed)
    assert before.weights == after.weights


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        ({"holdout": 1}, "holdout is 1"),
        ({"holdout": None}, "holdout is None"),
        ({"dataset_fingerprint": "another"}, "not trained on walks"),
    ],
)
def test_what_would_leak_is_not_fitted(walks: Dataset, identity: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fit_reranking(popular(walks, **identity), walks)


def test_a_catalogue_that_is_too_large_is_refused_before_anything_is_counted(walks: Dataset) -> None:
    large = Catalogue([Item(id=str(at), title="") for at in range(10_001)], {})
    with pytest.raises(ConfigError, match=r"10,001 items, and signals are counted for 10,000"):
        ComplementarySignals.count(replace(walks, catalogue=large), holdout=2)
    with pytest.raises(ConfigError, match="no interaction before the last 12"):
        ComplementarySignals.count(walks, holdout=12)


@pytest.fixture(scope="module")
def reranking(retriever: Retriever, dataset: Dataset) -> SignalReranking:
    return fit_reranking(retriever, dataset)


@pytest.fixture(scope="module")
def reranked(retriever: Retriever, reranking: SignalReranking) -> Retriever:
    return Retriever(retriever.artifact, retriever.encoder, reranking=reranking)


def ids_of(retriever: Retriever, history: Sequence[str], preference: str | None = None, **named: Any) -> list[str]:
    return [item.id for item in retriever.retrieve(history, preference, k=50, **named)]


def test_a_retriever_orders_lists_from_histories_again_and_no_others(
    retriever: Retriever, reranked: Retriever, dataset: Dataset
) -> None:
    history = dataset.history(dataset.users[0], 1)
    own, ordered = ids_of(retriever, history), ids_of(reranked, history)
    assert own != ordered
    assert sorted(own) == sorted(ordered)
    scores = [item.score for item in reranked.retrieve(history, k=50)]
    assert scores == sorted(scores, reverse=True)
    for asked in ({"preference": "comedy"}, {"words": "something funny"}):
        assert ids_of(reranked, history, **asked) == ids_of(retriever, history, **asked)
    assert ids_of(reranked, history, "comedy", trust=0) == ordered
    assert ids_of(reranked, []) == ids_of(retriever, [])
    assert reranked.identity != retriever.identity
    assert reranked.identity.holdout == retriever.identity.holdout


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("left", [0, 1])
def test_a_list_of_none_or_one_is_not_ordered(
    retriever: Retriever, reranked: Retriever, dataset: Dataset, left: int
) -> None:
    history = dataset.history(dataset.users[0], 1)
    asked = {"exclude": ids_of(retriever, history)[left:]}
    assert len(ids_of(reranked, history, **asked)) == left
    where = {"year": {"min": 3000}} if left == 0 else None
    assert ids_of(reranked, history, where=where, **asked) == ids_of(retriever, history, where=where, **asked)


def test_a_retriever_says_in_words_what_speaks_for_its_items(
    retriever: Retriever, reranked: Retriever, dataset: Dataset
) -> None:
    history = dataset.history(dataset.users[0], 1)
    found = ids_of(reranked, history)
    said = reranked.evidence(history, found)
    titles = [dataset.catalogue.item(item_id).title for item_id in history]
    assert len(said) == len(found)
    assert any(line.startswith("chosen with ") and any(title in line for title in titles) for line in said)
    assert set(retriever.evidence(history, found)) == {""}


def test_ranks_follow_the_same_order_and_the_contract_holds(reranked: Retriever, dataset: Dataset) -> None:
    history = dataset.history(dataset.users[0], 1)
    ordered = ids_of(reranked, history)
    assert reranked.ranks_of(ordered, [Query(history=history)] * len(ordered)).tolist() == [*range(1, len(ordered) + 1)]
    check_recommender(reranked)


def test_a_file_gives_the_same_lists_again(
    retriever: Retriever, reranking: SignalReranking, reranked: Retriever, dataset: Dataset, tmp_path: Path
) -> None:
    reranking.save(tmp_path / "shop.signals")
    loaded = SignalReranking.load(tmp_path / "shop.signals")
    assert (loaded.fingerprint, loaded.weights) == (reranking.fingerprint, reranking.weights)
    again, history = Retriever(retriever.artifact, reranking=loaded), dataset.history(dataset.users[1], 1)
    assert ids_of(again, history) == ids_of(reranked, history)


def test_signals_of_other_data_are_refused(retriever: Retriever, reranking: SignalReranking, walks: Dataset) -> None:
    for signals in (ComplementarySignals.count(walks, holdout=2),):
        with pytest.raises(ConfigError, match="counts other interactions"):
            Retriever(retriever.artifact, reranking=SignalReranking(signals, reranking.weights))


def test_signals_of_another_artifact_of_the_same_data_are_refused(
    retriever: Retriever, reranking: SignalReranking, dataset: Dataset, tmp_path: Path
) -> None:
    reranking.save(tmp_path / "shop.signals")
    loaded = SignalReranking.load(tmp_path / "shop.signals")
    other = replace(retriever.artifact, fingerprint="0" * 16)
    with pytest.raises(ConfigError, match="was fitted for another artifact"):
        Retriever(other, reranking=loaded)
    own = Retriever(retriever.artifact, reranking=loaded)
    for item_id in dataset.catalogue.ids[:2]:  # the weights stay those of the training, whatever happens to items
        own.remove_items([item_id])
        own.save(tmp_path / "shop")
        own = Retriever.load(tmp_path / "shop", reranking=tmp_path / "shop.signals")
    assert fit_reranking(Retriever(own.artifact), dataset).fitted_for == loaded.fitted_for == retriever.fingerprint
    SignalReranking(reranking.signals, reranking.weights).save(tmp_path / "older.signals")
    assert Retriever(other, reranking=SignalReranking.load(tmp_path / "older.signals")).reranking is not None


def one_weight_more(about: str) -> str:
    return about.replace('"weights": [', '"weights": [1, ')


@pytest.mark.parametrize(
    ("arrays", "metadata", "says"),
    [
        ({"next.ends": lambda ends: ends + 50}, {}, "'next.ends' names rows that no item has"),
        ({"next.ends": lambda ends: ends.astype(np.int64)}, {}, r"'next.ends' is int64 \(50, 50\)"),
        ({"together.strengths": lambda each: each * np.nan}, {}, "'together.strengths' is float32"),
        ({"counts": lambda counts: counts[:, 1:]}, {}, r"'counts' is float64 \(2, 49\)"),
        ({}, {"about": one_weight_more}, "'weights' is not a list of 7 finite numbers"),
        (
            {},
            {"about": lambda about: about.replace('"fitted_for": ', '"fitted_for": 1, "of": ')},
            "'fitted_for' is not",
        ),
        ({}, {"about": lambda _: "[" * 10}, "Expecting value|nested"),
        ({}, {"format": lambda _: "x" * 500}, "'format' is 'xxx"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_what_is_wrong(
    arrays: Mapping[str, Callable[[Any], Any]],
    metadata: Mapping[str, Callable[[str], str]],
    says: str,
    reranking: SignalReranking,
    tmp_path: Path,
) -> None:
    reranking.save(tmp_path / "signals")
    found = load_file(tmp_path / "signals")
    with safe_open(tmp_path / "signals", framework="np") as file:
        about = dict(file.metadata())
    found |= {name: change(found[name]) for name, change in arrays.items()}
    about |= {name: change(about[name]) for name, change in metadata.items()}
    save_file({name: np.ascontiguousarray(array) for name, array in found.items()}, tmp_path / "bad", metadata=about)
    with pytest.raises(ArtifactError, match=says) as refused:
        SignalReranking.load(tmp_path / "bad")
    assert "\n" not in str(refused.value)


def test_what_is_no_file_of_signals_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a shop")
    save_file({"counts": np.zeros(3)}, tmp_path / "other")
    for name in ("missing", "text", "other", ""):
        with pytest.raises(ArtifactError, match=r"Make the file again"):
            SignalReranking.load(tmp_path / name)
