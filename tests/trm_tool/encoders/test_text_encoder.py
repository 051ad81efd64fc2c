import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeprec.trm_tool import (
    Artifact,
    ConfigError,
    HashingEncoder,
    PreferenceAwareTRM,
    Query,
    Retriever,
    TextEncoder,
    encoder_of_artifact,
    load_artifact,
    make_encoder,
    make_retrieve_items_tool,
)

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", ":", "comedy", "drama", "war")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of one random layer, 12 wide, saved without prompts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        bert = BertModel(
            BertConfig(
                vocab_size=len(WORDS),
                hidden_size=12,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=8,
                initializer_range=1.0,
            )
        )
    bert.save_pretrained(folder / "bert")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    SentenceTransformer(modules=[Transformer(str(folder / "bert")), Pooling(12)]).save(str(folder / "tiny"))
    return folder / "tiny"


def with_prompts(model: Path, folder: Path, prompts: dict[str, str], default: str | None = None) -> TextEncoder:
    shutil.copytree(model, folder)
    path = folder / "config_sentence_transformers.json"
    config: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"prompts": prompts, "default_prompt_name": default}))
    return TextEncoder(folder)


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


@pytest.mark.parametrize(
    ("prompts", "default", "item", "preference"),
    [
        ({}, None, "comedy", "comedy"),
        # Models saved with "passage" also have an empty "document", which sentence-transformers would prefer.
        ({"query": "query: ", "passage": "passage: ", "document": ""}, None, "passage: comedy", "query: comedy"),
        ({"query": "query: ", "document": "drama "}, None, "drama comedy", "query: comedy"),
        # One side only: the default, which is there for queries, does not spill over to the items.
        ({"query": "query: "}, "query", "comedy", "query: comedy"),
        ({"same": "war "}, "same", "war comedy", "war comedy"),
        ({"same": "war "}, None, "comedy", "comedy"),
    ],
)
def test_the_prompts_of_a_model_are_not_lost(
    tiny_model: Path, tmp_path: Path, prompts: dict[str, str], default: str | None, item: str, preference: str
) -> None:
    bare = TextEncoder(tiny_model)
    encoder = with_prompts(tiny_model, tmp_path / "prompted", prompts, default)
    np.testing.assert_allclose(encoder.encode(["comedy"]), bare.encode([item]), atol=1e-6)
    np.testing.assert_allclose(encoder.encode(["comedy"], role="preference"), bare.encode([preference]), atol=1e-6)
    assert not np.allclose(bare.encode(["comedy"]), bare.encode(["query: comedy"]), atol=1e-3)


def test_any_model_folder_works(tiny_model: Path) -> None:
    encoder = make_encoder(str(tiny_model))
    assert (encoder.id, encoder.width) == (str(tiny_model), 12)
    assert encoder.encode(["comedy", ""]).shape == (2, 12)


def test_a_model_is_known_by_what_lies_in_its_folder(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "copy")
    fingerprint = TextEncoder(tiny_model).fingerprint
    assert TextEncoder(tmp_path / "copy").fingerprint == fingerprint
    (tmp_path / "copy" / "README.md").write_text("words")
    (tmp_path / "copy" / ".git").write_text("words")
    assert TextEncoder(tmp_path / "copy").fingerprint == fingerprint
    weights = tmp_path / "copy" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = TextEncoder(tmp_path / "copy").fingerprint
    assert changed != fingerprint
    assert with_prompts(tiny_model, tmp_path / "prompted", {"query": "query: "}).fingerprint != fingerprint
    (tmp_path / "copy" / "config.json").rename(tmp_path / "copy" / "conf.json")
    assert TextEncoder(tmp_path / "copy").fingerprint not in (fingerprint, changed)
    assert HashingEncoder(8).fingerprint != HashingEncoder(16).fingerprint


