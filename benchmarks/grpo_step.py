"""One optimizer step of GRPO beside plain TRL's, which is given the same rollouts in the same run.

    python -m benchmarks.grpo_step --base .deeprec/models/smollm2-135m-instruct --rollouts 8 --tokens 600
    python -m benchmarks.grpo_step --base MODEL --store .deeprec/traces.db --rollouts 8

Plain TRL gets the rollouts from a `rollout_func`, makes its own advantages of the same rewards, and has micro-batches
of as many rollouts as fit into the same bound of tokens. Each side trains in a process of its own, in turn, so that
peak memory is its own; the first step warms up. Both begin with equal adapters, so equal gradient norms show equal
work. CPU seconds are reported beside seconds: on a busy machine only they can be compared.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from deeprec.training.rollouts.advantages import RewardedRollout, ScoredRollout, score_groups
from deeprec.training.rollouts.rollouts import Rollout, read_rollouts
from deeprec.training.trainers.micro_batches import Padding
from deeprec.training.trainers.policy_model import PolicyModel, load_policy
from deeprec.training.trainers.trainer_config import AdapterConfig, GrpoConfig

GROUP = 2
"""Rollouts of a group, rewarded 1 and 0: every rollout has an advantage."""


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--store", help="take the first free rollouts of this trace store; else they are made up")
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=600, help="of a made-up rollout, about; 2 in 5 are the policy's")
    parser.add_argument("--micro-batch-tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a round, after one that warms up")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/grpo_step.json"))
    parser.add_argument("--side", choices=("ours", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rollouts % GROUP:
        parser.error(f"--rollouts has to be a multiple of {GROUP}")
    if options.side is not None:
        print(json.dumps(_train(options)))
        return
    rounds = [{side: _in_own_process(side) for side in ("ours", "plain")} for _ in range(options.rounds)]
    result = {**_summary(rounds), "rounds": rounds, "options": {**vars(options), "out": str(options.out)}}
    _print(result)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**result, "cores": os.cpu_count()}, indent=2) + "\n", encoding="utf-8")


def _in_own_process(side: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.grpo_step", *sys.argv[1:], "--side", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratios of ours over plain TRL's, round by round and in the middle: below 1 is less for us."""
    ratios = {
        name: [one["ours"][name] / one["plain"][name] for one in rounds]
        for name in ("seconds", "cpu_seconds", "peak_memory_gb")
    }
    return {"ratios": ratios, "medians": {name: statistics.median(values) for name, values in ratios.items()}}


def _print(result: dict[str, Any]) -> None:
    table = Table("round", "", "s a step", "CPU s a step", "tokens/s", "padding", "peak GB", "gradient norm", box=None)
    for number, one in enumerate(result["rounds"], start=1):
        for side in ("ours", "plain"):
            figures = one[side]
            table.add_row(
                str(number),
                side,
                f"{figures['seconds']:.2f}",
                f"{figures['cpu_seconds']:.2f}",
                f"{figures['tokens_per_second']:,.0f}",
                f"{figures['padding_waste']:.1%}",
                f"{figures['peak_memory_gb']:.2f}",
                f"{figures['grad_norm']:.4f}",
            )
    console = Console()
    console.print(table)
    medians = ", ".join(f"{name} {value:.3f}" for name, value in result["medians"].items())
    console.print(f"ours / plain TRL, median of {len(result['rounds'])} rounds: {medians}")


