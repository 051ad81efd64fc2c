import re

from deeprec.agent.protocols.turn import phrases_regex


def test_one_phrase_or_two_different_ones() -> None:
    regex = phrases_regex(["a", "b", "c"])
    texts = ("a", "a; b", "c; b", "a; a", "a; b; c", "", "a;b")
    assert [bool(re.fullmatch(regex, text)) for text in texts] == [True, True, True, False, False, False, False]
    assert re.fullmatch(phrases_regex(["a"]), "a")
