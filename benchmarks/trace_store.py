"""How the trace store does as runs pile up: room, listing, filtering, one run, and streaming every rollout.

    python -m benchmarks.trace_store --runs 1000,10000,100000 --out benchmarks/results/trace_store.json

The runs are made up (`made_runs.py`) and written in bulk, through the row functions of the store, into a SQLite file in
a temporary folder, or into the empty PostgreSQL database that `--url` names (then for one count). A process of its own
streams the rollouts, so that its peak memory is that of the streaming.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, text

from benchmarks.made_runs import HEAVY, MadeRun, RunShape, make_runs
from deeprec.agent.traces import RunFilter, TraceStore
from deeprec.agent.traces.store.rows import (
    item_values,
    recommendation_values,
    retrieval_values,
    run_values,
    turn_values,
)
from deeprec.agent.traces.store.schema import Base
from deeprec.trm_tool import ConfigError

BATCH = 500
"""Runs in one transaction."""
REPEATS = 9
FIRST_START = datetime(2026, 1, 1, tzinfo=UTC)
FILTERS = {
    "newest": RunFilter(),
    "status": RunFilter(status="budget"),
    "running": RunFilter(status="running"),
    "incomplete": RunFilter(status="incomplete"),
    "user": RunFilter(user_id="17"),
    "suite": RunFilter(suite="loop-7"),
    "split": RunFilter(split="valid"),
    "policy": RunFilter(policy_model="Qwen3-4B"),
    "version": RunFilter(adapter_version="0"),
    "group": RunFilter(group_id="round-0/3"),
    "fingerprint that none has": RunFilter(trm_fingerprint="none"),
    "suite that none has": RunFilter(suite="none"),
    "policy and split and status": RunFilter(policy_model="Qwen3-4B", split="test", status="budget"),
    "first hour": RunFilter(until=FIRST_START + timedelta(hours=1)),
}
"""What is listed, 50 runs at a time; some match none or only the oldest, which takes longest."""


def write_runs(store: TraceStore, runs: Iterable[MadeRun]) -> dict[str, float]:
    """Write whole runs in bulk, one second apart.

    Returns:
        runs, tokens, policy tokens and bytes of text written, and the seconds that writing took (making apart).
    """
    total = dict.fromkeys(("runs", "tokens", "policy_tokens", "text_bytes", "seconds"), 0.0)
    runs = iter(runs)
    while batch := list(islice(runs, BATCH)):
        started = time.perf_counter()
        tables: dict[str, list[dict[str, Any]]] = {table.name: [] for table in Base.metadata.sorted_tables}
        for number, made in enumerate(batch, start=int(total["runs"])):
            now = FIRST_START + timedelta(seconds=number)
            run_id, outcome = made.run.run_id, made.outcome
            ending = {"status": outcome.status, "latency_ms": outcome.latency_ms, "finished_at": now}
            tables["runs"].append(run_values(made.run, now) | ending)
            tables["turns"] += [turn_values(run_id, turn, now) for turn in made.turns]
            for retrieval in made.retrievals:
                tables["retrievals"].append(retrieval_values(run_id, retrieval, now))
                tables["retrieved_items"] += item_values(run_id, retrieval)
            tables["recommendations"] += recommendation_values(run_id, outcome)
        with store.writing() as connection:
            for table in Base.metadata.sorted_tables:
                if tables[table.name]:
                    connection.execute(insert(table), tables[table.name])
        total["seconds"] += time.perf_counter() - started
        total["runs"] += len(batch)
        total["tokens"] += sum(made.tokens for made in batch)
        total["policy_tokens"] += sum(len(turn.completion_ids) for made in batch for turn in made.turns)
        total["text_bytes"] += sum(made.text_bytes for made in batch)
    return total


def measure(target: str, count: int, *, seed: int) -> dict[str, Any]:
    """Fill a database with `count` runs and read from it in every way."""
    with TraceStore(target) as store:
        empty = _bytes(store)
        wrote = write_runs(store, make_runs(count, seed=seed))
        size = _bytes(store) - empty
    with TraceStore(target) as store:
        ids = [run.run_id for run in store.runs(None, RunFilter(user_id="17"))]
        lists = {name: _each(lambda where: store.runs(50, where), [where] * REPEATS) for name, where in FILTERS.items()}
        found = {name: len(store.runs(50, where)) for name, where in FILTERS.items()}
        one = _each(store.run, ids[:50])
        prefix = _each(lambda run_id: store.run(run_id.hex[:12]), ids[:50])
    return {
        "runs": count,
        "tokens": int(wrote["tokens"]),
        "tokens_a_run": wrote["tokens"] / count,
        "write_runs_per_second": count / wrote["seconds"],
        "bytes_a_run": size / count,
        "bytes_a_run_besides_text": (size - wrote["text_bytes"]) / count,
        "list_ms": lists,
        "listed": found,
        "slowest_list_ms": max(times["median"] for times in lists.values()),
        "one_run_ms": one,
        "one_run_by_prefix_ms": prefix,
        "rollouts": _streamed(target),
    }


def measure_size(target: str, count: int, shape: RunShape, *, seed: int) -> dict[str, float]:
    """What a run of some shape takes, page overhead counted."""
    with TraceStore(target) as store:
        empty = _bytes(store)
        wrote = write_runs(store, make_runs(count, seed=seed, shape=shape))
        size = _bytes(store) - empty
    return {
        "runs": count,
        "policy_tokens_a_run": wrote["policy_tokens"] / count,
        "tokens_a_run": wrote["tokens"] / count,
        "bytes_a_run": size / count,
        "text_bytes_a_run": wrote["text_bytes"] / count,
        "bytes_a_run_besides_text": (size - wrote["text_bytes"]) / count,
    }


# A process of its own, so that its memory is that of the streaming; and `training` lies above this package.
STREAM = """
import json, resource, sys, time
from deeprec.agent.traces import TraceStore
from deeprec.training import read_rollouts

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

