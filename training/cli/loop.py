"""`deeprec train loop` and `deeprec train curves`: training a policy from its own runs, and how it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deeprec.agent.cli.trace_options import DEFAULT_STORE, StoreOption
from deeprec.training.cli.trainers import AdapterServerOption
from deeprec.trm_tool.cli.options import JsonOption, data_is_there
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.trm.artifact_folder import check_artifact


def loop(
    settings: Annotated[str, typer.Argument(help="A YAML file, or the name of a loop that comes with deeprec.")],
    out: Annotated[
        Path,
        typer.Option(help="The loop's folder: adapters, checkpoints, logs. The same command continues what it holds."),
    ],
    store: StoreOption = DEFAULT_STORE,
    base_url: AdapterServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat: collect, reward, train, load the adapter, validate. After an interruption the same command continues."""
    from deeprec.evals.suites.suite import read_named_data
    from deeprec.training.loop.config import load_loop_config

    config = load_loop_config(settings)
    check_artifact(Path(config.path_of(config.artifact)), holdout=3)
    data_is_there(Path(config.path_of(config.data)))

    from deeprec.agent import TraceStore, pull_embedded_model
    from deeprec.agent.serving.smollm2 import EMBEDDED_MODEL
    from deeprec.training.loop.loop import run_loop
    from deeprec.training.trainers.policy_model import require_trl
    from deeprec.trm_tool import encoder_of_artifact, load_artifact

    require_trl()
    artifact = load_artifact(Path(config.path_of(config.artifact)))
    dataset = read_named_data(config.path_of(config.data))
    console = Console(stderr=True, highlight=False)
    try:
        with TraceStore(store) as traces:
            result = run_loop(
                config,
                out,
                store=traces,
                dataset=dataset,
                artifact=artifact,
                encoder=encoder_of_artifact(str(artifact.config["encoder_id"])),
                base=pull_embedded_model(EMBEDDED_MODEL) if config.base is None else config.path_of(config.base),
                base_url=base_url,
                say=lambda line: console.print(line, soft_wrap=True, markup=False),
            )
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on from here.")
        raise
    if as_json:
        outcome = {"best": result.best, "adapter": str(result.adapter or ""), "validation": result.validation}
        typer.echo(json.dumps(outcome, indent=2, allow_nan=False))
    elif result.adapter is None:
        typer.echo("No version was better on validation than the model without an adapter.")
    else:
        typer.echo(f"The best by validation is {result.best}: {result.adapter}")


def curves(
    loop_out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of a loop, which may still be running.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG file.")],
) -> None:
    """Plot how a loop went: loss, reward and format by step, validation by version."""
    from deeprec.evals.plotting import png
    from deeprec.training.loop.curves import plot_loop

    picture = png(plot_loop(loop_out))
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}. Name another file.") from error
    typer.echo(out)
