import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deeprec.trm_tool import (
    Catalogue,
    ConfigError,
    DataError,
    Dataset,
    HashingEncoder,
    Item,
    PreferenceConfig,
    PreferencePool,
    Refusal,
    TRMConfig,
    WrittenPreference,
    collect_training_texts,
    history_digest,
    train_trm,
    write_preferences,
)
from tests.counting_encoder import CountingEncoder
from tests.written_rows import USER, written


def refused(dataset: Dataset, row: WrittenPreference, holdout: int = 2) -> Refusal | None:
    """Why one row is refused beside one that is fine; None where it is trained on."""
    fine = written(dataset, user="u2", before=holdout + 1, trm_holdout=holdout + 1, preference="drama")
    found = collect_training_texts(dataset, holdout, [fine, row])
    assert found.read == 2
    assert found.used == 2 - sum(found.refused.values())
    return Refusal(next(iter(found.refused))) if found.refused else None


def test_a_preference_goes_to_the_item_that_follows_its_history(dataset: Dataset) -> None:
    rows = [
        written(dataset),
        written(dataset, preference="drama"),
        written(dataset),  # a repeat: no second text
        written(dataset, before=5, preference="horror"),
        written(dataset, user="u2", target_id=None, split=None),
    ]
    found = collect_training_texts(dataset, 2, rows)
    last = len(dataset.sequences[USER])
    assert found.texts == {
        (USER, last - 3): ("comedy; 1990s", "drama"),
        (USER, last - 5): ("horror",),
        ("u2", len(dataset.sequences["u2"]) - 3): ("comedy; 1990s",),
    }
    assert dataset.sequences[USER][last - 3] == dataset.target(USER, 3)
    assert (found.read, found.used, found.refused) == (5, 5, {})


@pytest.mark.parametrize("holdout", [2, 3, 4])
@pytest.mark.parametrize("before", [1, 2, 3, 4, 5])
def test_no_held_out_item_is_ever_a_target(dataset: Dataset, before: int, holdout: int) -> None:
    """Whatever the row claims about its split: what counts is where its history ends."""
    reason = refused(dataset, written(dataset, before=before), holdout)
    if before > holdout:
        assert reason is None
    else:
        assert reason is (Refusal.HELD_OUT_TARGET if before == holdout else Refusal.HELD_OUT_HISTORY)


def test_a_history_that_is_the_whole_sequence_reaches_into_the_held_out_items(dataset: Dataset) -> None:
    assert refused(dataset, written(dataset, before=0)) is Refusal.HELD_OUT_HISTORY


@pytest.mark.parametrize("split", ["test", "valid", "validation", "Test", " VALID "])
def test_a_run_of_the_test_or_validation_split_is_refused_wherever_it_was_written(dataset: Dataset, split: str) -> None:
    assert refused(dataset, written(dataset, split=split)) is Refusal.HELD_OUT_RUN


def test_the_pair_of_person_and_held_out_item_is_guarded_where_items_come_back(dataset: Dataset) -> None:
    sequence = dataset.sequences[USER]
    again = replace(dataset, sequences=dataset.sequences | {USER: (*sequence[:-1], sequence[-3])})
    assert again.target(USER, 3) == again.target(USER, 1)
    assert refused(again, written(again, before=3)) is Refusal.HELD_OUT_TARGET
    assert refused(again, written(again, before=4)) is None


@pytest.mark.parametrize(("before", "learned", "fine"), [(3, 2, False), (3, None, False), (3, 3, True), (5, 4, False)])
def test_a_recommender_that_had_learned_the_target_gives_it_away(
    dataset: Dataset, before: int, learned: int | None, fine: bool
) -> None:
    reason = refused(dataset, written(dataset, before=before, trm_holdout=learned))
    assert reason is (None if fine else Refusal.KNOWN_TARGET)


@pytest.mark.parametrize("fingerprint", [None, "cd" * 32])
def test_other_data_proves_nothing(dataset: Dataset, fingerprint: str | None) -> None:
    assert refused(dataset, written(dataset, dataset_fingerprint=fingerprint)) is Refusal.OTHER_DATA


def test_the_same_people_with_their_last_items_cut_off_are_other_data(dataset: Dataset) -> None:
    """The run's recommender may have learned items that are held out of the shorter data."""
    shorter = dataset.without_last(2)
    assert refused(shorter, written(dataset, before=5)) is Refusal.OTHER_DATA


def test_a_history_has_to_be_the_beginning_of_the_users_sequence(dataset: Dataset) -> None:
    history = dataset.history(USER, 3)
    for other in (history[1:], history[::-1], (*history[:-1], "900"), dataset.history("u2", 3)):
        row = written(dataset, history_length=len(other), history_sha256=history_digest(other), target_id=None)
        assert refused(dataset, row) is Refusal.OTHER_HISTORY
    for length in (0, 1, len(history) + 1, 10**9):  # the digest is right, the length is not
        assert refused(dataset, written(dataset, history_length=length)) is Refusal.OTHER_HISTORY


def test_user_and_target_are_checked(dataset: Dataset) -> None:
    assert refused(dataset, written(dataset, user_id=None)) is Refusal.NO_USER
    assert refused(dataset, written(dataset, user_id="nobody")) is Refusal.UNKNOWN_USER
    assert refused(dataset, written(dataset, target_id=dataset.target(USER, 1))) is Refusal.OTHER_TARGET
    assert refused(dataset, written(dataset, preference="")) is Refusal.NO_TEXT


def test_the_first_item_of_a_person_is_never_predicted(dataset: Dataset) -> None:
    length = len(dataset.sequences[USER])
    assert refused(dataset, written(dataset, before=length)) is Refusal.NO_HISTORY
    assert refused(dataset, written(dataset, before=length - 1)) is None


