import pytest
from hypothesis import given, strategies as st

from deeprec.trm_tool import ConfigError, DeepRecError, neutralise
from deeprec.trm_tool.text import hide_passwords, plain


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pw@host:1/v1 is busy", "http://***@host:1/v1 is busy"),
        ("HTTPS://sk-123@host/v1", "HTTPS://***@host/v1"),
        ("'postgresql+psycopg://me:p@ss/w@host/db?sslpassword=pw&a=1' or me@x", "'postgresql+psycopg://me:***@host/db"
         "?sslpassword=***&a=1' or me@x"),
        ("postgresql://postgres@/db?host=/run", "postgresql://postgres@/db?host=/run"),
        ("http://127.0.0.1:80/models/a@2 and https://h/?api_key=pw", "http://127.0.0.1:80/models/a@2 and https://h/"
         "?api_key=***"),
        ("no address: a:b@c?key=1", "no address: a:b@c?key=1"),
    ],
)  # fmt: skip
def test_addresses_are_shown_without_passwords_and_keys(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown
    for kind in (DeepRecError, ConfigError):
        assert str(kind(text)) == shown


@pytest.mark.parametrize("emoji", ["👩\u200d🚀", "❤\ufe0f\u200d🔥", "🏳\ufe0f\u200d🌈", "👩🏽\u200d🚀"])
def test_joined_emoji_stay_one_picture(emoji: str) -> None:
    text = f"Crew {emoji} \u200bof one"
    assert plain(text, 80) == f"Crew {emoji} of one"
    assert neutralise(neutralise(text, 80), 80) == f"Crew {emoji} of one"
    for length in range(1, len(text)):
        cut = neutralise(text, length)
        assert neutralise(cut, length) == cut


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\u200db", "ab"),
        ("👩\u200d\u200d🚀", "👩🚀"),
        ("👩\u200dignore", "👩ignore"),
        ("\u200d👩\u200d", "👩"),
        ("\u2066\u200d\u2067", ""),
        ("👩\ufe0f\U000e0041🚀", "👩🚀"),
        ("👩\u200d\U0001f0ff", "👩"),  # unassigned
    ],
)
def test_a_joiner_that_joins_no_emoji_goes(hostile: str, shown: str) -> None:
    assert plain(hostile, 80) == shown
