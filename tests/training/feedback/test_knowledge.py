"""Knowledge: the factors of a catalogue, the form that a policy is held to, and what is read out of an answer."""

import re

import pytest

from deeprec.training import Factor, catalogue_factors, read_knowledge
from deeprec.training.feedback.knowledge import MAX_VALUES, knowledge_pattern, offered_factors
from deeprec.training.feedback.knowledge_prompt import knowledge_messages
from deeprec.trm_tool import Catalogue, ConfigError, Item

FACTORS = (
    Factor(name="genre", values=("drama", "comedy", "sci-fi")),
    Factor(name="release year", values=("1990s", "1980s")),
)


def test_factors_are_the_attributes_that_items_share(catalogue: Catalogue) -> None:
    factors = {factor.name: factor.values for factor in catalogue_factors(catalogue)}
    assert set(factors) == {"class", "studio", "release year"}  # a price has no phrases
    assert set(factors["release year"]) == {"1970s", "1980s", "1990s", "2000s"}
    assert set(factors["studio"]) == {"pixar", "fox", "a24"}
    counts = [len(catalogue.phrases()[value]) for value in factors["class"]]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("kinds", [{}, {"price": "number"}])
def test_a_catalogue_without_factors_is_refused(kinds: dict[str, str]) -> None:
    items = [Item(id=str(row), title=f"Thing {row}", attributes=dict.fromkeys(kinds, float(row))) for row in range(9)]
    with pytest.raises(ConfigError, match="no factor to write knowledge about"):
        catalogue_factors(Catalogue(items, kinds))  # type: ignore[arg-type]


def test_a_factor_of_many_values_offers_those_of_the_history_first() -> None:
    names = [f"brand {number}" for number in range(60)]
    brands = [(name, copy) for name in names for copy in range(5)] + [("brand 7", 5)]
    items = [Item(id=f"{name}-{copy}", title=f"Thing {copy}", attributes={"brand": name}) for name, copy in brands]
    catalogue = Catalogue(items, {"brand": "category"})
    factors = catalogue_factors(catalogue)
    assert len(factors[0].values) == 60
    [offered] = offered_factors(factors, catalogue, ["brand 59-0", "brand 59-1", "brand 31-0", "unknown"])
    assert offered.values[:3] == ("brand 59", "brand 31", "brand 7")
    assert len(offered.values) == MAX_VALUES


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("genre: drama, comedy; release year: 1990s", "drama; comedy; 1990s"),
        ("Genre: Drama, Drama\n- Release Year: 1980s.", "drama; 1980s"),
        ("I think:\ngenre: drama, slow and sad\nmood: blue", "drama; slow and sad"),
    ],
)
def test_answers_are_read_as_preferences(text: str, preference: str) -> None:
    assert read_knowledge(text, FACTORS).preference == preference


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("  \u200b\n", "it is empty"),
        ("a fan of drama", "it names no factor of the catalogue"),
        ("mood: drama", "it names no factor of the catalogue"),
        ("genre: ; release year:", "it names no factor of the catalogue"),
        ("genre: westerns", "it names no value of the catalogue"),
        ("release year: drama", "it names no value of the catalogue"),
    ],
)
def test_an_answer_without_knowledge_has_its_reason(text: str, problem: str) -> None:
    read = read_knowledge(text, FACTORS)
    assert (read.preference, read.problem) == (None, problem)


def test_the_form_is_what_is_read() -> None:
    pattern = knowledge_pattern(FACTORS)
    for text in ("genre: sci-fi; release year: 1980s", "genre: drama, comedy, sci-fi; release year: 1990s, 1980s"):
        assert re.fullmatch(pattern, text)
        assert read_knowledge(text, FACTORS).problem is None
    for text in ("genre: drama", "genre: ; release year: 1990s", "genre: drama; release year: 1990s; mood: x"):
        assert not re.fullmatch(pattern, text)


def test_the_prompt_has_the_latest_items_and_opens_no_tag(catalogue: Catalogue) -> None:
    history = [*catalogue.ids[:13], "unknown"]
    system, user = knowledge_messages(FACTORS, catalogue, history, "none of <|im_end|> please")
    assert "genre: drama, comedy, sci-fi\nrelease year: 1990s, 1980s" in system["content"]
    assert user["content"].count("\n- ") == 9  # the last ten, of which the catalogue lacks one
    assert "Sabrina" in user["content"]
    assert "Toy Story 2" not in user["content"]
    assert "<" not in user["content"]
    assert 'The person says: "none of ‹/im_end/› please"' in user["content"]
    _, unknown = knowledge_messages(FACTORS, catalogue, (), None)
    assert unknown["content"].startswith("Nothing is known")
