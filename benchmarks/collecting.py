"""Tokens a second of collecting groups with an adapter: vLLM beside transformers, on the same people in the same run.

    python -m benchmarks.collecting --adapter OUT/adapters/rec-v1 --artifact .deeprec/trm/ml-100k-holdout3

Each engine serves in turn, as a loop would start it; of each round the groups are of other people. Runs draw with the
same seeds on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from deeprec.agent import (
    CompletionPolicy,
    TraceStore,
    load_adapter,
    make_server,
    pull_embedded_model,
)
from deeprec.agent.serving.model_server import Engine
from deeprec.agent.serving.server_process import Dtype
from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL
from deeprec.training.loop.config import load_loop_config
from deeprec.training.rollouts.collection import Collection, collect_groups
from deeprec.training.rollouts.instances import Instance, select_instances
from deeprec.trm_tool import Retriever, embedded_ml100k, load_artifact, make_encoder, read_atomic_files

ENGINES: tuple[Engine, ...] = ("vllm", "transformers")
NAME = "rec-v1"
LOOP = "smollm2-ml-100k"
"""Whose agents run."""


async def _collect(
    base_url: str, retriever: Retriever, people: Sequence[Instance], options: argparse.Namespace, label: str
) -> dict[str, float]:
    config = load_loop_config(LOOP).agent_config(guided=False)
    plan = Collection(label=label, system="bench", group_size=options.group_size, config=config)
    with tempfile.TemporaryDirectory() as folder, TraceStore(Path(folder) / "traces.db") as store:
        async with CompletionPolicy(base_url, adapter=NAME) as policy:
            started = time.perf_counter()
            await collect_groups(policy, retriever, store, people, plan)
            seconds = time.perf_counter() - started
        runs = list(store.traces())
    tokens = sum(len(turn.completion_ids) for run in runs for turn in run.turns)
    return {"runs": len(runs), "tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--artifact", type=Path, default=Path(".deeprec/trm/ml-100k-holdout3"))
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", choices=get_args(Dtype), default="auto")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/collecting.json"))
    options = parser.parse_args()
    artifact = load_artifact(options.artifact)
    encoder = make_encoder(artifact.config["encoder_id"])
    people = select_instances(read_atomic_files(embedded_ml100k()), artifact, encoder).of("interaction")
    retriever = Retriever(artifact, encoder)
    model = pull_embedded_model(EMBEDDED_MODEL)
    sides: dict[str, list[dict[str, float]]] = {}
    table = Table("engine", "round", "runs", "tokens", "seconds", "tokens/s", box=None)
    for engine in ENGINES:
        with make_server(model, log=Path(f".deeprec/logs/bench-{engine}.log"), engine=engine, dtype=options.dtype) as s:
            s.wait_healthy()
            asyncio.run(load_adapter(s.base_url, NAME, options.adapter))
            for number in range(options.rounds):
                chosen = people[number * options.users : (number + 1) * options.users]
                made = asyncio.run(_collect(s.base_url, retriever, chosen, options, f"round-{number}"))
                sides.setdefault(engine, []).append(made)
                table.add_row(
                    engine,
                    str(number + 1),
                    f"{made['runs']:.0f}",
                    f"{made['tokens']:,.0f}",
                    f"{made['seconds']:.1f}",
                    f"{made['tokens_per_second']:.1f}",
                )
    pairs = zip(*(sides[engine] for engine in ENGINES), strict=True)
    ratios = [other["tokens_per_second"] / vllm["tokens_per_second"] for vllm, other in pairs]
    console = Console()
    console.print(table)
    console.print(
        f"transformers / vLLM, tokens a second, {options.users} groups of {options.group_size}, {options.dtype}: "
        f"median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f} over {len(ratios)} rounds"
    )
    asked = {name: str(value) for name, value in vars(options).items() if name != "out"}
    result: dict[str, Any] = {"options": asked, "ratios": ratios, "sides": sides, "cores": os.cpu_count()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**result, "machine": platform.machine()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
