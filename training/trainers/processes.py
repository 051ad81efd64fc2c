"""Training in several processes: the part of a step that each has, and how their results come together.

`accelerate launch` and `torchrun` start them. Every process reads the whole step and runs its own micro-batches of it.
Gradients are added by PyTorch, in DDP or FSDP2; everything else is added here. In one process nothing is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.tensor import DTensor, distribute_tensor

from deeprec.training.trainers.launcher import is_first_process, process_count, process_number
from deeprec.trm_tool.errors import ConfigError

Batch = TypeVar("Batch")


def own_share(batches: Sequence[Batch]) -> list[tuple[Batch, bool]]:
    """Choose the micro-batches of this process: as many in each, because the passes of FSDP wait for each other.

    Returns:
        micro-batches, each with whether it counts: the shortest is repeated, and does not, where a process has fewer.
    """
    count, number = process_count(), process_number()
    rounds = range(number, -(-len(batches) // count) * count, count)
    return [(batches[at], True) if at < len(batches) else (batches[-1], False) for at in rounds]


def sums_of_all(values: Sequence[float]) -> list[float]:
    """Add each of the values over the processes, in float64; every process has to call this."""
    return _of_all(values, distributed.ReduceOp.SUM)


def largest_of_all(value: float) -> float:
    """The largest value of all processes; every process has to call this."""
    return _of_all([value], distributed.ReduceOp.MAX)[0]


def check_same(what: str, content: bytes) -> None:
    """Raise ConfigError in every process where the processes have read different content.

    Args:
        what: What was read, as the subject of a sentence.
        content: The content, of which a digest is compared.
    """
    digest = float(int.from_bytes(hashlib.sha256(content).digest()[:6]))  # 48 bits are exact in float64
    if largest_of_all(digest) != -largest_of_all(-digest):
        raise ConfigError(
            f"{what} differ between the {process_count()} processes of this training. Give all of them the same "
            "store, files and arguments, and let nothing be collected into the store meanwhile."
        )


def wait_for_all() -> None:
    """Return once every process has called this."""
    if process_count() > 1:
        distributed.barrier()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Bring a tensor that is spread over the processes together, on the CPU; every process has to call this.

    Returns:
        the whole tensor in the first process, and an empty one in the others; a tensor that is not spread as it is.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    gathered: torch.Tensor = tensor.full_tensor()
    return gathered.cpu() if is_first_process() else gathered.new_empty(0, device="cpu")


def spread_like(tensor: torch.Tensor, other: Any) -> torch.Tensor:
    """Keep the part of a whole tensor that this process has of `other`; all of it where `other` is not spread."""
    if not isinstance(other, DTensor) or tensor.shape != other.shape:
        return tensor
    on_device = tensor.to(other.device)
    return distribute_tensor(on_device, other.device_mesh, other.placements, src_data_rank=None)


@contextmanager
def own_metrics(accelerator: Any) -> Iterator[None]:
    """Let TRL compute the metrics of a micro-batch from this process alone.

    It would gather them in each, which takes as many rows in every process, and would take means of means.
    """
    names = ("gather", "gather_for_metrics", "reduce")
    for name in names:
        setattr(accelerator, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name in names:
            delattr(accelerator, name)


def _of_all(values: Sequence[float], operation: Any) -> list[float]:
    if process_count() == 1:
        return list(values)
    from accelerate import PartialState

    sent = torch.tensor(values, dtype=torch.float64, device=PartialState().device)
    distributed.all_reduce(sent, operation)
    result: list[float] = sent.tolist()
    return result
