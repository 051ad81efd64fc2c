"""A tiny base model on disk, and rollouts that it sampled itself."""

from __future__ import annotations

import math
from pathlib import Path
from uuid import UUID

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from deeprec.training import RewardedRollout, Rollout, ScoredRollout, score_groups
from tests.tiny_server import BOS, EOS, tiny_llama

VOCABULARY = 258


def write_tiny_base(folder: Path, seed: int = 0) -> Path:
    """The random Llama of the tiny server, with a tokenizer of bytes."""
    words = {f"b{number}": number for number in range(BOS)} | {"<s>": BOS, "</s>": EOS}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="b0")), bos_token="<s>", eos_token="</s>"
    )
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        tiny_llama(seed).save_pretrained(folder)
    return folder


def write_tiny_chat_base(folder: Path, seed: int = 0) -> Path:
    """The same Llama with a tokenizer that writes any text in bytes, and a chat template."""
    tokens = {char: number for number, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    model = Tokenizer(BPE(vocab=tokens | {"<s>": BOS, "</s>": EOS}, merges=[]))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    model.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        tiny_llama(seed).save_pretrained(folder)
    return folder


def make_rollout(
    model: LlamaForCausalLM,
    *,
    seed: int,
    turns: tuple[tuple[int, int], ...] = ((9, 5), (6, 4)),
    group: str = "g",
    adapter_version: str | None = None,
) -> Rollout:
    """A random chain of turns (prompt tokens, policy tokens) with the model's own log-probabilities.

    The first prompt is that of the group.
    """
    rng = np.random.default_rng(seed)
    mask = np.concatenate([np.repeat([0, 1], turn) for turn in turns]).astype(np.int8)
    token_ids = rng.integers(0, 256, mask.size)
    token_ids[: turns[0][0]] = np.random.default_rng(list(group.encode())).integers(0, 256, turns[0][0])
    with torch.inference_mode():
        logits = model(torch.from_numpy(token_ids)[None]).logits[0, :-1].log_softmax(-1)
    own = logits.gather(-1, torch.from_numpy(token_ids[1:])[:, None])[:, 0].numpy()
    return Rollout(
        token_ids=token_ids,
        env_mask=mask,
        logprobs=np.where(mask == 1, np.concatenate([[math.nan], own]), math.nan).astype(np.float32),
        run_id=UUID(int=seed + 1),
        group_id=group,
        policy_model="tiny",
        adapter=None,
        adapter_version=adapter_version,
        guided=False,
    )


def scored_step(model: LlamaForCausalLM, step: int = 0, groups: int = 2, size: int = 3) -> list[ScoredRollout]:
    """Groups of rollouts of different lengths with rewards that differ."""
    rewarded = []
    for group in range(groups):
        for sample in range(size):
            seed = 1000 * step + 10 * group + sample
            turns = ((5 + 3 * group, 3 + sample), (4 + sample, 2 + 2 * group))
            rollout = make_rollout(model, seed=seed, turns=turns, group=f"{step}/{group}")
            reward = float((seed * 7) % 5)
            rewarded.append(RewardedRollout(rollout, {"format": 0.0 if sample else -1.0, "hit": reward}, reward))
    return score_groups(rewarded)
