"""How long a report takes over many stored runs, and how much memory: reading, comparing, the page and the JSON.

    python -m benchmarks.eval_report --runs 100000 --out benchmarks/results/eval_report.json

A suite of ten systems is made up (`made_suite.py`) and stored as a harness would. A process of its own then does what
`deeprec eval report` does, so that its time holds all imports and its peak memory is that of the report.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.made_suite import SYSTEMS, make_suite_runs
from benchmarks.peer_protocol import machine
from deeprec.agent.traces import TraceStore

BATCH = 1000
"""Runs in one transaction."""

REPORT = """
import json, sys, time
times, last = {}, time.perf_counter()

def lap(name):
    global last
    now = time.perf_counter()
    times[name], last = round(now - last, 2), now

from deeprec.agent.traces import TraceStore
from deeprec.evals.suites.report import make_report
from deeprec.evals.suites.report_page import render_html
from deeprec.evals.suites.results import load_results
lap("imports")
with TraceStore(sys.argv[1], create=False) as store:
    results = load_results(store, "made")
lap("read")
report = make_report(results)
lap("compare")
page = render_html(report)
lap("page")
text = json.dumps(report.to_dict(), allow_nan=False)
lap("json")
from benchmarks.peer_protocol import peak_memory_mb
found = {"seconds": times, "cpu_seconds": round(time.process_time(), 2), "peak_mib": peak_memory_mb()}
sizes = {"page_bytes": len(page), "json_bytes": len(text), "runs": sum(system.runs for system in results.systems)}
print(json.dumps(found | sizes))
"""


def fill(path: Path, runs: int, *, seed: int) -> float:
    """Store a suite of `runs` runs; the seconds that it took, making included."""
    started = time.perf_counter()
    made = make_suite_runs(runs // len(SYSTEMS), seed=seed)
    with TraceStore(path) as store:
        while batch := list(islice(made, BATCH)):
            store.write_runs(batch)
    return time.perf_counter() - started


def measure(path: Path) -> dict[str, Any]:
    """Make the report of a filled store, in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", REPORT, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {"runs": found.pop("runs"), "total_seconds": round(time.perf_counter() - started, 2), **found}


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, help="a store that this benchmark filled before; filled if it is missing")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/eval_report.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.store or Path(folder) / "suite.db"
        if not path.exists():
            print(f"Stored {options.runs:,} runs in {fill(path, options.runs, seed=options.seed):.0f} s.")
        found = measure(path) | {"store_bytes": path.stat().st_size, "machine": machine()}
    table = Table("part", "seconds", box=None)
    for name, seconds in found["seconds"].items():
        table.add_row(name, f"{seconds:.2f}")
    table.add_row("in all, as a person waits", f"{found['total_seconds']:.2f}")
    console = Console()
    console.print(table)
    console.print(f"{found['runs']:,} runs; {found['cpu_seconds']} s of processor; peak {found['peak_mib']:,.0f} MiB.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
