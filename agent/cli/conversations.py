"""`deeprec traces conversations` and `deeprec traces conversation`: list logged conversations, and read one."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deeprec.agent.cli.trace_options import DEFAULT_STORE, ArtifactOption, StoreOption, titles_for, to_json
from deeprec.agent.cli.trace_pages import check_out, write_page
from deeprec.agent.traces.conversation_records import ConversationSummary
from deeprec.agent.traces.records import RunTrace
from deeprec.agent.traces.store.store import ConversationFilter, RunNotFoundError, TraceStore
from deeprec.agent.views.html.conversation_page import conversation_html
from deeprec.agent.views.html.run_page import RunView
from deeprec.agent.views.text.conversation import render_conversation
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool.cli.options import JsonOption

TenantOption = Annotated[str | None, typer.Option(help="Only conversations of this tenant, a shop for instance.")]
UserOption = Annotated[str | None, typer.Option(help="Only turns of this person.")]


def list_conversations(
    store: StoreOption = DEFAULT_STORE,
    tenant: TenantOption = None,
    user: UserOption = None,
    suite: Annotated[str | None, typer.Option(help="Only conversations of this suite.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only conversations that began then or later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only conversations that began before then.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most conversations to list.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List conversations, newest first."""
    where = ConversationFilter(tenant=tenant, user_id=user, suite=suite, since=since, until=until)
    with TraceStore(store, create=False) as traces:
        listed = traces.conversations(limit, where)
    if as_json:
        typer.echo(json.dumps([to_json(line) for line in listed], indent=2))
    elif listed:
        console = Console()
        console.print(_listing(listed, console.width // 2 if console.is_terminal else None), crop=console.is_terminal)
    elif where != ConversationFilter():
        typer.echo("No conversation matches.")
    else:
        typer.echo("No conversation is logged here. `deeprec chat`, `deeprec ui` and agents with a recorder log them.")


def show_conversation(
    thread: Annotated[str, typer.Argument(help="The id of the conversation's thread.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write it with the runs of its searches as a page to this HTML file."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    tenant: Annotated[str | None, typer.Option(help="The tenant, where several have this thread.")] = None,
    user: UserOption = None,
    artifact: ArtifactOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one conversation: each message, what was understood, searched and shown, and what the person did next."""
    if out is not None:
        check_out(out)
    with TraceStore(store, create=False) as traces:
        trace = traces.conversation(thread, tenant=tenant, user_id=user)
        runs: list[RunTrace] = []
        for run_id in dict.fromkeys(turn.run_id for turn in trace.turns if turn.run_id is not None):
            try:
                runs.append(traces.run(run_id))
            except RunNotFoundError:
                continue
    if as_json and out is None:
        typer.echo(json.dumps(to_json(trace), indent=2))
        return
    titles = titles_for(artifact, *runs)
    if out is None:
        Console().print(render_conversation(trace, titles))
        return
    write_page(out, conversation_html(trace, titles, runs=[RunView(trace=run, titles=titles) for run in runs]))
    if as_json:
        typer.echo(json.dumps({"file": str(out), "runs": [str(run.run.run_id) for run in runs]}, indent=2))
    else:
        typer.echo(f"Wrote the conversation to {visible(str(out))}.")


def _listing(conversations: list[ConversationSummary], thread_cells: int | None) -> Table:
    """Conversations as a table whose threads stay whole, folded after `thread_cells` where that is given."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    threads = [Text(visible(each.thread_id, 512), overflow="fold", no_wrap=False) for each in conversations]
    longest = max(thread.cell_len for thread in threads)
    cells = min(longest, thread_cells or longest)
    table.add_column("thread", no_wrap=True, min_width=cells, max_width=cells)  # person and message give way
    table.add_column("started, UTC", no_wrap=True, min_width=12)
    table.add_column("person")
    table.add_column("turns", justify="right", no_wrap=True)
    table.add_column("message")
    for thread, each in zip(threads, conversations, strict=True):
        table.add_row(
            thread,
            each.started_at.strftime("%d %b %H:%M"),
            Text(visible(each.user_id or "", 40), overflow="ellipsis", no_wrap=True),
            str(each.turns),
            Text("redacted" if each.redacted else visible(each.message, 80), overflow="ellipsis", no_wrap=True),
        )
    return table
