"""`deeprec traces`: list logged runs and read one. The other commands of the group are registered here."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deeprec.agent.cli.conversations import list_conversations, show_conversation
from deeprec.agent.cli.trace_admin import COMMANDS
from deeprec.agent.cli.trace_options import (
    DEFAULT_STORE,
    ArtifactOption,
    RunOptions,
    StoreOption,
    titles_for,
    to_json,
)
from deeprec.agent.cli.trace_pages import TokenizerOption, compare, tokens_for, write_html
from deeprec.agent.traces.records import RunSummary
from deeprec.agent.traces.store.store import TraceStore
from deeprec.agent.views.text.run import render_run
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import JsonOption

app = typer.Typer(help="Read, compare, keep and move logged runs.", no_args_is_help=True, add_completion=False)


@app.command("ls")
@option_groups
def list_runs(
    store: StoreOption = DEFAULT_STORE,
    runs: RunOptions = RunOptions(),
    limit: Annotated[int, typer.Option(min=1, help="Most runs to list.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    with TraceStore(store, create=False) as traces:
        listed = traces.runs(limit, runs.filter())
    if as_json:
        typer.echo(json.dumps([to_json(run) for run in listed], indent=2))
    elif listed:
        Console().print(_listing(listed))
    else:
        typer.echo("No run matches.")


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="A run id, or as much of its beginning as is unique.")],
    store: StoreOption = DEFAULT_STORE,
    artifact: ArtifactOption = None,
    with_tokens: Annotated[
        bool, typer.Option("--tokens", help="Show what the policy wrote token by token, coloured by logprob.")
    ] = False,
    tokenizer: TokenizerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: each turn, what came back, the ranked list, rewards and lineage."""
    with TraceStore(store, create=False) as traces:
        trace = traces.run(run)
    if as_json:
        typer.echo(json.dumps(to_json(trace), indent=2))
        return
    texts = tokens_for(tokenizer, trace) if with_tokens or tokenizer else None
    page = render_run(trace, titles_for(artifact, trace), texts, show_tokens=with_tokens or tokenizer is not None)
    Console().print(page)


app.command("html")(write_html)
app.command("compare")(compare)
app.command("conversations")(list_conversations)
app.command("conversation")(show_conversation)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def _listing(runs: list[RunSummary]) -> Table:
    digits = next(n for n in (8, 13, 18, 36) if n == 36 or len({str(run.run_id)[:n] for run in runs}) == len(runs))
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    for header, width in (("run", digits), ("started, UTC", 12), ("status", 9), ("user", 4)):
        table.add_column(header, no_wrap=True, min_width=width)
    table.add_column("model", overflow="ellipsis", min_width=12)  # the one that gives way on a narrow terminal
    for header in ("turns", "tokens", "seconds", "target at"):
        table.add_column(header, justify="right", no_wrap=True)
    for run in runs:
        place = "" if run.target_id is None else str(run.target_rank or "–")
        table.add_row(
            str(run.run_id)[:digits],
            run.started_at.strftime("%d %b %H:%M"),
            Text(visible(f"{run.status}, incomplete" if run.incomplete else run.status, 40)),
            Text(visible(run.user_id or "", 40)),
            Text(visible(run.policy_model, 60)),
            str(run.turns),
            str(run.completion_tokens),
            "" if run.latency_ms is None else f"{run.latency_ms / 1000:.1f}",
            place,
        )
    return table
