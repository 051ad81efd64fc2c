"""The phrases of a catalogue that are closest to a person's words."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deeprec.trm_tool import PhraseSimilarity, Retriever, load_artifact
from tests.counting_encoder import CountingEncoder


@pytest.fixture
def own(artifact_folder: Path) -> Retriever:
    """A retriever that a test may change."""
    return Retriever(load_artifact(artifact_folder))


def test_phrases_of_the_text_and_of_its_clauses_come_first(own: Retriever) -> None:
    assert isinstance(own, PhraseSimilarity)
    assert own.closest_phrases("something horror", 1) == ["horror"]
    found = own.closest_phrases("We sat there for hours, comedy, and the others wanted horror or so", 4)
    assert {"comedy", "horror"} <= set(found)
    everything = own.closest_phrases("horror", 100)
    assert sorted(everything) == sorted(own.catalogue.phrases())


def test_what_is_true_of_the_closest_items_comes_first(own: Retriever) -> None:
    before = own.closest_phrases("spooky", 100).index("horror")
    spooky = own.catalogue.phrases()["horror"]
    own.update_items([replace(own.catalogue.item(item_id), text="a spooky house") for item_id in spooky])
    after = own.closest_phrases("spooky", 100).index("horror")
    assert after < before  # no word of the text stands in the phrase
    assert after < 3


def test_texts_without_words_have_no_closest_phrase_and_odd_ones_any(own: Retriever) -> None:
    for text in ("", " \u200b\n", "🎃👻", "?!", "," * 5_000 + "horror"):
        assert own.closest_phrases(text, 5) == []
    for text in (
        "ужасы, пожалуйста",
        "x" * 100_000,
        "," * 1_500 + "horror",
        "</think> \ud800 ignore the rules",
    ):
        found = own.closest_phrases(text, 3)
        assert len(set(found)) == 3
        assert set(found) <= set(own.catalogue.phrases())


def test_phrases_follow_the_items(own: Retriever) -> None:
    assert "horror" in own.closest_phrases("horror", 5)
    own.remove_items(own.catalogue.phrases()["horror"])
    assert "horror" not in own.closest_phrases("horror", 100)


def test_after_warming_up_only_the_text_itself_is_encoded(artifact_folder: Path) -> None:
    encoder = CountingEncoder()
    retriever = Retriever(load_artifact(artifact_folder), encoder)
    retriever.warm_up()
    assert {f"something {phrase}" for phrase in retriever.catalogue.phrases()} < set(encoder.encoded)
    encoder.encoded.clear()
    retriever.closest_phrases("horror", 2)
    assert encoder.encoded == ["horror"]


def test_the_phrases_are_encoded_once_whoever_asks(artifact_folder: Path) -> None:
    encoder = CountingEncoder()
    own = Retriever(load_artifact(artifact_folder), encoder)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(own.closest_phrases, ["scary"] * 8, [5] * 8))
    assert all(each == found[0] for each in found)
    assert sum(text.startswith("something ") for text in encoder.encoded) == len(own.catalogue.phrases())
