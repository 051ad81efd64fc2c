"""Where the time of a tool call goes, at 1, 10 and 100 thousand items.

    python -m benchmarks.tool_call

The catalogues are synthetic: products with a category, a brand, tags, a year and a price, random text embeddings and
random weights of the default architecture. Preferences are encoded by the real encoder. Everything runs on one thread.
The times are wall clock and CPU time of the calling thread: on a machine with other work, the second is what compares.
Steps are timed inside the calls, where the search has just emptied the processor's caches. Three are also done alone
and the plain way, in the same run: the cut by a partition of all scores, the filter from lists of rows, and text that
is cleaned character by character.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from deeprec.trm_tool import (
    Catalogue,
    Encoder,
    Item,
    PreferenceAwareTRM,
    Retriever,
    TRMConfig,
    make_encoder,
    make_retrieve_items_tool,
    save_artifact,
    tool as tool_module,
)
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.encoders.text_encoder import MAX_TEXT_CHARS
from deeprec.trm_tool.text import plain
from deeprec.trm_tool.trm import retriever as retriever_module, scoring
from deeprec.trm_tool.trm.ranking import best

K, HISTORY = 20, 30
WHERE: dict[str, dict[str, Any]] = {
    "category": {"in": ["Category 3", "Category 5", "Category 7"]},
    "price": {"max": 30},
    "tags": {"not_in": ["tag 3"]},
}
DEFAULT_OUT = Path("benchmarks/results/tool_call.json")
WHOLE, ENCODE, FILTER, QUERY, SEARCH = "whole call", "encode", "filter", "read the history", "search"
SCORE, CUT, DIVERSIFY, RENDER, REST = "score", "cut", "diversify", "render", "rest"
EVERYTHING = "new phrase, constraints, diversity"
# What is timed inside a call. The search is what `score` takes beside encoding, filtering and reading; the rest is
# LangChain's tool and what holds the steps together.
STEPS: tuple[tuple[Any, str, str], ...] = (
    (scoring, "encode_preferences", ENCODE),
    (scoring, "allowed_items", FILTER),
    (PreferenceAwareTRM, "encode_histories", QUERY),
    (retriever_module, "score", SCORE),
    (retriever_module, "best", CUT),
    (retriever_module, "diversify", DIVERSIFY),
    (Catalogue, "summary", RENDER),
    (tool_module, "neutralise", RENDER),
)
_NUMBERS = count()  # no phrase comes twice in a run
# A process of its own, so that peak memory and imports are those of one load.
_LOAD = """
import json, sys, time
import torch
torch.set_num_threads(1)
from deeprec.trm_tool.trm.retriever import Retriever
def mb(name):
    return round(int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) / 1024)
figures = {"imports_mb": mb("VmHWM")}
def step(name, run):
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    figures[name + "_s"] = round(time.perf_counter() - wall, 2)
    figures[name + "_cpu_s"] = round(time.process_time() - cpu, 2)
    return result