def test_what_was_refused_is_counted_and_named(dataset: Dataset) -> None:
    rows = [written(dataset), *[written(dataset, split="test")] * 3, written(dataset, user_id=None)]
    found = collect_training_texts(dataset, 2, iter(rows))
    assert found.to_dict() == {
        "read": 5,
        "used": 1,
        "positions": 1,
        "refused": {"a run of the test or validation split": 3, "no user": 1},
    }
    assert str(found) == (
        "1 of 5 written preferences, at 1 position "
        "(refused: 3 with a run of the test or validation split, 1 with no user)"
    )


def test_a_file_that_trains_nothing_is_a_mistake(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"None of 1 .* holdout 3 \(refused: 1 with a held-out item .* holdout 4"):
        collect_training_texts(dataset, 3, [written(dataset)])
    with pytest.raises(DataError, match="None of 0 written preferences"):
        collect_training_texts(dataset, 2, [])
    with pytest.raises(ConfigError, match="holdout is 0"):
        collect_training_texts(dataset, 0, [written(dataset)])


def make_pool(dataset: Dataset, written_texts: dict[tuple[str, int], tuple[str, ...]], **shares: float) -> Any:
    config = PreferenceConfig(wrong=0, noisy=0, **shares)
    texts = write_preferences(dataset.catalogue, config, seed=1)
    return PreferencePool(texts, HashingEncoder(), dataset.catalogue, config, written_texts)


def test_half_of_the_preferences_at_a_position_are_those_that_runs_wrote(dataset: Dataset) -> None:
    pool = make_pool(dataset, {("u1", 3): ("first", "second"), ("u2", 4): ("third",)}, empty=0.2)
    assert pool.slots == {("u1", 3): 1, ("u2", 4): 2}
    targets = torch.zeros(6_000, dtype=torch.int64)
    slots = torch.tensor([0, 1, 2]).repeat(2_000)
    index, has = pool.draw(targets, torch.Generator().manual_seed(0), slots)
    drawn = [pool.texts[number] for number in index.tolist()]
    for slot, own in enumerate([set(), {"first", "second"}, {"third"}]):
        there = [
            text
            for text, at, present in zip(drawn, slots.tolist(), has.tolist(), strict=True)
            if present and at == slot
        ]
        counts = Counter(text for text in there if text in {"first", "second", "third"})
        assert set(counts) == own
        assert sum(counts.values()) / len(there) == pytest.approx(0.5 if own else 0, abs=0.04)
        assert all(count / len(there) == pytest.approx(0.5 / len(own), abs=0.04) for count in counts.values())
    assert has.float().mean().item() == pytest.approx(0.8, abs=0.02)


def test_an_item_without_phrases_is_trained_with_what_a_run_wrote() -> None:
    catalogue = Catalogue([Item(id="a", title="A", text="")], {})
    data = Dataset(name="bare", catalogue=catalogue, users=("u",), sequences={"u": ("a",) * 5})
    pool = make_pool(data, {("u", 1): ("something quiet",)}, empty=0, written=1)
    index, has = pool.draw(torch.zeros(2, dtype=torch.int64), torch.Generator().manual_seed(0), torch.tensor([1, 0]))
    assert has.tolist() == [True, False]
    assert pool.texts[index[0]] == "something quiet"


def test_without_written_texts_every_draw_is_as_before(dataset: Dataset) -> None:
    targets = torch.arange(50)
    bare = make_pool(dataset, {}).draw(targets, torch.Generator().manual_seed(5))
    with_texts = make_pool(dataset, {("u1", 3): ("first",)}).draw(targets, torch.Generator().manual_seed(5))
    assert all(torch.equal(*pair) for pair in zip(bare, with_texts, strict=True))


def test_what_would_leak_never_reaches_the_encoder_of_a_training(dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    rows = [
        written(dataset, preference="may be trained on"),
        written(dataset, before=1, split="test", preference="leak of a test run"),
        written(dataset, before=1, preference="leak of a test target"),
        written(dataset, before=2, preference="leak of a validation target"),
        written(dataset, before=0, preference="leak of a whole history"),
        written(dataset, dataset_fingerprint="cd" * 32, preference="leak of other data"),
    ]
    encoder = CountingEncoder()
    small = TRMConfig(width=16, inner=32, layers=1, experts=2, max_length=4)
    metrics = train_trm(dataset, tmp_path / "trm", config=small, encoder=encoder, epochs=1, written=iter(rows))
    assert "may be trained on" in encoder.encoded
    assert not [text for text in encoder.encoded if text.startswith("leak")]
    assert (metrics["written_preferences"]["used"], metrics["written_preferences"]["read"]) == (1, 6)
    kept = json.loads((tmp_path / "trm" / "metrics.json").read_text())
    assert sum(kept["written_preferences"]["refused"].values()) == 5


def test_training_as_before_the_last_interactions_holds_those_out_too(dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("recbole", reason="needs the extra [trm]")
    small = TRMConfig(width=16, inner=32, layers=1, experts=2, max_length=4)
    settings: dict[str, Any] = {"config": small, "encoder": HashingEncoder(), "epochs": 1, "without_last": 1}
    with pytest.raises(DataError, match="with holdout 3"):
        train_trm(dataset, tmp_path / "trm", written=[written(dataset, before=3)], **settings)
    assert not (tmp_path / "trm").exists()
    metrics = train_trm(dataset, tmp_path / "trm", written=[written(dataset, before=4)], **settings)
    assert metrics["written_preferences"]["used"] == 1
