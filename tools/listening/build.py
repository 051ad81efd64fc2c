"""Build the shipped adapter from the made catalogues: `python -m tools.listening.build OUT`.

OUT gets the adapter, `curve.jsonl` and the state; the same command continues what it holds. `settings.json` and the
card beside the shipped adapter are written by hand from `tools/listening/figures.json`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from deeprec.agent import pull_embedded_model
from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from deeprec.trm_tool import make_encoder
from tools.listening.examples import ExampleMaker
from tools.listening.packed_training import Group, add_adapter, loss_of, save_adapter

CATALOGUES = Path(__file__).parent / "catalogues"
VALIDATION = ("animals", "drinks")
"""Catalogues that are left out of training, for choosing settings; `held_out/` is for the figures alone."""
_ROWS, _GROUP = 7, 3
"""Groups of one optimizer step, and messages of a group."""
_WHOLE_RUNS = 0.06
"""Share of rows that are a whole run with its list."""
_WARM_UP, _LEVEL = 10, 0.3
"""Steps over which the learning rate rises, and the share of the steps after which it falls linearly to almost 0."""
STEPS, LEARNING_RATE = 300, 1.5e-3
"""Optimizer steps of 21 examples, and the highest learning rate of AdamW."""


def main(
    out: Path,
    rank: Annotated[int, typer.Option(help="Rank of the adapter; servers keep slots for 16.")] = 16,
    steps: Annotated[int, typer.Option(help="Optimizer steps of 21 examples.")] = STEPS,
    layers: Annotated[int, typer.Option(help="Last blocks of the model that get an adapter.")] = 20,
    seed: Annotated[int, typer.Option(help="Seeds weights and examples.")] = 0,
    every: Annotated[int, typer.Option(help="Steps between two states on disk.")] = 25,
    compiled: Annotated[bool, typer.Option(help="Compile the blocks, which needs a C++ compiler; 15% faster.")] = True,
) -> None:
    """Train the adapter on the made catalogues, or continue a training that was stopped."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = pull_embedded_model(EMBEDDED_MODEL)
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    added = add_adapter(model, rank=rank, layers=layers)
    if compiled:
        for block in model.model.layers:
            block.compile(dynamic=True)
    parameters = [part for layer in added.values() for part in (layer.down, layer.up)]
    paths = sorted(CATALOGUES.glob("*.json"))
    left_out = [path for path in paths if path.stem in VALIDATION]
    tokenizer, encoder = AutoTokenizer.from_pretrained(base), make_encoder(None)
    rng = np.random.default_rng(seed + 11)
    validation = ExampleMaker(left_out, tokenizer, encoder, rng, templates=0, renames=0)
    held_out = [validation.group(_GROUP) for _ in range(12)]
    learned = [path for path in paths if path not in left_out]
    training = ExampleMaker(learned, tokenizer, encoder, np.random.default_rng(seed))
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.98))
    step, losses, seconds = 0, list[float](), 0.0
    out.mkdir(parents=True, exist_ok=True)
    state = out / "state.pt"
    if state.is_file():
        kept: dict[str, Any] = torch.load(state, weights_only=True)
        for part, values in zip(parameters, kept["parameters"], strict=True):
            part.data.copy_(values)
        optimizer.load_state_dict(kept["optimizer"])
        step, seconds, training.deck = kept["step"], kept["seconds"], [(at, each) for at, each in kept["deck"]]
        training.rng.bit_generator.state = json.loads(kept["draws"])
    started = time.monotonic() - seconds
    while step < steps:
        for group_of in optimizer.param_groups:
            group_of["lr"] = LEARNING_RATE * _share_of_rate(step, steps)
        losses.append(_learn(model, [_row(training) for _ in range(_ROWS)], parameters, optimizer))
        step += 1
        if step % every and step < steps:
            continue
        seconds = round(time.monotonic() - started)
        save_adapter(added, out, base=EMBEDDED_MODEL_NAME)
        content = {
            "parameters": [part.detach() for part in parameters],
            "optimizer": optimizer.state_dict(),
            "step": step,
            "seconds": seconds,
            "deck": training.deck,
            "draws": json.dumps(training.rng.bit_generator.state),
        }
        torch.save(content, f"{state}.new")
        os.replace(f"{state}.new", state)
        line = {"step": step, "loss": round(float(np.mean(losses)), 4)}
        line |= {"held_out_loss": _validate(model, held_out), "seconds": seconds}
        with (out / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        typer.echo(json.dumps(line))
        losses.clear()


def _share_of_rate(step: int, steps: int) -> float:
    return float(min(1, (step + 1) / _WARM_UP) * max(0.02, 1 - max(0, step / steps - _LEVEL) / (1 - _LEVEL)))


def _row(training: ExampleMaker) -> Group:
    return training.whole_run() if training.rng.random() < _WHOLE_RUNS else training.group(_GROUP)


def _learn(model: Any, groups: list[Group], parameters: list[torch.nn.Parameter], optimizer: Any) -> float:
    loss, tokens = loss_of(model, groups)
    (loss / tokens).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach()) / tokens


@torch.no_grad()
def _validate(model: Any, groups: list[Group]) -> float:
    losses, tokens = zip(*(loss_of(model, [group]) for group in groups), strict=True)
    return round(float(sum(map(float, losses))) / int(sum(tokens)), 4)


if __name__ == "__main__":
    typer.run(main)