def test_a_model_that_was_fetched_is_known_by_its_files_too(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for owner in ("somebody", "sentence-transformers"):
        fetched = tmp_path / f"models--{owner}--tiny"
        shutil.copytree(tiny_model, fetched / "snapshots" / ("a" * 40))
        (fetched / "refs").mkdir()
        (fetched / "refs" / "main").write_text("a" * 40)
    fingerprint = TextEncoder(tiny_model).fingerprint
    assert TextEncoder("somebody/tiny").fingerprint == fingerprint
    assert TextEncoder("tiny").fingerprint == fingerprint


def test_a_model_that_gives_no_numbers_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shutil.copytree(tiny_model, tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    for values in weights.values():
        values[...] = np.nan
    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="values that are not finite for 'drama'"):
        TextEncoder(tmp_path / "broken").encode(["drama"])


def test_an_artifact_cannot_have_a_folder_or_a_download_loaded(
    tiny_model: Path, tmp_path: Path, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An artifact comes from anybody, and may name a folder that came with it."""
    artifact = load_artifact(artifact_folder)
    shutil.copytree(tiny_model, tmp_path / "beside")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("socket.socket.connect", refuse_to_connect)
    for name, why in (("beside", "is a folder"), ("somebody/model", "is not on this machine")):
        artifact.config["encoder_id"] = name
        for ask in (lambda: Retriever(artifact).retrieve(["900"], "comedy", k=5), lambda: retriever_encoder(artifact)):
            with pytest.raises(ConfigError, match=f"{name}', which {why}.*set DEEPREC_ENCODER to the same name"):
                ask()
    monkeypatch.setenv("DEEPREC_ENCODER", "beside")
    assert encoder_of_artifact("beside").width == 12
    monkeypatch.delenv("DEEPREC_ENCODER")
    fetched = tmp_path / "cache" / "models--somebody--model"
    shutil.copytree(tiny_model, fetched / "snapshots" / ("a" * 40))
    (fetched / "refs").mkdir()
    (fetched / "refs" / "main").write_text("a" * 40)
    assert encoder_of_artifact("somebody/model").fingerprint == TextEncoder(tiny_model).fingerprint
    assert encoder_of_artifact("hashing-32").width == 32


def retriever_encoder(artifact: Artifact) -> str:
    return Retriever(artifact).encoder.fingerprint


def refuse_to_connect(*_: object) -> None:
    raise AssertionError("a model is looked for on the network")


def test_a_model_of_another_width_in_the_folder_it_was_trained_with_is_refused(
    tiny_model: Path, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact names its encoder by folder; what lies there may have changed since."""
    monkeypatch.setenv("DEEPREC_ENCODER", str(tiny_model))
    artifact = load_artifact(artifact_folder)
    artifact.config["encoder_id"] = str(tiny_model)
    with pytest.raises(ConfigError, match="vectors 12 wide where the artifact needs 32"):
        Retriever(artifact).retrieve(["900"], "comedy", k=5)


def test_a_phrase_that_is_asked_again_is_not_encoded_again(
    tiny_model: Path, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("DEEPREC_ENCODER", str(tiny_model))
    artifact = load_artifact(artifact_folder)
    texts = torch.zeros(50, 12)
    retriever = Retriever(
        replace(
            artifact,
            model=PreferenceAwareTRM(artifact.model.config, texts).requires_grad_(False).eval(),
            text_embeddings=texts,
            config=artifact.config | {"encoder_id": str(tiny_model)},
        )
    )
    asked: list[str] = []
    encode = SentenceTransformer.encode

    def note(self: SentenceTransformer, texts: list[str], **options: object) -> object:
        asked.extend(texts)
        return encode(self, texts, **options)

    monkeypatch.setattr(SentenceTransformer, "encode", note)
    first = retriever.retrieve(["900"], "comedy; war", k=5)
    assert asked
    asked.clear()
    assert retriever.retrieve(["900"], " comedy;\twar\x00", k=5) == first
    retriever.retrieve_batch([Query(preference="comedy; war"), Query(history=["893"], preference="comedy; war")], k=5)
    make_retrieve_items_tool(retriever, history=["886"]).invoke("comedy; war")
    assert asked == []
