"""`deeprec chat`: talk with the shopping agent in a terminal, or by lines from a pipe."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from deeprec.agent.cli.person_history import history_of_user
from deeprec.agent.cli.policy_options import ModelOption, NamedBaseUrlOption, ServeOption
from deeprec.agent.cli.trace_options import DEFAULT_STORE
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool.cli.item_ids import IDS_HELP, read_ids
from deeprec.trm_tool.cli.option_groups import option_groups
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT, ArtifactOption, ColumnOptions, DataOption, SignalsOption
from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.agent.cli.chat_session import ChatSession

app = typer.Typer(add_completion=False)

MAX_NAME_CHARS = 200
PROMPT = "> "


@app.command()
@option_groups
def chat(
    *,
    user: Annotated[str | None, typer.Option(help="Talk as this user of --data, with the whole history.")] = None,
    history: Annotated[
        list[str] | None, typer.Option(help=f"Talk as a person with this history, the latest last. {IDS_HELP}.")
    ] = None,
    thread: Annotated[
        str | None,
        typer.Option(help="The conversation to go on with, or a name for a new one.", show_default="a new one"),
    ] = None,
    artifact: ArtifactOption = DEFAULT_ARTIFACT,
    signals: SignalsOption = None,
    data: DataOption = None,
    columns: ColumnOptions = ColumnOptions(),
    base_url: NamedBaseUrlOption = None,
    model: ModelOption = None,
    serve: ServeOption = False,
    threads: Annotated[
        Path | None,
        typer.Option(
            help="The SQLite file that keeps the conversations and the carts.",
            show_default="STORE.threads.db beside the store",
        ),
    ] = None,
    store: Annotated[
        str, typer.Option(envvar="DEEPREC_STORE", help="The trace store that the turns are logged to.")
    ] = DEFAULT_STORE,
) -> None:
    """Talk with the shopping agent until Ctrl-D; /help lists the commands. Without a model, rules answer."""
    if user is not None and history:
        raise ConfigError("A chat is with one person: give --user or --history, or neither for a stranger.")
    if thread is not None and not (thread.isprintable() and 0 < len(thread.strip()) <= MAX_NAME_CHARS):
        raise ConfigError(
            f"--thread {visible(thread, 80)!r} cannot name a conversation. "
            f"Give 1 to {MAX_NAME_CHARS} characters that can be seen."
        )
    from deeprec.agent.cli.chat_session import ChatSession
    from deeprec.agent.cli.chat_thread import ChatThread
    from deeprec.agent.cli.shopping_agent import load_recommender, open_shopping_agent, served_model
    from deeprec.agent.traces import SqlRecorder, TraceStore

    console = Console(soft_wrap=True, highlight=False)
    retriever = load_recommender(artifact, signals, console)
    items: Sequence[str] | None = read_ids(history, retriever.catalogue) if history else None
    if user is not None:
        items = history_of_user(user, columns.read(data), retriever, artifact, named=data is not None)
    with (
        served_model(base_url, serve, console) as found,
        TraceStore(store) as traces,
        asyncio.Runner() as runner,
        _terminated() as is_terminated,
    ):
        stack = AsyncExitStack()
        try:
            kept_in = threads or _beside(store)
            agent = runner.run(
                stack.enter_async_context(
                    open_shopping_agent(retriever, traces, base_url=found, model=model, threads=kept_in)
                )
            )
            console.print(Text(agent.about(retriever)))
            if agent.model is None:
                console.print("A model comes with --serve (the embedded one) or --base-url.")
            log = SqlRecorder(traces)
            session = ChatSession(
                lambda name: ChatThread(agent.graph, agent.cart, name, history=items, person=user, recorder=log),
                thread,
                retriever.catalogue,
                console,
                store,
            )
            _converse(session, runner, console, is_terminated)
        finally:
            runner.run(stack.aclose())


def _converse(
    session: ChatSession, runner: asyncio.Runner, console: Console, is_terminated: Callable[[], bool]
) -> None:
    """Take line after line until the input or the chat ends. Ctrl-C stops an answer; of a pipe's lines, it ends all."""
    is_typed = sys.stdin.isatty()
    said = runner.run(session.begin())
    read = _typed_lines(said) if is_typed else _piped_lines(console)
    console.print("Say what you are looking for. /help lists the commands.")
    while True:
        try:
            line = read()
        except EOFError:
            break
        except KeyboardInterrupt:
            if is_terminated() or not is_typed:
                raise
            console.print("\nCtrl-D or /quit ends the chat.", style="dim")
            continue
        try:
            if not runner.run(session.take(line)):
                break
        except KeyboardInterrupt:
            if is_terminated() or not is_typed:
                raise
            console.print("Stopped. What was understood by then is kept.", style="yellow")
    runner.run(session.end())


def _typed_lines(said: Sequence[str]) -> Callable[[], str]:
    """Lines as a person types them, with the earlier ones behind the arrow keys where Python has readline."""
    try:
        import readline
    except ImportError:  # Windows, whose terminal has a history of its own
        pass
    else:
        for line in said:
            readline.add_history(visible(line))
    return lambda: input(PROMPT)


def _piped_lines(console: Console) -> Callable[[], str]:
    """Lines of a file or a pipe, printed so that the output reads as a conversation."""

    def read() -> str:
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        console.print(Text(PROMPT + visible(line.rstrip("\n"))))
        return line

    return read


def _beside(store: str) -> Path:
    """The file of the threads: beside the store's file, or in this folder's `.deeprec` for a store on a server."""
    from deeprec.agent.traces.store.database import database_url, sqlite_path

    url = database_url(store)
    path = sqlite_path(url) if url.get_backend_name() == "sqlite" else Path(DEFAULT_STORE)
    return path.with_suffix(".threads.db")


@contextmanager
def _terminated() -> Iterator[Callable[[], bool]]:
    """Yield whether a SIGTERM came, which the root command handles as Ctrl-C: it ends the chat, and Ctrl-C does not."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if callable(before):
            before(number, frame)

    if not callable(before):  # nothing turns it into an interrupt
        yield lambda: False
        return
    signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGTERM, before)