retriever = step("load", lambda: Retriever.load(sys.argv[1]))
figures["load_peak_mb"], figures["load_mb"] = mb("VmHWM"), mb("VmRSS")
step("first_call_without_preference", lambda: retriever.retrieve(["p1"], k=20))
step("load_encoder", lambda: retriever.encoder.encode(["warm up"], role="preference"))
step("first_call_with_preference", lambda: retriever.retrieve(["p1"], "small and blue", k=20))
figures["peak_mb"] = mb("VmHWM")
print(json.dumps(figures))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds of a kind of call, or of one step inside it, over many calls."""

    call: str
    step: str
    median_ms: float
    p90_ms: float
    cpu_median_ms: float
    """CPU time of the calling thread."""


def write_shop(folder: Path, items: int, seed: int, encoder_id: str, text_width: int) -> None:
    """Write the artifact of a synthetic catalogue with random weights."""
    rng = np.random.default_rng(seed)
    tags = rng.integers(200, size=(items, 3))
    prices, brands = rng.lognormal(3, 1, items), rng.integers(2000, size=items)
    catalogue = Catalogue(
        (
            Item(
                id=f"p{row}",
                title=f"Synthetic product {row} of brand {brands[row]}",
                text=f"Synthetic product {row}. " + "One sentence of a description. " * 4,
                attributes={
                    "category": f"Category {row % 40}",
                    "brand": f"Brand {brands[row]}",
                    "tags": tuple(f"tag {tag}" for tag in dict.fromkeys(tags[row].tolist())),
                    "year": float(1980 + row % 45),
                    "price": round(float(prices[row]), 2),
                },
            )
            for row in range(items)
        ),
        {"category": "category", "brand": "category", "tags": "tags", "year": "number", "price": "number"},
    )
    torch.manual_seed(seed)
    texts = F.normalize(torch.randn(items, text_width), dim=-1)
    save_artifact(
        folder,
        PreferenceAwareTRM(TRMConfig(), texts),
        catalogue,
        encoder_id=encoder_id,
        text_embeddings=texts,
        popularity=rng.integers(100, size=items).astype(np.float64),
        dataset_fingerprint="synthetic",
        dataset_name=f"synthetic, {items} items, random weights",
        holdout=2,
        trust=0.5,
        metrics={},
        seed=seed,
    )


class Clock:
    """Times whole calls and, inside them, the functions that the steps consist of."""

    def __init__(self) -> None:
        self._spent: dict[str, NDArray[np.float64]] = {}

    def measure(self, name: str, run: Callable[[], object], calls: int) -> list[Timing]:
        """Time many calls after one that warms up -> the whole, then each step that took part, then what is left."""
        run()
        table: dict[str, list[NDArray[np.float64]]] = {}
        for _ in range(calls):
            self._spent = {}
            whole = self._timed(run)[1]
            spent = self._spent
            if SCORE in spent:
                inside = (spent[step] for step in (ENCODE, FILTER, QUERY) if step in spent)
                spent[SEARCH] = spent.pop(SCORE) - sum(inside, start=np.zeros(2))
                spent[REST] = whole - sum(spent.values(), start=np.zeros(2))
            for step, own in ({WHOLE: whole} | spent).items():
                table.setdefault(step, []).append(own)
        return [_timing(name, step, np.array(own)) for step, own in table.items()]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Time the steps of every call that is made meanwhile."""
        kept = [(owner, name, getattr(owner, name)) for owner, name, _ in STEPS]
        try:
            for owner, name, step in STEPS:
                setattr(owner, name, self._wrap(getattr(owner, name), step))
            yield
        finally:
            for owner, name, function in kept:
                setattr(owner, name, function)

    def _wrap(self, function: Callable[..., Any], step: str) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            result, spent = self._timed(lambda: function(*args, **named))
            self._spent[step] = self._spent.get(step, np.zeros(2)) + spent
            return result

        return timed

    @staticmethod
    def _timed(run: Callable[[], Any]) -> tuple[Any, NDArray[np.float64]]:
        wall, cpu = time.perf_counter(), time.thread_time()
        result = run()
        return result, np.array((time.perf_counter() - wall, time.thread_time() - cpu))


def _timing(call: str, step: str, seconds: NDArray[np.float64]) -> Timing:
    wall, cpu = 1000 * seconds.T
    return Timing(
        call=call,
        step=step,
        median_ms=round(float(np.median(wall)), 4),
        p90_ms=round(float(np.quantile(wall, 0.9)), 4),
        cpu_median_ms=round(float(np.median(cpu)), 4),
    )


def measure_calls(folder: Path, encoder: Encoder, calls: int) -> list[Timing]:
    """Whole calls of the tool with their steps, and three steps alone, this way and the plain way."""
    retriever = Retriever.load(folder, encoder)
    catalogue, clock = retriever.catalogue, Clock()
    history = [catalogue.ids[row] for row in np.random.default_rng(0).choice(len(catalogue), HISTORY, replace=False)]

    def ask(preference: Callable[[], str], **settings: Any) -> Callable[[], object]:
        tool = make_retrieve_items_tool(retriever, history=history, k=K, **settings)
        return lambda: tool.invoke(
            {"name": tool.name, "args": {"preference": preference()}, "id": "", "type": "tool_call"}
        )

    def new_phrase() -> str:
        return f"a small blue thing, number {next(_NUMBERS)}; Category 3; tag 17"

    def old_phrase() -> str:
        return "a small blue thing; Category 3; tag 17"

    timings = []
    with clock.inside():
        for name, run in (
            ("new phrase", ask(new_phrase)),
            ("repeated phrase", ask(old_phrase)),
            (EVERYTHING, ask(new_phrase, where=WHERE, diversity=0.3)),
            ("no preference", ask(str)),
        ):
            timings += clock.measure(name, run, calls)

    scores = np.random.default_rng(1).standard_normal(len(catalogue)).astype(np.float32)
    listed = [catalogue.ids[row] for row in best(scores, K)]
    index = AttributeIndex(catalogue)
    by_lists = make_list_mask(catalogue)
    assert np.array_equal(by_lists(), index.filter(WHERE).mask)
    assert np.array_equal(best_plainly(scores, K), best(scores, K))
    for name, run in (
        ("cut", lambda: best(scores, K)),
        ("cut, plain way", lambda: best_plainly(scores, K)),
        ("filter", lambda: index.filter(WHERE)),
        ("filter, plain way", by_lists),
        ("clean", lambda: [plain(catalogue.item(i).text, MAX_TEXT_CHARS) for i in listed]),
        ("clean, plain way", lambda: [clean_plainly(catalogue.item(i).text) for i in listed]),
    ):
        timings += clock.measure(name, run, calls)
    return timings


