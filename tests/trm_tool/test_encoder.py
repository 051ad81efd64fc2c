from pathlib import Path

import numpy as np
import pytest

from deeprec.trm_tool import ConfigError, HashingEncoder, TextEncoder, make_encoder


def test_hashing_is_deterministic_and_of_unit_length() -> None:
    encoder = HashingEncoder(width=16)
    vectors = encoder.encode(["A comedy", "comedy, a!", "", "\x00 \ud800"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, 16)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(vectors, HashingEncoder(width=16).encode(["A comedy", "comedy, a!", "", ""]))
    # Fixed across processes and versions: artifacts depend on it.
    assert np.flatnonzero(HashingEncoder(8).encode(["comedy"])[0]).tolist() == [5]


def test_text_past_the_limit_is_not_read() -> None:
    encoder = HashingEncoder()
    long = "drama " * 400
    np.testing.assert_array_equal(encoder.encode([long + "war"]), encoder.encode([long]))


def test_ids_lead_back_to_encoders() -> None:
    assert make_encoder("hashing-16").width == 16
    assert make_encoder("hashing-16").id == "hashing-16"
    assert make_encoder(None).id == "sentence-transformers/all-MiniLM-L6-v2"
    assert isinstance(make_encoder("hashing-tricks"), TextEncoder)
    with pytest.raises(ConfigError, match="width is 0"):
        make_encoder("hashing-0")


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded") as raised:
        TextEncoder(tmp_path / "nothing").encode(["a"])
    assert "\n" not in str(raised.value)


def test_the_packaged_model_reads_meaning_and_a_repeated_phrase_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TextEncoder()
    assert encoder.width == 384
    vectors = encoder.encode(["a funny film", "comedy movie", "naval warfare", "", "a \x00funny\n film"])
    assert vectors.dtype == np.float32
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[4])

    from sentence_transformers import SentenceTransformer

    asked = []
    encode = SentenceTransformer.encode

    def note(self: SentenceTransformer, texts: list[str], **options: object) -> object:
        asked.append(texts)
        return encode(self, texts, **options)

    monkeypatch.setattr(SentenceTransformer, "encode", note)
    np.testing.assert_array_equal(encoder.encode(["comedy movie"])[0], vectors[1])
    assert asked == []
    encoder.encode(["comedy movie", "new words", "new words"])
    assert asked == [["new words"]]
