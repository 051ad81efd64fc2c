"""Starts vLLM's OpenAI server on a CPU, without two things that make it slow there: `python vllm_on_cpu.py [FLAGS]`.

The LoRA functions of vLLM 0.32 copy an adapter's matrices once for each token of a batch, so that a request with an
adapter takes seven times as long as one without; they also give a token without an adapter the product of the last
slot. Here each adapter is multiplied once, with all of its tokens. And its scheduler keeps a core busy for as long as
the worker computes, which is the half of two cores; here it waits.

It runs under the server's interpreter, by its path: nothing of deeprec can be imported there. vLLM's worker processes
run it once more as their main module, which is how they get the functions too.
"""

from __future__ import annotations

import runpy
from typing import Any

import torch

_SPINS_S = 0.002
"""Seconds that a process looks for an answer without a pause."""


def multiply_by_adapters(inputs: torch.Tensor, matrices: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """Multiply each token with the matrix of its adapter.

    Args:
        inputs: Shape (tokens, inputs).
        matrices: One for each slot, shape (slots, outputs, inputs) or (slots, 1, outputs, inputs).
        slots: The slot of each token, shape (tokens,); a negative one has no adapter.

    Returns:
        Shape (tokens, outputs), in the number format of `inputs`; 0 for tokens without an adapter.
    """
    if matrices.dim() == 4:
        matrices = matrices.squeeze(1)
    used = list(set(slots.tolist()))
    if len(used) == 1 and used[0] >= 0:
        return inputs @ matrices[used[0]].to(inputs.dtype).T
    outputs = inputs.new_zeros(len(inputs), matrices.shape[1])
    for slot in used:
        if slot >= 0:
            rows = slots == slot
            outputs[rows] = inputs[rows] @ matrices[slot].to(inputs.dtype).T
    return outputs


def shrink(
    inputs: torch.Tensor, matrices: torch.Tensor, output: torch.Tensor, slots: torch.Tensor, scaling: float = 1.0
) -> None:
    """Write `scaling * inputs @ A.T` into the first columns of `output`."""
    product = multiply_by_adapters(inputs.to(output.dtype), matrices, slots)
    output[:, : product.shape[1]] = scaling * product


def expand(
    inputs: torch.Tensor, matrices: torch.Tensor, output: torch.Tensor, slots: torch.Tensor, add_inputs: bool = True
) -> None:
    """Add `inputs @ B.T` to the first columns of `output`, or write it there."""
    expand_slice(inputs, matrices, output, slots, 0, min(matrices.shape[-2], output.shape[1]), add_inputs)


def expand_slice(
    inputs: torch.Tensor,
    matrices: torch.Tensor,
    output: torch.Tensor,
    slots: torch.Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """Add `inputs @ B.T` to `slice_size` columns of `output`, or write it there."""
    product = multiply_by_adapters(inputs.to(output.dtype), matrices, slots)[: len(output), :slice_size]
    columns = output[:, slice_offset : slice_offset + slice_size]
    if add_inputs:
        columns += product
    else:
        columns[:] = product


def wait_without_spinning() -> None:
    """Let a process that waits for another one sleep after some milliseconds, not after a second."""
    try:
        from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
    except ImportError:
        return
    if SpinCondition.__init__.__defaults__ == (1,):
        SpinCondition.__init__.__defaults__ = (_SPINS_S,)


def replace_functions() -> None:
    """Put the functions of this module in the place of vLLM's, before vLLM's wrapper for CPUs imports them.

    A vLLM that arranges them otherwise keeps its own: it is slow then, and right.
    """
    try:
        from vllm.lora.ops import torch_ops
        from vllm.lora.ops.torch_ops import lora_ops
    except ImportError:
        return
    quicker: dict[str, Any] = {"bgmv_shrink": shrink, "bgmv_expand": expand, "bgmv_expand_slice": expand_slice}
    for name, function in quicker.items():
        for module in (torch_ops, lora_ops):
            if hasattr(module, name):
                setattr(module, name, function)


if __name__ in ("__main__", "__mp_main__"):
    replace_functions()
    wait_without_spinning()
if __name__ == "__main__":
    # Without `alter_sys` this file stays the main module, which the worker processes run.
    runpy.run_module("vllm.entrypoints.launchers.api_server.entry", run_name="__main__")
