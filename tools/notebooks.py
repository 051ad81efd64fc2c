"""Execute the notebooks from a clean kernel and check them: `python -m tools.notebooks [--write] [FILE…]`.

They run beside links to what `.deeprec` has already (recommender, model), with an empty trace store, so that nothing of
a user's is read or changed. A model server that runs is used (05 leaves two small adapters loaded there); else one is
started, and stopped at the end.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from deeprec.agent import open_model_server, visible
from deeprec.trm_tool import (
    ArtifactError,
    ConfigError,
    DeepRecError,
    embedded_ml100k,
    load_artifact,
    make_encoder,
    read_atomic_files,
    train_trm,
    training_bar,
)
from deeprec.trm_tool.cli.options import DEFAULT_CACHE
from tools.notebook_checks import cleaned, output_faults, source_faults

FOLDER = Path("notebooks")
TIMEOUT_S = 1200
"""Seconds that one cell may take. On two idle cores none takes more than 300; a busy machine is not a fault."""
QUICK_EPOCHS = 4
"""Epochs of a recommender that is trained where none is stored: enough to look at. It has a folder of its own."""
RECOMMENDERS = {"ml-100k": 2, "ml-100k-holdout3": 3}
"""Folder -> how many of each person's last items the recommender has not seen: to recommend with, and to train on."""

console = Console(highlight=False)


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="Notebooks; all of notebooks/ by default.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Store the outputs in the notebooks.")] = False,
    home: Annotated[Path, typer.Option(help="Where recommender and model are kept.")] = Path(".deeprec"),
) -> None:
    """Execute notebooks; fail on an error, an empty figure, a long cell, a private name or a path of the machine."""
    paths = files or sorted(FOLDER.glob("*.ipynb"))
    try:
        faulty = check_notebooks(paths, home=home, write=write)
    except DeepRecError as error:
        console.print(Text.assemble(("error: ", "bold red"), visible(str(error))), soft_wrap=True)
        sys.exit(2)
    if faulty:
        console.print(f"{faulty} of {len(paths)} notebooks have faults.", style="red")
        sys.exit(1)
    console.print(f"All {len(paths)} notebooks ran and are as they should be.")


def check_notebooks(paths: Collection[Path], *, home: Path, write: bool = False) -> int:
    """Execute notebooks one after the other, and report what is wrong with them.

    Args:
        paths: the notebooks.
        home: where recommender and model are kept; what is missing and needed by one of the notebooks is made.
        write: store the cleaned outputs of those without a fault.
    Returns:
        How many have faults.
    Raises:
        ConfigError: a notebook is missing, or the packages that execute one are missing.
    """
    if not paths:
        raise ConfigError(f"{FOLDER}/ holds no notebook here. Name one, or run this from the root of the repository.")
    notebooks = {path: _read(path) for path in paths}
    faults = {path: source_faults(notebook) for path, notebook in notebooks.items()}
    for path in paths:
        _say(path, faults[path])
    ready = [path for path in paths if not faults[path]]
    if ready:
        artifacts = {name: trained_recommender(home, name) for name in _named([notebooks[path] for path in ready])}
        titles = {item.title for item in load_artifact(artifacts["ml-100k"]).catalogue}
        server = None
        if any(_mentions(notebooks[path], "open_model_server") for path in ready):
            server = open_model_server(home=home, on_progress=lambda line: console.print(f"  {line}", style="dim"))
        environment = {**os.environ, **({"DEEPREC_BASE_URL": server.base_url} if server else {})}
        try:
            for path in ready:
                started = time.perf_counter()
                executed, ended = _execute(notebooks[path], home, artifacts, environment)
                faults[path] = [*ended, *output_faults(executed, titles)]
                console.print(f"{path.name}: {time.perf_counter() - started:.0f} s")
                _say(path, faults[path])
                if write and not faults[path]:
                    _write(executed, path)
        finally:
            if server:
                server.stop()
    return sum(bool(found) for found in faults.values())


def _execute(
    notebook: Any, home: Path, artifacts: Mapping[str, Path], environment: Mapping[str, str]
) -> tuple[Any, list[str]]:
    """Run all cells in a fresh kernel, beside an empty store.

    Returns:
        the notebook as it may be committed, and what ended it early; an error of a cell stays in the cell's output.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    ended: list[str] = []

    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        (work / "notebooks").mkdir()
        (work / ".deeprec" / "trm").mkdir(parents=True)
        for folder, artifact in artifacts.items():
            (work / ".deeprec" / "trm" / folder).symlink_to(artifact.resolve())
        for folder in ("models", "logs"):
            (home / folder).mkdir(parents=True, exist_ok=True)
            (work / ".deeprec" / folder).symlink_to((home / folder).resolve())
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_S,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": str(work / "notebooks")}},
        )
        try:
            client.execute(env=dict(environment))
        except CellExecutionError:
            pass  # the cell's output shows it
        except DeadKernelError:
            ended.append("the kernel died")
        except CellTimeoutError:
            ended.append(f"a cell took more than {TIMEOUT_S} s")
        places = {str(work): "..", str(Path.cwd()): ".", sys.prefix: "the environment", str(Path.home()): "~"}
        return cleaned(notebook, places), ended


def _named(notebooks: Collection[Any]) -> list[str]:
    """List the recommenders that some notebooks name, after the first one, whose titles every output is checked for."""
    first, *others = RECOMMENDERS
    return [first, *(name for name in others if any(_mentions(notebook, name) for notebook in notebooks))]


def _mentions(notebook: Any, name: str) -> bool:
    return any(name in cell["source"] for cell in notebook["cells"])


def _say(path: Path, faults: Collection[str]) -> None:
    for fault in faults:
        console.print(Text(visible(f"{path.name}: {fault}"), style="red"), soft_wrap=True)


def trained_recommender(home: Path, name: str) -> Path:
    """The user's own recommender of that name where it is there; else one that is trained quickly, and kept."""
    data = read_atomic_files(embedded_ml100k())
    holdout = RECOMMENDERS[name]
    for folder in (home / "trm" / name, quick := home / "trm" / f"{name}-quick"):
        try:
            config = load_artifact(folder).config
        except ArtifactError:
            continue
        if (config["dataset_fingerprint"], config["holdout"]) == (data.fingerprint, holdout):
            return folder
    console.print(f"The recommender {home / 'trm' / name} of the embedded data is missing; training one quickly.")
    with training_bar(console) as show:
        train_trm(
            data,
            quick,
            encoder=make_encoder(None),
            holdout=holdout,
            epochs=QUICK_EPOCHS,
            cache=DEFAULT_CACHE,
            on_progress=show,
        )
    return quick


def _read(path: Path) -> Any:
    try:
        import nbformat
    except ModuleNotFoundError:
        raise ConfigError("Executing notebooks needs more: pip install 'deeprec-agent[notebooks]'") from None
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise ConfigError(f"{path} is not a notebook that can be read: {str(error).splitlines()[0][:200]}") from None


def _write(notebook: Any, path: Path) -> None:
    import nbformat

    nbformat.write(nbformat.from_dict(notebook), path)


if __name__ == "__main__":
    typer.run(main)
