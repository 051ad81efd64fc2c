"""How long a suite's systems without a language model take over all users: the whole command, as a person waits for it.

    python -m benchmarks.eval_run --out benchmarks/results/eval_run.json

Each round runs `deeprec eval run` into a new store. The first finds no text embeddings and has to load the encoder; the
others find those that it kept, as they do after `deeprec trm train`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peer_protocol import machine
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT

SYSTEMS = ("popularity", "co-occurrence", "trm", "trm-oracle")
COMMAND = "from deeprec.agent.cli.main import main; main()"


def measure(suite: str, artifact: Path, folder: Path, number: int) -> dict[str, Any]:
    """One round: seconds of wall and of processor time, and the runs that it stored."""
    chosen = [part for name in SYSTEMS for part in ("--only", name)]
    settings = ["--artifact", str(artifact), "--store", f"round-{number}.db", "--json"]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "eval", "run", suite, *chosen, *settings],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"`deeprec eval run {suite}` failed: {done.stderr.strip()[-500:]}")
    return {
        "runs": sum(system["runs"] for system in json.loads(done.stdout)["systems"]),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "kept_embeddings": number > 0,
        "machine": machine(),
    }


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="ml-100k")
    parser.add_argument("--artifact", type=Path, default=DEFAULT_ARTIFACT)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/eval_run.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [
            measure(options.suite, options.artifact.resolve(), Path(folder), number) for number in range(options.rounds)
        ]
    table = Table("round", "runs", "seconds", "of processor", "load", box=None)
    for number, found in enumerate(rounds, start=1):
        load = found["machine"]["load"]
        table.add_row(str(number), *(f"{found[name]:,}" for name in ("runs", "seconds", "cpu_seconds")), f"{load}")
    Console().print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"suite": options.suite, "systems": SYSTEMS, "rounds": rounds}
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
