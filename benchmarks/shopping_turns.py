"""How long a person waits for a turn of the shopping agent: alone, and beside others, by rules and with a model.

    python -m benchmarks.shopping_turns --artifact .deeprec/trm/ml-100k [--base-url http://127.0.0.1:8000/v1]

Each conversation has three turns: a search, a change of it, and a question about an item, which needs no search. The
first part is what a person sees first (what was understood, by rules); the model's first part is its preference; the
answer is the end. The sides run in turn, several times, on the same messages; every turn is logged to a SQLite store,
and threads are kept in memory. With a model, the settings are those of `deeprec ui`.
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

from langchain_core.messages import HumanMessage
from rich.console import Console
from rich.table import Table

from deeprec.agent import TraceStore
from deeprec.agent.cli.shopping_agent import open_shopping_agent
from deeprec.trm_tool import Retriever

TURNS = ("{} please, nothing before {}", "something lighter, and not the first", "tell me about the second")
KINDS = ("search", "change", "question")
WISHES = ("comedy", "drama", "war films", "romance", "thrillers", "westerns", "musicals", "crime")
FROM_MODEL = ("thought", "preference")


async def converse(graph: Any, name: str, number: int) -> list[dict[str, float]]:
    """Hold one conversation. Returns for each turn the seconds to the first part, the model's first and the answer."""
    waited = []
    for text in TURNS:
        said = text.format(WISHES[number % len(WISHES)], 1960 + number % 30)
        times, started = dict[str, float](), time.perf_counter()
        asked = {"messages": [HumanMessage(said)]}
        config = {"configurable": {"thread_id": f"{name}-{number}"}}
        async for _, _, part in graph.astream(asked, config, stream_mode=["custom"], subgraphs=True):
            times.setdefault("first part", time.perf_counter() - started)
            if part.get("type") in FROM_MODEL:
                times.setdefault("model's first part", time.perf_counter() - started)
        waited.append(times | {"answer": time.perf_counter() - started})
    return waited


async def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run all sides in turn. Returns a row for each round, side and number of conversations at once."""
    retriever = Retriever.load(options.artifact)
    retriever.warm_up()
    rows = []
    with TraceStore(folder / "traces.db") as store:
        for number in range(options.rounds):
            for side, base_url in {"rules": None, "model": options.base_url}.items():
                if side == "model" and base_url is None:
                    continue
                async with open_shopping_agent(retriever, store, base_url=base_url, model=None, threads=None) as agent:
                    await converse(agent.graph, "warm-up", number)
                    for at_once in (1, options.at_once):
                        started = time.perf_counter()
                        talks = (converse(agent.graph, f"{at_once}", each) for each in range(at_once))
                        waited = await asyncio.gather(*talks)
                        seconds = time.perf_counter() - started
                        rows.append(
                            {
                                "round": number,
                                "side": side,
                                "model": agent.model,
                                "at once": at_once,
                                "seconds": seconds,
                                "load": os.getloadavg()[0],
                                "turns": _medians(waited),
                            }
                        )
                        _write(options.out, rows)  # a run that is stopped keeps what it measured
    return rows


def _medians(waited: Sequence[Sequence[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Kind of turn -> part -> the median seconds over the conversations, and the longest answer."""
    found: dict[str, dict[str, float]] = {}
    for kind, turns in zip(KINDS, zip(*waited, strict=True), strict=True):
        parts = {name for turn in turns for name in turn}
        found[kind] = {name: statistics.median(turn[name] for turn in turns if name in turn) for name in parts}
        found[kind]["longest answer"] = max(turn["answer"] for turn in turns)
    return found


def _write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {"ratios": ratios(rows), "rows": rows, "cores": os.cpu_count(), "machine": platform.machine()}
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def ratios(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """What -> the ratio of seconds to the answer of a search, for each round."""
    answers = {(row["round"], row["side"], row["at once"]): row["turns"]["search"]["answer"] for row in rows}
    found: dict[str, list[float]] = {}
    for (number, side, at_once), seconds in answers.items():
        if at_once != 1 and (number, side, 1) in answers:
            found.setdefault(f"{side}, {at_once} at once / alone", []).append(seconds / answers[number, side, 1])
        if side == "model":
            rules = answers[number, "rules", at_once]
            found.setdefault(f"model / rules, {at_once} at once", []).append(seconds / rules)
    return found


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, default=Path(".deeprec/trm/ml-100k"))
    parser.add_argument("--base-url", help="the model's server; by rules alone without one")
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/shopping_turns.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(measure(options, Path(folder)))
    columns = ("first part", "model's first part", "answer", "longest answer")
    table = Table("round", "side", "at once", "turn", *columns, "load", box=None)
    for row in rows:
        for kind, parts in row["turns"].items():
            seconds = [f"{parts[name]:.2f} s" if name in parts else "" for name in columns]
            table.add_row(str(row["round"] + 1), row["side"], str(row["at once"]), kind, *seconds, f"{row['load']:.1f}")
    console = Console(width=140)
    console.print(table)
    for what, each in ratios(rows).items():
        console.print(
            f"{what}, seconds to the answer of a search: median {statistics.median(each):.2f}, {min(each):.2f} to "
            f"{max(each):.2f} over {len(each)} rounds"
        )


if __name__ == "__main__":
    main()
