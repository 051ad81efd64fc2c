"""Folds of requests: whole conversations, the same in every file, about equal in size."""

import pytest

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.data import ConversationFold, Request, read_fold, split_requests


def test_every_conversation_lies_whole_in_one_fold_and_the_folds_are_about_equal() -> None:
    requests = [Request(conversation=f"c{number}", turn=turn) for number in range(1_000) for turn in (0, 3)]
    insides = []
    for number in range(1, 6):
        outside, inside = split_requests(requests, ConversationFold(number=number, of=5))
        assert not {each.conversation for each in inside} & {each.conversation for each in outside}
        assert len(inside) + len(outside) == 2_000
        assert 150 < len(inside) / 2 < 250
        insides += [each.conversation for each in inside]
    assert sorted(insides) == sorted(each.conversation for each in requests)


def test_a_fold_depends_on_the_conversation_alone_and_on_no_other_number_of_folds() -> None:
    fold = ConversationFold(number=1, of=5)
    assert [name for name in map(str, range(30)) if name in fold] == ["0", "1", "18"]
    inside = [str(number) for number in range(2_000) if str(number) in fold]
    tenth = sum(name in ConversationFold(number=1, of=10) for name in inside)
    assert 0.05 < tenth / len(inside) < 0.15  # else a fold of five would take all of the validation


def test_a_fold_is_written_as_its_number_of_all() -> None:
    assert read_fold(" 2 / 5") == ConversationFold(number=2, of=5)
    assert str(read_fold("2/5")) == "2/5"


@pytest.mark.parametrize("text", ["", "2", "0/5", "6/5", "1/1", "a/b", "-1/5", "1/5/2"])
def test_what_is_no_fold_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="fold"):
        read_fold(text)
