"""`deeprec traces fork` and `replay`: running a logged run again, with an edited preference or as it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from deeprec.agent.cli.policy_options import BaseUrlOption, open_policy
from deeprec.agent.cli.trace_options import DEFAULT_STORE, StoreOption, to_json
from deeprec.agent.graph.turn_seeds import MAX_SEED
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL
from deeprec.agent.traces.store.store import TraceStore
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT, JsonOption, artifact_is_there, is_there
from deeprec.trm_tool.text import hide_passwords

RunArgument = Annotated[str, typer.Argument(help="A run id, or as much of its beginning as is unique.")]
RecommenderOption = Annotated[
    Path,
    typer.Option("--artifact", help="The recommender that the run was made with.", callback=artifact_is_there),
]
OwnSignalsOption = Annotated[
    Path | None,
    typer.Option("--signals", help="The signals that it had: a file from `deeprec trm signals`.", callback=is_there),
]
OwnModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="DEEPREC_MODEL",
        help="The name that the server has for the model.",
        show_default="the run's own",
    ),
]
OtherModelOption = Annotated[
    bool, typer.Option("--allow-other-model", help="Allow another model or other sampling than the run's.")
]


def fork(
    run: RunArgument,
    turn: Annotated[
        int, typer.Option(min=1, help="The turn whose retrieval is edited, counted from 1 as in `traces show`.")
    ],
    preference: Annotated[str, typer.Option(help="The preference in place of the model's: phrases separated by ';'.")],
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="Seed of the sampling from there on.", show_default="the run's own"),
    ] = None,
    artifact: RecommenderOption = DEFAULT_ARTIFACT,
    signals: OwnSignalsOption = None,
    base_url: BaseUrlOption = DEFAULT_BASE_URL,
    model: OwnModelOption = None,
    allow_other_model: OtherModelOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Edit the preference of one turn of a run, and let the model go on from there."""
    edit = {"turn": turn - 1, "preference": preference, "seed": seed}
    asyncio.run(_again(run, edit, artifact, signals, base_url, model, allow_other_model, store, as_json))


def replay(
    run: RunArgument,
    artifact: RecommenderOption = DEFAULT_ARTIFACT,
    signals: OwnSignalsOption = None,
    base_url: BaseUrlOption = DEFAULT_BASE_URL,
    model: OwnModelOption = None,
    allow_other_model: OtherModelOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Run a logged run again as it was, and report where the new run differs."""
    asyncio.run(_again(run, None, artifact, signals, base_url, model, allow_other_model, store, as_json))


async def _again(
    run: str,
    edit: dict[str, Any] | None,
    artifact: Path,
    signals: Path | None,
    base_url: str,
    model: str | None,
    allow_other_model: bool,
    store: str,
    as_json: bool,
) -> None:
    """Fork a run with an edit, or replay it; then show the new run beside it."""
    from deeprec.agent.graph.many_runs import step_text
    from deeprec.agent.replay.preconditions import checked_preference, load_ended, retrieving_turn
    from deeprec.agent.replay.replay import fork_run, replay_run
    from deeprec.agent.views import compare_runs, render_comparison
    from deeprec.trm_tool import Retriever

    progress = Console(stderr=True)

    def report(node: str, wrote: Mapping[str, Any]) -> None:
        if not as_json and (line := step_text(node, wrote)):
            progress.print(Text(visible(f"  {line}"), style="dim"))

    with TraceStore(store, create=False) as traces:
        original = load_ended(traces, run)  # a mistake is reported before the server is asked
        if edit is not None:
            retrieving_turn(original, edit["turn"])
            checked_preference(edit["preference"])
        made = original.run
        if model is None and not allow_other_model:
            model = made.policy_model
        sampling = {name: float(made.config.get(name, 1.0)) for name in ("temperature", "top_p")}
        adapter = None if allow_other_model else made.adapter
        retriever = Retriever.load(artifact, reranking=signals)
        async with open_policy(base_url, model, protocol=made.protocol, adapter=adapter, **sampling) as (name, policy):
            live: Any = {"policy": policy, "retriever": retriever, "allow_other_model": allow_other_model}
            with nullcontext() if as_json else progress.status(f"{name} is reasoning…"):
                if edit is None:
                    child = (await replay_run(traces, made.run_id, on_update=report, **live)).child
                else:
                    child = await fork_run(traces, made.run_id, on_update=report, **edit, **live)
    comparison = compare_runs(original, child)
    if as_json:
        result = {"is_same": comparison.is_same, "comparison": to_json(comparison), "run": to_json(child)}
        typer.echo(json.dumps(result, indent=2, allow_nan=False))
        return
    console = Console()
    console.print(render_comparison(original, child, retriever.catalogue))
    console.print(
        Text(
            f"deeprec traces show {str(child.run.run_id)[:8]} --store {hide_passwords(store)}   shows the new run",
            style="dim",
        ),
        soft_wrap=True,
    )