def best_plainly(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """`best` by a partition of all scores that are left."""
    allowed = np.flatnonzero(scores > -np.inf)
    if len(allowed) > k:
        kth = np.partition(scores[allowed], len(allowed) - k)[len(allowed) - k]
        allowed = allowed[scores[allowed] >= kth]
    return allowed[np.argsort(-scores[allowed], kind="stable")[:k]]


def make_list_mask(catalogue: Catalogue) -> Callable[[], NDArray[np.bool_]]:
    """Build the mask of `WHERE` from a list of rows for each word, without reading the constraints."""
    lists: dict[str, dict[str, list[int]]] = {"category": defaultdict(list), "tags": defaultdict(list)}
    prices = np.full(len(catalogue), np.nan)
    for row, item in enumerate(catalogue):
        prices[row] = item.attributes["price"]
        lists["category"][str(item.attributes["category"]).casefold()].append(row)
        tags = item.attributes["tags"]
        for tag in tags if isinstance(tags, tuple) else ():
            lists["tags"][tag.casefold()].append(row)

    def mask() -> NDArray[np.bool_]:
        wanted, unwanted = np.zeros(len(catalogue), np.bool_), np.zeros(len(catalogue), np.bool_)
        for word in WHERE["category"]["in"]:
            wanted[lists["category"].get(word.casefold(), [])] = True
        unwanted[lists["tags"].get("tag 3", [])] = True
        passing: NDArray[np.bool_] = wanted & ~unwanted & (prices <= WHERE["price"]["max"])
        return passing

    return mask


def clean_plainly(text: str) -> str:
    """`plain`, character by character."""
    dropped = {"Cc", "Cf", "Cs", "Co", "Cn"}
    kept = (char for char in text[: 4 * MAX_TEXT_CHARS] if char.isspace() or unicodedata.category(char) not in dropped)
    return " ".join("".join(" " if char.isspace() else char for char in kept).split())[:MAX_TEXT_CHARS]


def measure_load(folder: Path) -> dict[str, float]:
    """Load an artifact and ask it once, in a process of its own."""
    outcome = subprocess.run(
        [sys.executable, "-c", _LOAD, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    figures: dict[str, float] = json.loads(outcome.stdout.splitlines()[-1])
    return figures


def main(
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = DEFAULT_OUT,
    items: Annotated[str, typer.Option(help="Sizes of the catalogue, separated by commas.")] = "1000,10000,100000",
    calls: Annotated[int, typer.Option(help="Calls of each step.")] = 200,
    encoder: Annotated[str | None, typer.Option(help="Text encoder; the packaged MiniLM if left out.")] = None,
    seed: int = 0,
) -> None:
    """Measure, print the table, write all figures."""
    torch.set_num_threads(1)
    console, sizes = Console(width=110), [int(size) for size in items.split(",")]
    load_before, texts = os.getloadavg()[0], make_encoder(encoder)
    timings: dict[int, list[Timing]] = {}
    loads: dict[int, dict[str, float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "shop"
            write_shop(folder, size, seed, texts.id, texts.width)
            loads[size] = measure_load(folder)
            timings[size] = measure_calls(folder, texts, calls)
        console.print(f"{size} items measured", highlight=False)
    ratios = {size: compare(timings[size]) for size in sizes}
    show(console, sizes, timings, loads)
    console.print(f"CPU of the plain way over CPU of this way: {ratios}", highlight=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "what": "synthetic catalogues, random weights and item vectors, preferences encoded by the real encoder",
        "settings": {"k": K, "history": HISTORY, "where": WHERE, "calls": calls, "threads": 1, "seed": seed},
        "encoder": texts.id,
        "architecture": asdict(TRMConfig()),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "load_before": round(load_before, 2),
            "load_after": round(os.getloadavg()[0], 2),
        },
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "sentence-transformers")},
        "calls": {size: [asdict(timing) for timing in timings[size]] for size in sizes},
        "loads": loads,
        "plain_way_over_this_way_cpu": ratios,
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(timings: Sequence[Timing]) -> dict[str, float]:
    """CPU time of the plain way over that of this way, by step."""
    alone = {timing.call: timing.cpu_median_ms for timing in timings if timing.step == WHOLE}
    return {name: round(alone[f"{name}, plain way"] / alone[name], 1) for name in ("cut", "filter", "clean")}


def show(
    console: Console, sizes: Sequence[int], timings: dict[int, list[Timing]], loads: dict[int, dict[str, float]]
) -> None:
    """Print the whole calls, the steps of one kind of call, and what loading takes."""
    table = Table(title="A tool call on one thread, ms: median / 90% (CPU median)")
    table.add_column("", no_wrap=True)
    for size in sizes:
        table.add_column(f"{size:,} items", justify="right", no_wrap=True)
    for at, timing in enumerate(timings[sizes[0]]):
        if timing.step == WHOLE or timing.call == EVERYTHING:
            own = [timings[size][at] for size in sizes]
            table.add_row(
                timing.call if timing.step == WHOLE else f"  {timing.step}",
                *(f"{t.median_ms:.3g} / {t.p90_ms:.3g} ({t.cpu_median_ms:.3g})" for t in own),
            )
    table.add_section()
    for name in loads[sizes[0]]:
        table.add_row(name.replace("_", " "), *(f"{loads[size][name]:g}" for size in sizes))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
