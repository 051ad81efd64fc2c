"""How fast logged runs become data frames, beside the plain way: rows of the database's driver, put into pandas.

Both read the same store in one process, in turns, and a ratio is taken in each round. The plain way runs SQL that was
written by hand, fetches all rows and makes a frame of them; it converts nothing: ids stay bytes, times stay text.
`Traces` gives typed columns. Tokens are packed in the database, so that no SQL alone reads them: there the plain way
unpacks each value with the store's own decoders, and a further line compares with leaving them packed. Seconds are of
processor time, since both ways are bound by it and the machine may be shared.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
from rich.console import Console
from rich.table import Table

from benchmarks.made_runs import make_runs
from deeprec.agent import Traces, TraceStore
from deeprec.agent.traces import decode_logprobs, decode_tokens

_RUNS = """
SELECT run_id, started_at, finished_at, status, incomplete, detail, user_id, message, target_id, protocol, guided, k,
  policy_model, adapter, adapter_version, trm_fingerprint, prompt_version, split, suite, group_id, seed, parent_id,
  pinned, redacted_at, ungrounded, latency_ms, sampling, config, json_array_length(history),
  (SELECT count(*) FROM turns t WHERE t.run_id = runs.run_id),
  (SELECT count(*) FROM retrievals r WHERE r.run_id = runs.run_id),
  (SELECT coalesce(sum(completion_tokens), 0) FROM turns t WHERE t.run_id = runs.run_id),
  (SELECT min(rank) FROM recommendations l
   WHERE l.run_id = runs.run_id AND l.listing = 'recommended' AND l.item_id = runs.target_id),
  (SELECT min(rank) FROM recommendations l
   WHERE l.run_id = runs.run_id AND l.listing = 'written' AND l.item_id = runs.target_id)
FROM runs ORDER BY started_at, run_id
"""
_TURNS = """
SELECT run_id, position, node, action, preference, thought, text, detail, finish_reason, prompt_tokens,
  completion_tokens, latency_ms, recorded_at{tokens}
FROM turns ORDER BY run_id, position
"""
_RETRIEVALS = """
SELECT i.run_id, i.position, r.turn, r.preference, i.rank, i.item_id, i.score, r.latency_ms
FROM retrieved_items i JOIN retrievals r ON r.run_id = i.run_id AND r.position = i.position
ORDER BY i.run_id, i.position, i.rank
"""
_RECOMMENDATIONS = """
SELECT run_id, listing, rank, item_id, retrieval, score, source FROM recommendations ORDER BY run_id, listing, rank
"""
_PACKED = "turns, tokens; plain leaves them packed"
_DECODERS = {"prompt_ids": decode_tokens, "completion_ids": decode_tokens, "logprobs": decode_logprobs}
_WITH_TOKENS = _TURNS.format(tokens="".join(f", {name}" for name in _DECODERS))
_FRAMES: dict[str, tuple[str, Callable[[Traces], Any]]] = {
    "runs": (_RUNS, lambda traces: traces.runs()),
    "turns": (_TURNS.format(tokens=""), lambda traces: traces.turns()),
    "turns, tokens": (_WITH_TOKENS, lambda traces: traces.turns(tokens=True)),
    _PACKED: (_WITH_TOKENS, lambda traces: traces.turns(tokens=True)),
    "retrievals": (_RETRIEVALS, lambda traces: traces.retrievals()),
    "recommendations": (_RECOMMENDATIONS, lambda traces: traces.recommendations()),
}


def _make_store(path: Path, runs: int) -> None:
    with TraceStore(path) as store:
        for made in make_runs(runs, seed=0):
            run_id = made.run.run_id
            store.start_run(made.run)
            for turn in made.turns:
                store.record_turn(run_id, turn)
            for retrieval in made.retrievals:
                store.record_retrieval(run_id, retrieval)
            store.finish_run(run_id, made.outcome)


def _plain(path: Path, query: str, *, decode: bool) -> Any:
    connection = sqlite3.connect(path)
    try:
        cursor = connection.execute(query)
        frame = pandas.DataFrame(cursor.fetchall(), columns=[column[0] for column in cursor.description])
        for name, decoder in _DECODERS.items():
            if decode and name in frame:
                frame[name] = frame[name].map(decoder)
        return frame
    finally:
        connection.close()


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    started = time.process_time()
    frame = work()
    return time.process_time() - started, frame


def _measure(path: Path, rounds: int) -> list[dict[str, Any]]:
    measured = []
    for name, (query, read) in _FRAMES.items():
        seconds: dict[str, list[float]] = {"plain": [], "frames": []}
        memory: dict[str, int] = {}
        rows: dict[str, int] = {}
        for number in range(rounds + 1):
            with Traces(path) as traces:
                ways = {
                    "plain": lambda n=name, q=query: _plain(path, q, decode=n != _PACKED),
                    "frames": lambda r=read, t=traces: r(t),
                }
                for way in sorted(ways, reverse=number % 2 == 0):
                    took, frame = _seconds(ways[way])
                    if number:  # the first round warms both up
                        seconds[way].append(took)
                    else:
                        rows[way], memory[way] = len(frame), int(frame.memory_usage(deep=True).sum())
                    del frame
        if rows["plain"] != rows["frames"]:
            raise SystemExit(f"The two ways to read {name} disagree: {rows}.")
        ratios = [ours / plain for ours, plain in zip(seconds["frames"], seconds["plain"], strict=True)]
        measured.append({"frame": name, "rows": rows["frames"], **seconds, "ratios": ratios, "bytes": memory})
    return measured


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", type=Path, help="A store that is there already, instead of a generated one.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/trace_frames.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.store or Path(folder) / "traces.db"
        if options.store is None:
            _make_store(path, options.runs)
        measured = _measure(path, options.rounds)
    table = Table("frame", "rows", "plain, s", "Traces, s", "ratio", "lowest to highest", box=None)
    for one in measured:
        table.add_row(
            one["frame"],
            f"{one['rows']:,}",
            f"{statistics.median(one['plain']):.3f}",
            f"{statistics.median(one['frames']):.3f}",
            f"{statistics.median(one['ratios']):.2f}",
            f"{min(one['ratios']):.2f} to {max(one['ratios']):.2f}",
        )
    console = Console()
    console.print(table)
    worst = max((one for one in measured if one["frame"] != _PACKED), key=lambda one: statistics.median(one["ratios"]))
    console.print(f"slowest beside the plain way: {worst['frame']}, {statistics.median(worst['ratios']):.2f} times")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"runs": options.runs, "rounds": options.rounds, "cores": os.cpu_count(), "machine": platform.machine()}
    options.out.write_text(json.dumps({**result, "frames": measured}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
