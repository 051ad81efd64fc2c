"""Words that training writes and words that tests write do not meet."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from deeprec.evals import TEST_PERSON_WORDS, TRAINING_PERSON_WORDS, PersonWords
from deeprec.evals.requests.wordings import REGISTERS, WORDS
from deeprec.trm_tool.data import TEST_WORDS, TRAINING_WORDS, Words

CATALOGUES = sorted((Path(__file__).parents[3] / "tools" / "listening" / "catalogues").glob("*.json"))
FUNCTION_WORDS = {
    *("a", "about", "after", "again", "an", "and", "anything", "are", "at", "be", "by", "can", "could", "do", "few"),
    *(
        "for",
        "from",
        "i",
        "if",
        "in",
        "is",
        "it",
        "me",
        "must",
        "my",
        "next",
        "nothing",
        "of",
        "off",
        "on",
        "one",
        "or",
    ),
    *("should", "so", "something", "that", "the", "there", "to", "was", "we", "where", "who", "with", "without", "you"),
}
"""English words of grammar, which carry no preference: articles, pronouns, prepositions, auxiliaries and the like."""


def content(texts: Iterable[str]) -> set[str]:
    """Words without slots, case and plural endings."""
    words = {
        word for text in texts for word in re.findall(r"[a-z]+(?:['’][a-z]+)?", re.sub(r"\{\w+\}", " ", text.lower()))
    }
    bare = {word.replace("'", "").replace("’", "") for word in words} - FUNCTION_WORDS
    return {word[:-1] if len(word) > 3 and word.endswith("s") else word for word in bare}


def written(words: Words) -> set[str]:
    groups = (words.voices, words.frames, words.values, words.bounds)
    texts = [text for group in groups for texts in group.values() for text in texts]
    return content([*texts, *words.nicknames.values(), *words.decades, *words.refusals, *words.seconds])


def forms(word: str) -> set[str]:
    """A word and its likely stems, which "chase", "chased" and "chasing" have in common."""
    stems = {word}
    for ending in ("s", "es", "ed", "er", "ing", "y", "ly", "al"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 2:
            stems |= {stem, f"{stem}e"} | ({stem[:-1]} if stem[-1] == stem[-2] else set())
    return stems


def test_training_words_and_test_words_are_disjoint() -> None:
    training = written(TRAINING_WORDS)
    assert len(training) > 150
    assert training & written(TEST_WORDS) == set()


def test_simulated_people_of_training_and_of_measurements_share_no_words() -> None:
    def said(people: PersonWords) -> set[str]:
        groups = (people.wants, people.indifferent, people.nothing_shown, people.accepts, people.gives_up)
        cart = (people.puts, people.puts_unseen, people.takes_out, people.asks_cart)
        later = [text for group in (*groups, *cart, *people.relative.values()) for text in group]
        return content(later) | written(people.requests)

    assert len(said(TRAINING_PERSON_WORDS)) > len(written(TRAINING_WORDS))
    assert said(TRAINING_PERSON_WORDS) & said(TEST_PERSON_WORDS) == set()


def test_training_words_and_the_held_out_wordings_are_disjoint() -> None:
    held_out = content([text for texts in (*REGISTERS.values(), *WORDS.values()) for text in texts])
    assert written(TRAINING_WORDS) & held_out == set()


def test_both_sets_say_the_same_values_in_ways_that_can_be_filled() -> None:
    assert TRAINING_WORDS.values.keys() == TEST_WORDS.values.keys()
    for words in (TRAINING_WORDS, TEST_WORDS):
        for sentence in [text for voice in words.voices.values() for text in voice] + [*words.refusals, *words.seconds]:
            assert sentence.count("{wish}") == 1
        for frame in [text for frames in words.frames.values() for text in frames]:
            assert "{value}" in frame
        for clause in [text for clauses in words.bounds.values() for text in clauses]:
            assert "{number}" in clause


EVERYDAY = {
    *("able", "afternoon", "all", "among", "around", "as", "away", "barely", "built", "completed", "corner"),
    *("covering", "driven", "drop", "easily", "edge", "either", "enough", "evening", "everybody", "far", "felt"),
    *(
        "first",
        "four",
        "front",
        "full",
        "good",
        "hand",
        "happy",
        "legged",
        "like",
        "line",
        "little",
        "lowered",
        "meant",
    ),
    *("nearly", "night", "non", "one", "place", "quick", "raised", "real", "right", "room", "round", "safe", "seat"),
    *("set", "side", "simple", "skin", "staying", "story", "suitable", "there", "those", "till", "two", "unlikely"),
    *("via", "way", "west", "when", "world", "your"),
}
"""Words of the tests that everybody uses and that mean no value by themselves ("set in space": `space` does)."""
TEST_FORMS = {
    form
    for words in (TEST_WORDS.values, WORDS)
    for word in content(text for texts in words.values() for text in texts) - EVERYDAY - FUNCTION_WORDS
    for form in forms(word)
}


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_made_catalogue_and_its_requests_use_no_word_that_means_a_value_in_the_tests(path: Path) -> None:
    made = json.loads(path.read_text(encoding="utf-8"))
    values = {value: texts for each in made["attributes"] for value, texts in each["values"].items()}
    texts = [*values, *(text for texts in values.values() for text in texts)]
    texts += [request["message"] for request in made["requests"]]
    items = content([made["item"]])  # a word that every item is called by means no value
    taken = [(text, word) for text in texts for word in sorted(content([text]) - items) if forms(word) & TEST_FORMS]
    assert taken == []
