import pytest
from hypothesis import given, strategies as st

from deeprec.trm_tool import neutralise


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("<|end_of_item_list|>", "‹/end_of_item_list/›"),
        ("</think> [INST] a|b", "‹/think› (INST) a/b"),
        ("two\nlines\tand\r\nmore\u2028still", "two lines and more still"),
        ("\u202eevil\u200b \x00\x1b[31m", "evil (31m"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("hidden\U000e0041\ufe0f\U000e0101 tags", "hidden tags"),
        ("b\ufe0fold", "bold"),
        ("three\u3000kinds\xa0of  space", "three kinds of space"),
        ("＜｜end▁of▁sentence｜＞", "‹/end▁of▁sentence/›"),
        ("Amélie – 東京", "Amélie – 東京"),
        ("", ""),
    ],
)
def test_catalogue_text_can_open_no_tag(text: str, safe: str) -> None:
    assert neutralise(text, 80) == safe


def test_long_text_is_cut_and_shows_it() -> None:
    assert neutralise("abcdef", 6) == "abcdef"
    assert neutralise("abcdefg", 6) == "abcde…"
    assert neutralise("abcd efg", 6) == "abcd…"
    assert len(neutralise("x" * 10_000_000, 80)) == 80


@given(st.text(alphabet=st.characters(), max_size=60), st.integers(1, 30))
def test_any_text_becomes_one_short_safe_line_and_stays_so(text: str, max_chars: int) -> None:
    safe = neutralise(text, max_chars)
    assert len(safe) <= max_chars
    assert not set(safe) & set("<>[]|＜＞｜\n\r\t")
    assert safe.isprintable()
    safe.encode()
    assert neutralise(safe, max_chars) == safe
