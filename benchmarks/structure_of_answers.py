"""What keeps the structure of answers when a policy learns from pairs? DPO alone, with a term, after a step; made data.

    python -m benchmarks.structure_of_answers --work FOLDER --seed 0 --learning-rate 1e-3

A two-layer model answers prompts of three values with `genre : VALUE , VALUE`, but only to a half; each prompt has a
hidden value, which its three show with probability .6, and an answer of the structure earns the share of it that names
the hidden value, any other -1. Of four answers to each of 400 prompts, held to the structure or free, the best and the
worst are a pair. Measured on 600 new prompts: valid answers, and the reward free and held to the structure.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import torch
from peft import PeftModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from deeprec.training import DpoConfig, Rollout, RolloutPair, SftConfig, train_dpo, train_sft

VALUES, SAMPLES, GROUPS, MEASURED, PROMPT = 12, 4, 400, 600, 5
NOISE = [f"noise{number}" for number in range(6)]
WORDS = ["<s>", "</s>", "<sep>", "genre", ":", ",", *NOISE, *(f"value{number}" for number in range(VALUES))]
BEGIN, END, SEPARATOR, GENRE, COLON, COMMA = range(6)
FIRST = WORDS.index("value0")
STRUCTURE: tuple[Sequence[int], ...] = (
    *((GENRE,), (COLON,), range(FIRST, len(WORDS))),
    *((COMMA,), range(FIRST, len(WORDS)), (END,)),
)
"""The tokens that may stand at each position of a valid answer."""
METHODS: dict[str, float | None] = {
    "dpo": 0.0,
    "dpo, term .1": 0.1,
    "dpo, term 1": 1.0,
    "sft, then dpo": 0.0,
    "sft": None,
}
"""Method -> `DpoConfig.sft_weight`; None for no DPO."""


def make_prompts(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make prompts, int64 (count, 5), and the hidden value of each (count,)."""
    hidden = rng.integers(0, VALUES, count)
    shown = np.where(rng.random((count, 3)) < 0.6, hidden[:, None], rng.integers(0, VALUES, (count, 3)))
    edges = np.full((count, 1), BEGIN), np.full((count, 1), SEPARATOR)
    return np.concatenate([edges[0], FIRST + shown, edges[1]], axis=1), hidden


def make_answer(shown: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Write an answer as the untrained policy does: to a half in the structure, with a shown value to .4."""
    first, second = (
        int(rng.choice(shown)) if rng.random() < 0.4 else FIRST + int(rng.integers(VALUES)) for _ in range(2)
    )
    kind = rng.random()
    if kind < 0.5:
        return [GENRE, COLON, first, COMMA, second, END]
    if kind < 0.65:
        return [first, COMMA, second, END]
    if kind < 0.8:
        return [GENRE, first, COMMA, second, END]
    return [*(WORDS.index(NOISE[int(rng.integers(6))]) for _ in range(3)), GENRE, COLON, first, END]


def reward_of(answer: Sequence[int], hidden: int) -> float:
    """The reward of an answer: -1 outside the structure."""
    if len(answer) != len(STRUCTURE) or any(token not in may for token, may in zip(answer, STRUCTURE, strict=True)):
        return -1.0
    named = (answer[2] - FIRST, answer[4] - FIRST)
    return 0.5 * (named[0] == hidden) + 0.5 * (hidden in named)


def write_base(folder: Path, seed: int, steps: int = 500) -> None:
    """Train the policy that everything starts from, on answers of `make_answer`, and write it with its tokenizer."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(WORDS), num_attention_heads=2, max_position_embeddings=32, **shape)
    )
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        prompts, _ = make_prompts(64, rng)
        ids, labels = torch.zeros(64, 12, dtype=torch.long), torch.full((64, 12), -100)
        for row, prompt in enumerate(prompts):
            answer = torch.tensor(make_answer(prompt[1:4], rng))
            ids[row, : PROMPT + answer.numel()] = torch.cat([torch.from_numpy(prompt), answer])
            labels[row, PROMPT : PROMPT + answer.numel()] = answer
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<s>"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


@torch.inference_mode()
def sample(model: Any, prompts: np.ndarray, rng: np.random.Generator, *, held: bool) -> list[list[int]]:
    """Sample an answer to each prompt at temperature 1, free or held to the structure."""
    ids, answers = torch.from_numpy(prompts), [list[int]() for _ in prompts]
    for position in range(len(STRUCTURE) if held else 8):
        logits = model(input_ids=ids).logits[:, -1].double()
        if held:
            allowed = torch.full((len(WORDS),), -torch.inf, dtype=torch.double)
            allowed[list(STRUCTURE[position])] = 0
            logits = logits + allowed
        chosen = (logits.softmax(-1).cumsum(-1).numpy() > rng.random((len(prompts), 1))).argmax(-1)
        for answer, token in zip(answers, chosen.tolist(), strict=True):
            if END not in answer:
                answer.append(token)
        ids = torch.cat([ids, torch.from_numpy(chosen)[:, None]], dim=1)
    return answers


