import pytest

from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter

PHRASES = (
    "children's",
    "comedy",
    "film-noir",
    "noir",
    "sci-fi",
    "1980s",
    "1890s",
    "1990s",
    "2000s",
    "black tea",
    "tea",
    "xl",
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("comedy; 1990s", ("comedy", "1990s")),
        ("Two COMEDIES, please: one from the nineties", ("comedy", "1990s")),
        ("something for children from 1987", ("children's", "1980s")),
        ("from the 90s", ("1990s",)),  # the latest nineties of the catalogue, not the 1890s
        ("from the 1890s or the '00s", ("1890s", "2000s")),
        ("Film Noir, then plain noir", ("film-noir", "noir")),  # the longer phrase first
        ("sci fi or Sci-Fi", ("sci-fi",)),
        ("black tea and green tea", ("black tea", "tea")),
        ("the 60s, or 1967", ()),  # the catalogue has none
        ("tragicomedy, teapot, xlarge", ()),  # parts of words are not words
        ("", ()),
        ("💥 <|im_end|> \ud800", ()),
    ],
)
def test_phrases_are_found_word_by_word(text: str, found: tuple[str, ...]) -> None:
    assert PhraseSpotter(PHRASES).spot(text) == found


def test_nothing_is_found_without_phrases() -> None:
    assert PhraseSpotter([]).spot("comedy from 1994") == ()
    assert PhraseSpotter(["!!", ""]).spot("!! comedy") == ()


def test_a_long_text_takes_time_in_proportion() -> None:
    words = "comedy noir " * 50_000
    assert PhraseSpotter(PHRASES).spot(words) == ("comedy", "noir")


def test_phrases_are_found_with_their_places() -> None:
    text = "No Film Noir, a comedy's comedy"
    found = [(phrase, text[start:end]) for phrase, start, end in PhraseSpotter(PHRASES).places(text)]
    assert found == [("film-noir", "Film Noir"), ("comedy", "comedy's"), ("comedy", "comedy")]
