from dataclasses import replace

import pytest

from deeprec.trm_tool import (
    ConfigError,
    DataError,
    Dataset,
    Refusal,
    WrittenPreference,
    collect_training_texts,
    history_digest,
)
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
        written(dataset),  # said again: no second text
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


def test_what_was_refused_is_counted_and_told(dataset: Dataset) -> None:
    rows = [written(dataset), *[written(dataset, split="test")] * 3, written(dataset, user_id=None)]
    found = collect_training_texts(dataset, 2, iter(rows))
    assert found.to_dict() == {
        "read": 5,
        "used": 1,
        "positions": 1,
        "refused": {"a run of the test or validation split": 3, "no user": 1},
    }
    assert str(found) == (
        "1 of 5 written preferences, at 1 positions "
        "(refused: 3 with a run of the test or validation split, 1 with no user)"
    )


def test_a_file_that_trains_nothing_is_a_mistake(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"None of 1 .* holdout 3 \(refused: 1 with a held-out item .* holdout 4"):
        collect_training_texts(dataset, 3, [written(dataset)])
    with pytest.raises(DataError, match="None of 0 written preferences"):
        collect_training_texts(dataset, 2, [])
    with pytest.raises(ConfigError, match="holdout is 0"):
        collect_training_texts(dataset, 0, [written(dataset)])
