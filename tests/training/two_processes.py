"""Trainings of a tiny policy, by one process or by two: `python -m tests.training.two_processes OUT BASE` runs two.

The second process is forked from the first one after its imports, which take longer than the trainings.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from transformers import LlamaForCausalLM

from deeprec.training import DpoConfig, GrpoConfig, RolloutPair, SftConfig, train_dpo, train_grpo, train_sft
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import make_rollout, scored_step

_SHARED: dict[str, Any] = {"learning_rate": 1e-3, "device": "cpu", "micro_batch_tokens": 40}
ALL_WEIGHTS = GrpoConfig(**_SHARED, steps=2, lora=None, loss_type="grpo")
# Three rollouts, each a micro-batch: one of two processes has no second one.
WITH_KL = GrpoConfig(**_SHARED | {"micro_batch_tokens": 1}, steps=2, beta=0.04)
SFT = SftConfig(**_SHARED, epochs=1, batch_size=5, validation=0.3)
DPO = DpoConfig(**_SHARED | {"micro_batch_tokens": 60}, epochs=1, batch_size=3, validation=0.3)


def train_all(base: Path, out: Path) -> None:
    """Run each training into a folder of its name."""
    model = LlamaForCausalLM.from_pretrained(base).eval()
    train_policy(base, out / "all weights", ALL_WEIGHTS)
    train_policy(base, out / "kl", WITH_KL, groups=1)
    runs = [make_rollout(model, seed=seed, turns=((5 + seed, 4), (3, 2 + seed))) for seed in range(9)]
    train_sft([replace(run, guided=True) for run in runs], base=base, out=out / "sft", config=SFT)
    pairs = []
    for number in range(8):
        chosen, rejected = (
            make_rollout(model, seed=2 * number + side, turns=((5 + number, 4), (3 + side, 2))) for side in range(2)
        )
        pairs.append(RolloutPair(chosen=chosen, rejected=rejected, chosen_reward=1.0, rejected_reward=0.0))
    train_dpo(pairs, base=base, out=out / "dpo", config=DPO)


def train_policy(base: Path, out: Path, config: GrpoConfig, groups: int = 3) -> None:
    """Run or go on with a training on made rollouts."""
    model = LlamaForCausalLM.from_pretrained(base).eval()
    train_grpo(lambda step: scored_step(model, step, groups=groups), base=base, out=out, config=config)


def main(out: Path, base: Path) -> int:
    """Run the trainings in two processes, and a further step of one with its weights spread over them (FSDP)."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    child = os.fork()
    os.environ |= dict.fromkeys(("RANK", "LOCAL_RANK"), "0" if child else "1")
    train_all(base, out)
    rank = os.environ["RANK"]
    for folder, data in (("kl", rank), ("kl" if child else "without checkpoints", None)):
        try:
            train_grpo(lambda step: (), base=base, out=out / folder, config=WITH_KL, data=data)
        except ConfigError as error:
            print(f"process {rank}: {error}", flush=True)
    _shard_on_cpu()
    train_policy(base, out / "all weights", replace(ALL_WEIGHTS, steps=3))
    torch.distributed.destroy_process_group()
    return os.waitpid(child, 0)[1] if child else 0


def _shard_on_cpu() -> None:
    """Set what `accelerate launch --use_fsdp` does, which accelerate does not offer on CPUs."""
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    make = AcceleratorState.__init__

    def make_sharded(self: AcceleratorState, *args: Any, **settings: Any) -> None:
        make(self, *args, **settings)
        if self.distributed_type is not DistributedType.FSDP:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = FullyShardedDataParallelPlugin(
                fsdp_version=2,
                cpu_ram_efficient_loading=False,
                auto_wrap_policy="transformer_based_wrap",
                transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
            )

    AcceleratorState.__init__ = make_sharded


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
