"""Tokens a second of concurrent agents, beside two others on the same server in the same run.

    python -m benchmarks.agent_throughput --base-url http://127.0.0.1:8000/v1 --artifact .deeprec/trm/ml-100k

- the bare server, which replays the agents' requests, each agent's in turn: what the client costs;
- the same agents under a step-locked scheduler, as published code has it: all generate, then all retrieve, and nobody
  goes on before the last has finished the step. A run writes what it wrote before (same seeds), or nearly so.

The sides run in turn, several times. Every pass carries a cache salt of its own, so that no pass profits from what the
server has cached of another. Every agent logs to a SQLite store, as users' agents do.
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
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from deeprec.agent import (
    AgentConfig,
    AgentInput,
    Completion,
    CompletionPolicy,
    Lineage,
    SqlRecorder,
    TraceStore,
    build_graph,
    run_many,
)
from deeprec.trm_tool import Retriever, embedded_ml100k, read_atomic_files

Call = tuple[list[int], dict[str, Any]]
"""Prompt and settings of one request."""


class _Recording(CompletionPolicy):
    """Keeps every request, so that it can be sent again."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.calls: list[Call] = []

    async def complete(self, token_ids: Sequence[int], **settings: Any) -> Completion:
        self.calls.append((list(token_ids), settings))
        return await super().complete(token_ids, **settings)


class StepLock:
    """Lets nobody go on before everybody who still runs has finished the step."""

    def __init__(self, running: int) -> None:
        self._running, self._waiting, self._passed = running, 0, asyncio.Event()

    async def finish_step(self) -> None:
        """Return when everybody who still runs has called this."""
        self._waiting += 1
        passed = self._passed
        self._release()
        await passed.wait()

    def leave(self) -> None:
        """Run no further: the others no longer wait for this one."""
        self._running -= 1
        self._release()

    def _release(self) -> None:
        if self._waiting and self._waiting == self._running:
            self._waiting, passed, self._passed = 0, self._passed, asyncio.Event()
            passed.set()


class _LockedRecorder(SqlRecorder):
    """Logs a step, and then waits for the others."""

    def __init__(self, store: TraceStore, lock: StepLock) -> None:
        super().__init__(store)
        self._step_lock = lock

    async def record_turn(self, *step: Any) -> None:
        await super().record_turn(*step)
        await self._step_lock.finish_step()

    async def record_retrieval(self, *step: Any) -> None:
        await super().record_retrieval(*step)
        await self._step_lock.finish_step()

    async def finish_run(self, *step: Any) -> None:
        await super().finish_run(*step)
        self._step_lock.leave()


async def _agents(
    base_url: str, retriever: Retriever, requests: Sequence[AgentInput], config: AgentConfig, recorder: SqlRecorder
) -> tuple[list[list[Call]], dict[str, float]]:
    policies = [_Recording(base_url, cache_salt=str(uuid4())) for _ in requests]
    graphs = [build_graph(policy, retriever, config=config, recorder=recorder) for policy in policies]
    started, cpu = time.perf_counter(), time.process_time()
    spent = [0] * len(requests)

    async def one(at: int) -> None:
        def note(_: int, node: str, wrote: Any) -> None:
            spent[at] = wrote.get("spent_tokens", spent[at])

        [output] = await run_many(graphs[at], [requests[at]], on_update=note, raise_errors=True)
        if output["status"] == "fallback":
            raise SystemExit(f"A run fell back, so there is nothing to measure: {output['detail']}")

    await asyncio.gather(*(one(at) for at in range(len(requests))))
    figures = _figures(sum(spent), started, cpu)
    for policy in policies:
        await policy.aclose()
    return [policy.calls for policy in policies], figures


async def _bare(base_url: str, calls: Sequence[Sequence[Call]]) -> dict[str, float]:
    policies = [CompletionPolicy(base_url, cache_salt=str(uuid4())) for _ in calls]
    started, cpu = time.perf_counter(), time.process_time()

    async def one(policy: CompletionPolicy, asked: Sequence[Call]) -> int:
        return sum([len((await policy.complete(prompt, **settings)).token_ids) for prompt, settings in asked])

    tokens = sum(await asyncio.gather(*(one(*pair) for pair in zip(policies, calls, strict=True))))
    figures = _figures(tokens, started, cpu)
    for policy in policies:
        await policy.aclose()
    return figures


def _figures(tokens: int, started: float, cpu: float) -> dict[str, float]:
    seconds = time.perf_counter() - started
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "client_cpu_seconds_per_1000_tokens": 1000 * (time.process_time() - cpu) / tokens,
    }


async def _measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    data = read_atomic_files(embedded_ml100k())
    retriever = Retriever.load(options.artifact)
    retriever.retrieve([], "warm up", k=1)
    config = AgentConfig(
        guided=not options.free, max_history=10, max_retrievals=3, max_turn_tokens=96, max_seconds=7_200.0
    )
    rounds = []
    with TraceStore(folder / "traces.db") as store:
        for number in range(options.rounds):
            requests = [
                AgentInput(history=list(data.history(user, 1)), lineage=Lineage(seed=number * 1_000_000 + place))
                for place, user in enumerate(data.users[: options.agents])
            ]
            calls, agents = await _agents(options.base_url, retriever, requests, config, SqlRecorder(store))
            bare = await _bare(options.base_url, calls)
            locked_recorder = _LockedRecorder(store, StepLock(len(requests)))
            _, locked = await _agents(options.base_url, retriever, requests, config, locked_recorder)
            rounds.append({"agents": agents, "bare": bare, "step-locked": locked, "requests": sum(map(len, calls))})
    return rounds


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--artifact", type=Path, default=Path(".deeprec/trm/ml-100k"))
    parser.add_argument("--agents", type=int, default=32)
    parser.add_argument("--free", action="store_true", help="leave the format to the model: turns of any length")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/agent_throughput.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = asyncio.run(_measure(options, Path(folder)))
    ratios = {
        other: [one["agents"]["tokens_per_second"] / one[other]["tokens_per_second"] for one in rounds]
        for other in ("bare", "step-locked")
    }
    table = Table("round", "requests", "", "tokens", "seconds", "tokens/s", "client CPU s per 1,000 tokens", box=None)
    for number, one in enumerate(rounds, start=1):
        for side in ("agents", *ratios):
            figures = one[side]
            table.add_row(
                str(number),
                str(one["requests"]),
                side,
                f"{figures['tokens']:,}",
                f"{figures['seconds']:.1f}",
                f"{figures['tokens_per_second']:.1f}",
                f"{figures['client_cpu_seconds_per_1000_tokens']:.2f}",
            )
    console = Console()
    console.print(table)
    for other, found in ratios.items():
        console.print(
            f"agents / {other}, tokens a second, {options.agents} at once, {'free' if options.free else 'guided'}: "
            f"median {statistics.median(found):.3f}, {min(found):.3f} to {max(found):.3f} over {len(found)} rounds"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "agents": options.agents,
        "guided": not options.free,
        "ratios": ratios,
        "rounds": rounds,
        "cores": os.cpu_count(),
    }
    options.out.write_text(json.dumps({**result, "machine": platform.machine()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
