"""`deeprec traces html` and `deeprec traces compare`: runs as a page, and two runs beside one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deeprec.agent.cli.trace_options import (
    DEFAULT_STORE,
    ArtifactOption,
    StoreOption,
    titles_for,
    to_json,
)
from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from deeprec.agent.traces.export.table_rows import staged
from deeprec.agent.traces.records import RunTrace
from deeprec.agent.traces.store.store import TraceStore
from deeprec.agent.views.comparison import compare_runs
from deeprec.agent.views.html.comparison_page import compare_html
from deeprec.agent.views.html.run_page import RunView, runs_html
from deeprec.agent.views.text.comparison import render_comparison
from deeprec.agent.views.tokens import TokenTexts, read_tokenizer
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool.cli.options import JsonOption
from deeprec.trm_tool.errors import ConfigError

TokenizerOption = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        help="The folder of the model that wrote the run, for the texts of its tokens; else they are shown as ids.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")]


def write_html(
    runs: Annotated[list[str], typer.Argument(help="Run ids, or as much of their beginnings as is unique.")],
    out: OutOption,
    store: StoreOption = DEFAULT_STORE,
    artifact: ArtifactOption = None,
    tokenizer: TokenizerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write runs as one self-contained page: thoughts, preferences and items found, with the tokens folded away."""
    check_out(out)
    with TraceStore(store, create=False) as traces:
        found = {trace.run.run_id: trace for trace in map(traces.run, runs)}
    views = [
        RunView(trace=trace, titles=titles_for(artifact, trace), tokens=tokens_for(tokenizer, trace))
        for trace in found.values()
    ]
    write_page(out, runs_html(views))
    if as_json:
        typer.echo(json.dumps({"file": str(out), "runs": [str(run_id) for run_id in found]}, indent=2))
    else:
        typer.echo(f"Wrote {len(views)} run{'s' if len(views) > 1 else ''} to {visible(str(out))}.")


def compare(
    left: Annotated[str, typer.Argument(metavar="A", help="A run id, or its beginning.")],
    right: Annotated[str, typer.Argument(metavar="B", help="The run to compare it with.")],
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the comparison as a page to this HTML file.")
    ] = None,
    artifact: ArtifactOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs turn by turn: where they first differ, and what each found that the other did not."""
    if out is not None:
        check_out(out)
    with TraceStore(store, create=False) as traces:
        one, other = traces.run(left), traces.run(right)
    if one.run.run_id == other.run.run_id:
        raise ConfigError(f"Both are run {one.run.run_id}. Name two different ones; `deeprec traces ls` lists them.")
    titles = titles_for(artifact, one, other)
    if out is not None:
        write_page(out, compare_html(one, other, titles))
    if as_json:
        typer.echo(json.dumps(to_json(compare_runs(one, other)), indent=2))
    elif out is not None:
        typer.echo(f"Wrote the comparison to {visible(str(out))}.")
    else:
        Console().print(render_comparison(one, other, titles))


def tokens_for(folder: Path | None, trace: RunTrace) -> TokenTexts | None:
    """Load the tokenizer that was named, or the embedded model's if that wrote the run and its folder is there."""
    if folder is not None:
        return read_tokenizer(folder)
    is_embedded = trace.run.policy_model == EMBEDDED_MODEL_NAME and (EMBEDDED_MODEL / "tokenizer.json").is_file()
    return read_tokenizer(EMBEDDED_MODEL) if is_embedded else None


def check_out(out: Path) -> None:
    """Refuse to overwrite a file that is not a page, such as a trace store that was named by mistake."""
    if out.is_dir():
        raise ConfigError(f"{out} is a folder. Name a file to write the page to.")
    if out.is_file():
        with out.open("rb") as file:
            start = file.read(15)
        if start and start != b"<!DOCTYPE html>":
            raise ConfigError(f"{out} exists and is not an HTML page; nothing was overwritten. Name another file.")


def write_page(out: Path, page: str) -> None:
    """Write a file whole or not at all."""
    with staged(out) as staging:
        staging.write_text(page, encoding="utf-8")