def _train(options: argparse.Namespace) -> dict[str, Any]:
    """One side: what its timed steps took on average."""
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    policy = load_policy(options.base, lora=AdapterConfig())
    rollouts = enumerate(_rollouts(options, policy))
    scored = score_groups(
        RewardedRollout(replace(rollout, group_id=str(place // GROUP)), {}, float(place % GROUP == 0))
        for place, rollout in rollouts
    )
    from deeprec.training.trainers.step_trainer import peak_memory_gb

    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        make = _ours if options.side == "ours" else _plain
        trainer, padding = make(policy, scored, options, Path(scratch))
        trainer.add_callback(_clock(times))
        trainer.train()
        grad_norm = next(line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line)
    seconds, cpu_seconds = (statistics.fmean(timed) for timed in zip(*times[1:], strict=True))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "tokens_per_second": padding.tokens / seconds,
        "tokens": padding.tokens,
        "policy_tokens": sum(int(each.rollout.env_mask.sum()) for each in scored),
        "padding_waste": padding.waste,
        "peak_memory_gb": peak_memory_gb(on_gpu=policy.on_gpu),
        "grad_norm": float(grad_norm),
    }


def _clock(times: list[tuple[float, float]]) -> Any:
    """A callback that notes seconds and CPU seconds of each step, from its begin to the new weights."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter(), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append((time.perf_counter() - self.began[0], time.process_time() - self.began[1]))

    return Clock()


def _ours(
    policy: PolicyModel, scored: list[ScoredRollout], options: argparse.Namespace, scratch: Path
) -> tuple[Any, Padding]:
    from deeprec.training.trainers.grpo_trainer import make_grpo_trainer

    config = GrpoConfig(
        steps=options.steps + 1,
        learning_rate=1e-6,
        micro_batch_tokens=options.micro_batch_tokens,
        max_logprob_gap=100.0,
        checkpoint_every=options.steps + 1,
    )
    trainer = make_grpo_trainer(
        policy, config, scratch, source=lambda step: scored, version=lambda step: None, identity={}, on_step=None
    )
    return trainer, trainer.work(0).padding


def _plain(
    policy: PolicyModel, scored: list[ScoredRollout], options: argparse.Namespace, scratch: Path
) -> tuple[Any, Padding]:
    """`trl.GRPOTrainer` as its documentation has it, with its defaults but for what hurts on a CPU."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from trl import GRPOConfig as TrlConfig, GRPOTrainer

    rollouts = [each.rollout for each in scored]
    rows = _rows_at_once(rollouts, options.micro_batch_tokens)

    def given(prompts: list[str], _: Any) -> dict[str, Any]:
        ends = [int(np.argmax(rollout.env_mask)) for rollout in rollouts]
        return {
            "prompt_ids": [rollout.token_ids[:end].tolist() for rollout, end in zip(rollouts, ends, strict=True)],
            "completion_ids": [rollout.token_ids[end:].tolist() for rollout, end in zip(rollouts, ends, strict=True)],
            "logprobs": [
                np.nan_to_num(rollout.logprobs[end:]).tolist() for rollout, end in zip(rollouts, ends, strict=True)
            ],
            "env_mask": [rollout.env_mask[end:].tolist() for rollout, end in zip(rollouts, ends, strict=True)],
        }

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [each.reward for each in scored]

    args = TrlConfig(
        output_dir=str(scratch),
        max_steps=options.steps + 1,
        learning_rate=1e-6,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=len(rollouts) // rows,
        num_generations=GROUP,
        scale_rewards="none",
        use_cpu=not policy.on_gpu,
        bf16=policy.on_gpu,
        activation_checkpointing=policy.on_gpu,
        shuffle_dataset=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=reward,
        args=args,
        train_dataset=Dataset.from_dict({"prompt": [str(place) for place in range(len(rollouts) // GROUP)]}),
        processing_class=policy.tokenizer,
        rollout_func=given,
    )
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    # TRL pads the prompts on the left and the completions on the right, each to the longest of all of the step.
    prompts = [int(np.argmax(rollout.env_mask)) for rollout in rollouts]
    rests = [rollout.token_ids.size - prompt for rollout, prompt in zip(rollouts, prompts, strict=True)]
    padded = len(rollouts) * (max(prompts) + max(rests))
    return trainer, Padding(tokens=sum(prompts) + sum(rests), padded=padded)


def _rows_at_once(rollouts: list[Rollout], micro_batch_tokens: int) -> int:
    """How many rollouts a micro-batch of plain TRL can have: what divides all and keeps the bound."""
    longest = max(rollout.token_ids.size for rollout in rollouts)
    fitting = [rows for rows in range(1, len(rollouts) + 1) if rows * longest <= micro_batch_tokens]
    return max((rows for rows in fitting if len(rollouts) % rows == 0), default=1)


def _rollouts(options: argparse.Namespace, policy: PolicyModel) -> list[Rollout]:
    if options.store:
        from deeprec.agent import TraceStore

        with TraceStore(options.store, create=False) as store:
            found = list(islice(read_rollouts(store, on_refused=lambda refused: None), options.rollouts))
        if len(found) < options.rollouts:
            raise SystemExit(f"{options.store} has {len(found)} free rollouts.")
        return found
    return list(_made_up(options, policy))


def _made_up(options: argparse.Namespace, policy: PolicyModel) -> Iterator[Rollout]:
    """Random tokens of lengths that differ by up to a quarter, with the policy's own log-probabilities."""
    rng = np.random.default_rng(0)
    for place in range(options.rollouts):
        size = int(options.tokens * rng.uniform(0.75, 1.25))
        mask = np.zeros(size, dtype=np.int8)
        for begin in (0.4, 0.6, 0.8):  # a prompt, then three turns with the tool's output between them
            start = int(begin * size)
            mask[start : start + round(0.4 * size / 3)] = 1
        ids = rng.integers(0, policy.vocabulary, size)
        with torch.inference_mode():
            given = torch.from_numpy(ids)[None].to(policy.model.device)
            now = policy.model(given).logits[0, :-1].float().log_softmax(-1).gather(-1, given[0, 1:, None])
        own = np.concatenate([[math.nan], now[:, 0].cpu().numpy()])
        yield Rollout(
            token_ids=ids,
            env_mask=mask,
            logprobs=np.where(mask == 1, own, math.nan).astype(np.float32),
            run_id=UUID(int=place + 1),
            group_id=None,
            policy_model="made up",
            adapter=None,
            adapter_version=None,
            guided=False,
        )


if __name__ == "__main__":
    main()