rollouts = tokens = 0
with TraceStore(sys.argv[1], create=False) as store:
    found = {"memory_before_mib": peak_mib()}
    started, cpu = time.perf_counter(), time.process_time()
    for rollout in read_rollouts(store):
        rollouts += 1
        tokens += rollout.token_ids.size
        if rollouts == 500:
            found["memory_after_500_mib"] = peak_mib()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
found |= {"rollouts": rollouts, "tokens": tokens, "seconds": seconds, "cpu_seconds": cpu}
print(json.dumps(found | {"tokens_per_second": tokens / seconds, "memory_peak_mib": peak_mib()}))
"""


def _streamed(target: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", STREAM, target], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _bytes(store: TraceStore) -> int:
    """What the database takes on disk, its write-ahead log folded in."""
    database = store.database
    if database.path is None:
        with database.readers.connect() as connection:
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    raw = database.readers.raw_connection()
    try:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        raw.close()
    return database.path.stat().st_size


def _each(call: Callable[[Any], Any], values: Iterable[Any]) -> dict[str, float]:
    """Milliseconds of a call, over some values."""
    spent = []
    for value in values:
        started = time.perf_counter()
        call(value)
        spent.append((time.perf_counter() - started) * 1000)
    return {"median": statistics.median(spent), "max": max(spent)}


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table("", *(f"{one['runs']:,} runs" for one in results), box=None)
    for column in table.columns[1:]:
        column.justify = "right"

    def row(name: str, read: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(name, *(read(one) for one in results))

    def times(found: dict[str, float]) -> str:
        return f"{found['median']:.1f} / {found['max']:.1f}"

    row("tokens a run", lambda one: f"{one['tokens_a_run']:.0f}")
    row("written in bulk, runs/s", lambda one: f"{one['write_runs_per_second']:,.0f}")
    row("bytes a run, all included", lambda one: f"{one['bytes_a_run']:,.0f}")
    for name in FILTERS:
        row(f"list 50, ms: {name}", lambda one, name=name: times(one["list_ms"][name]))  # type: ignore[misc]
    row("one run, ms", lambda one: times(one["one_run_ms"]))
    row("one run by 12 digits, ms", lambda one: times(one["one_run_by_prefix_ms"]))
    row("rollouts, tokens/s", lambda one: f"{one['rollouts']['tokens_per_second']:,.0f}")
    row(
        "  memory, MiB",
        lambda one: " / ".join(
            f"{one['rollouts'][name]:.0f}" for name in ("memory_before_mib", "memory_after_500_mib", "memory_peak_mib")
        ),
    )
    return table


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="1000,10000,100000")
    parser.add_argument("--heavy-runs", type=int, default=2000, help="runs of 2,000 policy tokens, for their size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="an empty PostgreSQL database; then --runs is one number")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/trace_store.json"))
    options = parser.parse_args()
    counts = [int(count) for count in options.runs.split(",")]
    if options.url and (len(counts) > 1 or options.heavy_runs):
        raise ConfigError(
            "A server's database is filled once: with --url give one number of --runs, and --heavy-runs 0."
        )
    results, size = [], None
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(options.url or str(Path(folder) / "traces.db"), count, seed=options.seed))
    if options.heavy_runs:
        with tempfile.TemporaryDirectory() as folder:
            size = measure_size(str(Path(folder) / "traces.db"), options.heavy_runs, HEAVY, seed=options.seed)
    console = Console()
    console.print(_table(results))
    console.print("ms: median / slowest. Memory: before / after 500 rollouts / peak.")
    if size:
        console.print(
            f"A run of {size['policy_tokens_a_run']:,.0f} policy tokens ({size['tokens_a_run']:,.0f} in all) takes "
            f"{size['bytes_a_run']:,.0f} bytes, {size['bytes_a_run_besides_text']:,.0f} besides its text."
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "database": "postgresql" if options.url else "sqlite",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "seed": options.seed,
        "curve": results,
        "heavy_run": size,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
