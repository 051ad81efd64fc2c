"""`deeprec demo`: every step on the embedded defaults, from interactions to a comparison."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from deeprec.agent import (
    AgentConfig,
    CompletionPolicy,
    RunTrace,
    ServerProcess,
    SqlRecorder,
    TraceStore,
    build_graph,
    make_server,
    pull_embedded_model,
    render_run,
    run_many,
    step_text,
    visible,
    wait_with_progress,
)
from deeprec.evals.metrics.ranking import ndcg_at_k, recall_at_k
from deeprec.evals.requests.agent_requests import make_agent_request, run_seed
from deeprec.evals.requests.cases import make_case
from deeprec.trm_tool import (
    ArtifactError,
    Dataset,
    Retriever,
    embedded_ml100k,
    make_encoder,
    read_atomic_files,
    train_trm,
    training_bar,
)
from deeprec.trm_tool.cli.options import DEFAULT_CACHE

K = 10
SUITE = "demo"

app = typer.Typer(add_completion=False)
console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One system over the demo's users."""

    name: str
    lists: Sequence[Sequence[str]]
    calls: float
    tokens: int
    seconds: float


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, help="How many test users the agent runs for.")] = 8,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Seed of the choice of users and of the sampling.")] = 0,
    home: Annotated[Path, typer.Option(help="The folder that keeps artifact, model, log and traces.")] = Path(
        ".deeprec"
    ),
) -> None:
    """Train the recommender, serve the language model, run the agent for test users, and compare."""
    started = time.perf_counter()
    console.print(Rule("1. The recommender", align="left"))
    data = read_atomic_files(embedded_ml100k())
    retriever = _recommender(data, home / "trm" / "ml-100k", seed)

    console.print(Rule("2. The language model", align="left"))
    model = pull_embedded_model(home / "models" / "smollm2-135m-instruct")
    log = home / "logs" / "server.log"
    server = make_server(model, log=log)
    console.print(f"{server.engine} is starting with {model.name}; its log is {log}")
    config = AgentConfig(guided=True, k=K, max_history=10, min_retrievals=2, max_retrievals=3)
    chosen = sorted(random.Random(seed).sample(data.users, min(users, len(data.users))), key=data.users.index)
    with server:
        wait_with_progress(server, console)
        console.print(f"Healthy at {server.base_url}")

        console.print(Rule(f"3. The agent, for {len(chosen)} test users at once", align="left"))
        with TraceStore(home / "traces.db") as store:
            running = time.perf_counter()
            runs = asyncio.run(_run(server, retriever, config, store, data, chosen, seed))
            seconds = time.perf_counter() - running
            traces = [store.run(run_id) for run_id in runs]
    console.print("The server is stopped.")

    console.print(Rule("4. What happened", align="left"))
    for trace in traces:
        console.print(render_run(trace, retriever.catalogue))
    console.print(Rule("5. Beside the recommender alone", align="left"))
    _compare(traces, retriever, seconds)
    console.print(f"\nThe whole demo took {time.perf_counter() - started:.0f} s. Next:")
    deeprec = sys.argv[0]
    console.print(f"  {deeprec} traces ls --store {home / 'traces.db'}")
    console.print(f"  {deeprec} traces show {str(traces[0].run.run_id)[:8]} --store {home / 'traces.db'}")
    console.print(f"  {deeprec} llm serve          then, in another terminal:")
    console.print(f'  {deeprec} recommend --user 1 --message "something lighter"')


def _recommender(data: Dataset, folder: Path, seed: int) -> Retriever:
    if folder.exists():
        try:
            retriever = Retriever.load(folder)
        except ArtifactError as error:
            console.print(Text(f"{error} Training it again.", style="yellow"))
        else:
            console.print(f"Trained already: {folder}")
            return retriever
    with training_bar(console) as show:
        train_trm(data, folder, encoder=make_encoder(None), cache=DEFAULT_CACHE, seed=seed, on_progress=show)
    console.print(f"Written: {folder}")
    return Retriever.load(folder)


async def _run(
    server: ServerProcess,
    retriever: Retriever,
    config: AgentConfig,
    store: TraceStore,
    data: Dataset,
    users: Sequence[str],
    seed: int,
) -> list[UUID]:
    def report(index: int, node: str, wrote: Mapping[str, Any]) -> None:
        if line := step_text(node, wrote):
            console.print(Text(visible(f"user {users[index]:>4} {line}"), style="dim"))

    policy = CompletionPolicy(server.base_url, server.model_name)
    try:
        graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
        outputs = await run_many(
            graph,
            [
                make_agent_request(make_case(data, user), suite=SUITE, split="test", seed=run_seed(SUITE, user, seed))
                for user in users
            ],
            on_update=report,
            raise_errors=True,
        )
    finally:
        await policy.aclose()
    return [UUID(output["run_id"]) for output in outputs]


def _compare(traces: Sequence[RunTrace], retriever: Retriever, seconds: float) -> None:
    targets = [str(trace.run.target_id) for trace in traces]
    tokens = sum(turn.completion_tokens for trace in traces for turn in trace.turns)
    started = time.perf_counter()
    alone = [[item.id for item in retriever.retrieve(trace.run.history, k=K)] for trace in traces]
    alone_seconds = time.perf_counter() - started
    calls = sum(len(trace.retrievals) for trace in traces) / len(traces)
    rows = [
        _Row(
            name="agent, as written",
            lists=[[p.item_id for p in t.written] for t in traces],
            calls=calls,
            tokens=tokens,
            seconds=seconds,
        ),
        _Row(
            name="agent, as filled",
            lists=[[p.item_id for p in t.recommended] for t in traces],
            calls=calls,
            tokens=tokens,
            seconds=seconds,
        ),
        _Row(name="recommender alone", lists=alone, calls=1, tokens=0, seconds=alone_seconds),
    ]
    table = Table("", f"Recall@{K}", f"NDCG@{K}", "calls a run", "tokens written", "seconds", box=None)
    for row in rows:
        recall = [recall_at_k(ranked, {target}, K) for ranked, target in zip(row.lists, targets, strict=True)]
        ndcg = [ndcg_at_k(ranked, {target}, K) for ranked, target in zip(row.lists, targets, strict=True)]
        table.add_row(
            row.name,
            f"{sum(recall) / len(recall):.3f}",
            f"{sum(ndcg) / len(ndcg):.3f}",
            f"{row.calls:.1f}",
            f"{row.tokens:,}",
            f"{row.seconds:.1f}",
        )
    console.print(table)
    found = sum(
        any(item.id == target for r in t.retrievals for item in r.items)
        for t, target in zip(traces, targets, strict=True)
    )
    console.print(f"The held-out item was among what the agent retrieved for {found} of {len(traces)} users.")
    console.print(
        f"{tokens:,} tokens in {seconds:.0f} s: {tokens / seconds:.1f} a second with {len(traces)} agents at once."
    )
    fallen = sum(trace.status == "fallback" for trace in traces)
    if fallen:
        console.print(Text(f"{fallen} of {len(traces)} runs fell back to the recommender's own ranking.", style="red"))
    console.print(
        Text(
            f"{len(traces)} users prove nothing: one user more or less moves Recall@{K} by {1 / len(traces):.3f}. "
            "The model is small and untrained; the demo shows that the parts work together.",
            style="yellow",
        )
    )
