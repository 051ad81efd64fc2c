"""Words that training writes and words that tests write do not meet."""

import re
from collections.abc import Iterable

from deeprec.evals.requests.wordings import REGISTERS, WORDS
from deeprec.trm_tool.data import TEST_WORDS, TRAINING_WORDS, Words

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


def test_training_words_and_test_words_are_disjoint() -> None:
    training = written(TRAINING_WORDS)
    assert len(training) > 150
    assert training & written(TEST_WORDS) == set()


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
