"""What logging costs a run: agents that write to a trace store against agents that write nowhere, in one run.

    python -m benchmarks.recorder_overhead --artifact .deeprec/trm/ml-100k

The graph, the protocol, the recommender and the store are real. The model is not: its answers are made up and come
after a wait as long as a served model's would be (`--wait-ms`, plus or minus a fifth, the same on both sides). A fast
GPU server writes the 96 tokens of a turn in about a second while it serves 32 agents; the CPU server takes half a
minute, so the default is the harder case. Nothing is spent on HTTP, which makes the share of logging larger than it is.
The sides take turns, each first in every other round. Times are medians over the runs of a side: on a busy machine a
few runs wait for a processor, with a store or without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from deeprec.agent import AgentConfig, AgentInput, Completion, CompletionPolicy, Lineage, build_graph
from deeprec.agent.policy.completion import ServedModel
from deeprec.agent.protocols.tags import (
    BEGIN_LIST,
    BEGIN_PREFERENCE,
    BEGIN_THOUGHT,
    END_LIST,
    END_PREFERENCE,
    END_THOUGHT,
)
from deeprec.agent.traces import NullRecorder, Recorder, RunFilter, RunRecord, SqlRecorder, TraceStore
from deeprec.trm_tool import Retriever, embedded_ml100k, read_atomic_files

TURNS = 3
TURN_TOKENS = 96
MAX_MODEL_LEN = 8192
PREFERENCES = ("science fiction of the 1980s", "a quiet drama", "comedies for children", "war films", "film noir")


class _Paced(CompletionPolicy):
    """Searches twice and then ranks, after a wait each time. One client a run."""

    def __init__(self, seed: int, wait_ms: float) -> None:
        super().__init__("http://127.0.0.1:9/v1", "made-up")
        self._random, self._wait_ms, self._turn = random.Random(seed), wait_ms, 0

    async def connect(self, *, refresh: bool = False) -> ServedModel:
        return ServedModel(name="made-up", max_model_len=MAX_MODEL_LEN, models=("made-up",), adapters=())

    async def tokenize(self, text: str) -> list[int]:
        return [hash(text[at : at + 4]) % 49_152 for at in range(0, len(text), 4)]

    async def tokenize_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return await self.tokenize("".join(message["content"] for message in messages))

    async def complete(self, token_ids: Sequence[int], **_: Any) -> Completion:
        started = time.perf_counter()
        await asyncio.sleep(self._wait_ms * self._random.uniform(0.8, 1.2) / 1000)
        thought = f"{BEGIN_THOUGHT}{'They seem to like this. ' * 12}{END_THOUGHT}\n"
        if self._turn < TURNS - 1:
            text = f"{thought}{BEGIN_PREFERENCE}{self._random.choice(PREFERENCES)}{END_PREFERENCE}"
        else:
            numbers = "\n".join(map(str, self._random.sample(range(1, 11), 10)))
            text = f"{thought}{BEGIN_LIST}\n{numbers}\n{END_LIST}"
        self._turn += 1
        return Completion(
            token_ids=tuple(self._random.choices(range(49_152), k=TURN_TOKENS)),
            logprobs=tuple(-self._random.expovariate(2.0) for _ in range(TURN_TOKENS)),
            text=text,
            finish_reason="stop",
            prompt_tokens=len(token_ids),
            latency_ms=(time.perf_counter() - started) * 1000,
        )


class _Timed(SqlRecorder):
    """Notes how long the graph waits for each call."""

    def __init__(self, store: TraceStore) -> None:
        super().__init__(store)
        self.waits_ms: list[float] = []

    async def _try(self, run_id: UUID, write: Callable[[], None], start: RunRecord | None = None) -> bool:
        started = time.perf_counter()
        is_written = await super()._try(run_id, write, start)
        self.waits_ms.append((time.perf_counter() - started) * 1000)
        return is_written


async def _side(
    recorder: Recorder, retriever: Retriever, histories: Sequence[Sequence[str]], options: argparse.Namespace, seed: int
) -> dict[str, float]:
    """`options.agents` agents at once, each with `options.runs` runs one after another."""
    seconds: list[float] = []
    # `hash` in the tokeniser aside, a side repeats the other: same requests, same answers, same waits.
    config = AgentConfig(k=10, retrieve_k=10)

    async def agent(number: int) -> None:
        await asyncio.sleep(number / options.agents * options.wait_ms / 1000)  # agents are not in step
        for run in range(options.runs):
            at = number * options.runs + run
            policy = _Paced(seed * 10_000 + at, options.wait_ms)
            graph = build_graph(policy, retriever, config=config, recorder=recorder)
            request = AgentInput(history=list(histories[at % len(histories)]), lineage=Lineage(seed=at))
            started = time.perf_counter()
            output = await graph.ainvoke(request)
            seconds.append(time.perf_counter() - started)
            if output["status"] != "finished":
                raise SystemExit(f"Nothing to compare: a run ended as {output['status']}: {output['detail']}")
            await policy.aclose()

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(agent(number) for number in range(options.agents)))
    count = len(seconds)
    return {
        "runs": count,
        "seconds_a_run": statistics.median(seconds),
        "seconds": time.perf_counter() - started,
        "cpu_ms_a_turn": 1000 * (time.process_time() - cpu) / (count * TURNS),
    }


async def _measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    data = read_atomic_files(embedded_ml100k())
    histories = [data.history(user, 1) for user in data.users]
    retriever = Retriever.load(options.artifact)
    retriever.retrieve([], "warm up", k=1)
    rounds = []
    for number in range(options.rounds):
        one: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder, TraceStore(Path(folder) / "traces.db") as store:
            timed = _Timed(store)
            sides: dict[str, Recorder] = {"store": timed, "nothing": NullRecorder()}
            for side in sorted(sides, reverse=bool(number % 2)):
                one[side] = await _side(sides[side], retriever, histories, options, number)
            kept = store.runs(None, RunFilter(status="finished"))
            if len(kept) != one["store"]["runs"] or any(run.incomplete for run in kept):
                raise SystemExit("The store has not kept every run whole, so its speed means nothing.")
        waits = sorted(timed.waits_ms)
        turns = one["store"]["runs"] * TURNS
        one["ratio"] = one["store"]["seconds_a_run"] / one["nothing"]["seconds_a_run"]
        one["wait_ms_a_call"] = {"median": statistics.median(waits), "p95": waits[int(len(waits) * 0.95)]}
        one["wait_ms_a_turn"] = one["wait_ms_a_call"]["median"] * len(waits) / turns
        rounds.append(one)
    return rounds


async def _alone(options: argparse.Namespace) -> dict[str, float]:
    """One agent at a time that does not wait for its model: the cost of logging without any queue."""
    data = read_atomic_files(embedded_ml100k())
    retriever = Retriever.load(options.artifact)
    settings = argparse.Namespace(agents=1, runs=40, wait_ms=0.0)
    with tempfile.TemporaryDirectory() as folder, TraceStore(Path(folder) / "traces.db") as store:
        timed = _Timed(store)
        histories = [data.history(user, 1) for user in data.users]
        for _ in range(2):  # the first time warms up
            timed.waits_ms.clear()
            await _side(timed, retriever, histories, settings, 0)
    a_call = statistics.median(timed.waits_ms)
    calls = len(timed.waits_ms) / (settings.runs * TURNS)
    return {"wait_ms_a_call": a_call, "calls_a_turn": calls, "wait_ms_a_turn": a_call * calls}


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, default=Path(".deeprec/trm/ml-100k"))
    parser.add_argument("--agents", type=int, default=32)
    parser.add_argument("--runs", type=int, default=4, help="of each agent, in each round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--wait-ms", type=float, default=1000.0, help="for the model, each turn")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recorder_overhead.json"))
    options = parser.parse_args()
    alone = asyncio.run(_alone(options))
    rounds = asyncio.run(_measure(options))
    table = Table("round", "", "s a run", "client CPU ms a turn", "store: ms a turn", "ms a call (p95)", box=None)
    for number, one in enumerate(rounds, start=1):
        waits = one["wait_ms_a_call"]
        for side in ("nothing", "store"):
            found, own = one[side], side == "store"
            table.add_row(
                str(number),
                side,
                f"{found['seconds_a_run']:.3f}",
                f"{found['cpu_ms_a_turn']:.1f}",
                f"{one['wait_ms_a_turn']:.1f}" if own else "",
                f"{waits['median']:.1f} ({waits['p95']:.1f})" if own else "",
            )
    ratios = [one["ratio"] for one in rounds]
    overheads = [1000 * (one["store"]["seconds_a_run"] - one["nothing"]["seconds_a_run"]) / TURNS for one in rounds]
    console = Console()
    console.print(table)
    console.print(
        f"A run with the store takes {statistics.median(ratios):.4f} of one without (median; {min(ratios):.4f} to "
        f"{max(ratios):.4f} over {len(ratios)} rounds), {statistics.median(overheads):.1f} ms more a turn, with "
        f"{options.agents} agents at once. Alone and without a model to wait for, logging takes "
        f"{alone['wait_ms_a_turn']:.1f} ms a turn."
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "agents": options.agents,
        "wait_ms": options.wait_ms,
        "turns": TURNS,
        "ratios": ratios,
        "ms_more_a_turn": overheads,
        "alone": alone,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
