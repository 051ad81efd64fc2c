import re

import pytest

from deeprec.agent import Allowance, read_tagged
from deeprec.agent.protocols.tagged_text import tagged_regex

PREFERENCE = "<think>Hm.</think>\n<|begin_of_preference|>{}<|end_of_preference|>"


def test_a_preference_is_read_with_its_thought() -> None:
    decision = read_tagged(PREFERENCE.format(" comedy ; 1990s; comedy;"))
    assert (decision.action, decision.thought, decision.preference) == ("retrieve", "Hm.", "comedy; 1990s")


@pytest.mark.parametrize("lines", ["4\n1\n12", "4. Toy Story 2\n1. Toy Story\n12. Heat (1995)", "#4\n#1\n#12"])
def test_a_list_is_read_by_number_whatever_stands_behind_it(lines: str) -> None:
    decision = read_tagged(f"<recommendation_list>\n{lines}\n</recommendation_list>")
    assert (decision.action, decision.numbers, decision.unread) == ("recommend", (4, 1, 12), 0)


def test_a_line_without_a_number_is_counted_and_never_matched_by_its_title() -> None:
    decision = read_tagged("<recommendation_list>\nToy Story\n3\n</recommendation_list>")
    assert (decision.numbers, decision.unread) == ((3,), 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I like films.", "neither a preference nor a list"),
        ("", "neither a preference nor a list"),
        (PREFERENCE.format(" ; "), "the preference is empty"),
        (PREFERENCE.format("x" * (401)), "401 characters"),
        (PREFERENCE.format("a <think> b"), "a tag inside"),
        ("<|end_of_preference|>comedy<|begin_of_preference|>", "neither"),
        ("<recommendation_list>\n1\n2", "the list was not closed"),
        ("<recommendation_list>\nnone\n</recommendation_list>", "no number"),
        ("<recommendation_list></recommendation_list>", "no number"),
    ],
)
def test_anything_else_is_malformed_with_the_reason(text: str, why: str) -> None:
    decision = read_tagged(text)
    assert decision.action == "malformed"
    assert why in str(decision.detail)


def test_a_cut_text_says_so() -> None:
    assert "the token limit" in str(read_tagged("<|begin_of_preference|>com", cut=True).detail)


def test_an_enormous_number_is_no_number() -> None:
    assert read_tagged(f"<recommendation_list>\n{'9' * 5000}\n1\n</recommendation_list>").numbers == (1,)


def test_the_guided_grammar_holds_phrases_and_reads_back() -> None:
    phrases = ["children's", "sci-fi", "c++ (old)", "1990s"]
    regex = tagged_regex(Allowance(phrases=phrases, may_rank=False, max_tokens=9, timeout_s=1))
    text = (
        "<think>The person often chooses sci-fi; 1990s.</think>\n"
        "<|begin_of_preference|>sci-fi; c++ (old)<|end_of_preference|>"
    )
    assert re.fullmatch(regex, text)
    assert read_tagged(text, guided=True).preference == "sci-fi; c++ (old)"
    assert not re.fullmatch(regex, text.replace("sci-fi", "scifi"))
    assert "<recommendation_list>" not in regex


def test_the_grammar_offers_the_list_when_no_search_is_left() -> None:
    regex = tagged_regex(Allowance(phrases=[], may_rank=False, max_tokens=9, timeout_s=1))
    assert re.fullmatch(regex, "<think>That is enough to rank.</think>\n<recommendation_list>\n")