def make_pairs(model: Any, rng: np.random.Generator, *, held: bool) -> list[RolloutPair]:
    """Pair the best and the worst of the answers to each prompt, where they differ."""
    prompts, hidden = make_prompts(GROUPS, rng)
    answers = sample(model, np.repeat(prompts, SAMPLES, axis=0), rng, held=held)
    pairs = []
    for group, prompt in enumerate(prompts):
        own = range(group * SAMPLES, (group + 1) * SAMPLES)
        rewards = [reward_of(answers[at], int(hidden[group])) for at in own]
        best, worst = int(np.argmax(rewards)), int(np.argmin(rewards))
        if rewards[best] > rewards[worst]:
            sides = [make_rollout(prompt, answers[own[at]], own[at], held=held) for at in (best, worst)]
            pairs.append(
                RolloutPair(
                    chosen=sides[0], rejected=sides[1], chosen_reward=rewards[best], rejected_reward=rewards[worst]
                )
            )
    return pairs


def make_rollout(prompt: np.ndarray, answer: Sequence[int], number: int, *, held: bool) -> Rollout:
    """Make a rollout of one turn. DPO reads no logged log-probabilities."""
    mask = np.repeat([0, 1], [prompt.size, len(answer)]).astype(np.int8)
    return Rollout(
        token_ids=np.concatenate([prompt, answer]),
        env_mask=mask,
        logprobs=np.full(mask.size, np.nan, dtype=np.float32),
        run_id=UUID(int=number),
        group_id=str(number // SAMPLES),
        policy_model="made",
        adapter=None,
        adapter_version=None,
        guided=held,
    )


def measure(base: Path, adapter: Path | None, seed: int) -> dict[str, float]:
    """Measure a policy on new prompts, the same for every method."""
    model: Any = LlamaForCausalLM.from_pretrained(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    prompts, hidden = make_prompts(MEASURED, np.random.default_rng([seed, 1]))
    found: dict[str, float] = {}
    for held in (False, True):
        answers = sample(model.eval(), prompts, np.random.default_rng([seed, 2]), held=held)
        rewards = np.array([reward_of(answer, int(value)) for answer, value in zip(answers, hidden, strict=True)])
        found |= {"reward, held" if held else "reward": float(rewards.mean())}
        if not held:
            found["valid"] = float((rewards >= 0).mean())
    return found


def train(method: str, pairs: Sequence[RolloutPair], base: Path, out: Path, seed: int, rate: float) -> Path:
    """Train by one of `METHODS`."""
    shutil.rmtree(out, ignore_errors=True)
    shared: dict[str, Any] = {"batch_size": 32, "learning_rate": rate, "device": "cpu", "validation": 0.0, "seed": seed}
    start = None
    if method.startswith("sft"):
        epochs = 3 if method == "sft" else 1
        chosen = [pair.chosen for pair in pairs]
        start = train_sft(chosen, base=base, out=out / "sft", config=SftConfig(epochs=epochs, **shared))
    weight = METHODS[method]
    if weight is None and start is not None:
        return start
    config = DpoConfig(epochs=3, sft_weight=weight or 0.0, **shared)
    return train_dpo(pairs, base=base, start=start, out=out / "dpo", config=config)


def main() -> None:
    """Run all methods for one seed, and print one JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="A folder for models and adapters.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    asked = parser.parse_args()
    base = asked.work / f"base-{asked.seed}"
    if not base.exists():
        write_base(base, asked.seed)
    named: dict[str, Any] = {"seed": asked.seed, "learning_rate": asked.learning_rate}
    print(json.dumps({**named, "method": "untrained", **measure(base, None, asked.seed)}), flush=True)
    for held in (True, False):
        model = LlamaForCausalLM.from_pretrained(base).eval()
        pairs = make_pairs(model, np.random.default_rng([asked.seed, 0]), held=held)
        for method in METHODS:
            out = asked.work / f"{asked.seed}-{'held' if held else 'free'}-{method}"
            adapter = train(method, pairs, base, out, asked.seed, asked.learning_rate)
            figures = measure(base, adapter, asked.seed)
            print(json.dumps({**named, "pairs": "held" if held else "free", "method": method, **figures}), flush=True)


if __name__ == "__main__":
    main()
