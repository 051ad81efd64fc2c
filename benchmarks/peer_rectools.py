"""RecTools' SASRec, trained in an environment of its own and judged here.

`rectools_worker` runs in `.venv-bench` (`make bench`), since RecTools holds NumPy below 2. It hands over scores;
masking, ranks, and when to stop are decided on this side, by the same code as for every other system.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer_protocol import (
    HOLDOUT,
    Patience,
    RankTable,
    Setting,
    described,
    figures,
    machine,
    never_trained,
    put_unscored_last,
    rank_targets,
    readable,
    write_text,
)
from deeprec.evals.requests.cases import Case
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

PYTHON = Path(".venv-bench/bin/python")
WORKER = Path(__file__).with_name("rectools_worker.py")

Judge = Callable[[dict[str, Any]], tuple[bool, bool]]
"""The point of an epoch, its figures included -> whether these weights are the best, and whether to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecToolsConfig:
    """What differs from RecTools' defaults, and what must be fixed for a comparison."""

    n_factors: int = 128
    """Width."""
    session_max_len: int = 100
    """Longest history; RecTools trains on the last so many items of a user and one more."""
    epochs: int = 100
    """The most epochs."""
    threads: int = 2
    seed: int = 0


def run_rectools(
    training: Dataset,
    validation: Sequence[Case],
    cases: Sequence[Case],
    judge: Judge,
    *,
    config: RecToolsConfig,
    python: Path = PYTHON,
    holdout: int = HOLDOUT,
) -> NDArray[np.float32]:
    """Train on all but the last items of each user and score the catalogue for every case.

    Args:
        training: What may be learned from, the last `holdout` items of each user excepted.
        validation: Cases that are scored after each epoch.
        cases: Cases that the best weights score in the end; may be none.
        judge: Asked after each epoch.
        config: Settings.
        python: The interpreter that has RecTools.
        holdout: Items of each user that are not learned from.

    Returns:
        Scores (cases, items) in catalogue order; NaN for an item that RecTools cannot score.

    Raises:
        ConfigError: the interpreter is missing, or RecTools failed; the message has its last output.
    """
    if not python.exists():
        raise ConfigError(f"{python} does not exist, so RecTools is missing. Make its environment with `make bench`.")
    catalogue = training.catalogue
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        users = [catalogue.rows(training.history(user, holdout)) for user in training.users]
        arrays = {
            "items": np.array(len(catalogue)),
            **_flat("train", "user", users),
            **_flat("valid", "case", [catalogue.rows(case.history) for case in validation]),
            **_flat("test", "case", [catalogue.rows(case.history) for case in cases]),
        }
        np.savez(folder / "data.npz", allow_pickle=False, **arrays)
        command = [str(python.absolute()), str(WORKER.absolute()), str(folder), json.dumps(asdict(config))]
        with (
            (folder / "errors").open("w+") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder
            ) as worker,
        ):
            try:
                done = _converse(worker, folder, validation, training, judge)
            finally:
                worker.kill()
            if not done:
                errors.seek(0)
                words = [line for line in errors.read().splitlines() if line.strip()] or ["no output"]
                raise ConfigError(f"RecTools ended without a result: {words[-1]}. Try `make bench` again.")
        if not cases:
            return np.empty((0, len(catalogue)), dtype=np.float32)
        scores: NDArray[np.float32] = np.load(folder / "scores.npy", allow_pickle=False)
        return scores


def _flat(name: str, owner: str, sequences: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    lengths = [len(sequence) for sequence in sequences]
    return {
        f"{name}_{owner}s": np.array(len(sequences)),
        f"{name}_{owner}": np.repeat(np.arange(len(sequences)), lengths),
        f"{name}_item": np.concatenate([np.empty(0, np.int64), *sequences]),
    }


def _converse(
    worker: "subprocess.Popen[str]", folder: Path, validation: Sequence[Case], training: Dataset, judge: Judge
) -> bool:
    assert worker.stdout is not None
    assert worker.stdin is not None
    for line in worker.stdout:
        point = json.loads(line)
        if "done" in point:
            return True
        scores = put_unscored_last(np.load(folder / "scores.npy", allow_pickle=False))
        best, stop = judge(point | figures(rank_scores(scores, validation, training)))
        worker.stdin.write(f"{'best' if best else 'on'}{' stop' if stop else ''}\n")
        worker.stdin.flush()
    return False


def rank_scores(scores: NDArray[np.floating], cases: Sequence[Case], dataset: Dataset) -> RankTable:
    """Ranks of the targets by scores that are there already, (cases, items)."""
    row = {(case.user, len(case.history)): number for number, case in enumerate(cases)}
    return rank_targets(lambda some: scores[[row[case.user, len(case.history)] for case in some]], cases, dataset)


def train_rectools(
    dataset: Dataset,
    setting: Setting,
    *,
    results: Path,
    report: Callable[[str], None],
    patience: int = 10,
    config: RecToolsConfig | None = None,
    python: Path = PYTHON,
    refit_epochs: int | None = None,
) -> RankTable:
    """Train RecTools' SASRec until it has converged and rank every target with its best epoch.

    Args:
        dataset: The full data.
        setting: What of it may be learned from, and what are the targets.
        results: Folder for `rectools_<setting>.json` and `rectools_<setting>_ranks.json`.
        report: Receives a line an epoch.
        patience: Epochs in a row that are no better than the best one, by validation NDCG@10 with seen items masked:
            then training has converged.
        config: Settings of RecTools.
        python: The interpreter that has RecTools.
        refit_epochs: Train on the validation targets too, for so many epochs: what is served after a search for the
            best epoch. It has learned more than ours. Written as `rectools_refit_<setting>…`.
    """
    config = config or RecToolsConfig()
    data, cases, watch = setting.training_data(dataset), setting.test_cases(dataset), Patience(patience)
    points: list[dict[str, Any]] = []
    name, holdout = ("rectools", HOLDOUT) if refit_epochs is None else ("rectools_refit", HOLDOUT - 1)

    def judge(point: dict[str, Any]) -> tuple[bool, bool]:
        points.append(point)
        best = watch.better(point["ndcg@10_masked"] if refit_epochs is None else point["epoch"])
        report(
            f"{setting.name}: epoch {point['epoch']}, loss {point['loss']:.4f}, validation NDCG@10 "
            f"{point['ndcg@10_masked']:.4f} masked, {point['ndcg@10_unmasked']:.4f} not; best {watch.best_epoch}; "
            f"{point['wall_s']:.0f} s, {point['cpu_s']:.0f} s of processor"
        )
        return best, watch.converged or point["epoch"] == refit_epochs

    before = machine()
    validation = setting.validation_cases(dataset)
    scores = run_rectools(data, validation, cases, judge, config=config, python=python, holdout=holdout)
    unscored = sum(
        bool(np.isnan(line[dataset.catalogue.rows([case.target])[0]])) for line, case in zip(scores, cases, strict=True)
    )
    table = rank_scores(put_unscored_last(scores), cases, dataset)
    write_text(results / f"{name}_{setting.name}_ranks.json", table.to_json())
    result = described(setting, dataset, dataset.catalogue) | {
        "peer": "RecTools SASRec" if refit_epochs is None else "RecTools SASRec, refitted",
        "refit": None
        if refit_epochs is None
        else f"the validation targets were learned from too, for {refit_epochs} epochs; their figures mean nothing",
        "settings": asdict(config) | {"patience": patience, "rest": "RecTools' defaults for SASRecModel"},
        "converged_means": (
            f"after the epoch with the best validation NDCG@10 (seen items masked), {patience} in a row were no better"
        ),
        "status": "refitted" if refit_epochs else "converged" if watch.converged else "ended at the last epoch allowed",
        "best_epoch": watch.best_epoch,
        "targets_never_in_training": never_trained(cases, data, holdout),
        "targets_that_it_could_not_score": unscored,
        "machine_before": before,
        "machine": machine(),
        "versions": rectools_versions(python),
        "test": figures(table),
        "curve": points,
    }
    write_text(results / f"{name}_{setting.name}.json", readable(result))
    report(f"{setting.name}: {json.dumps(figures(table))}")
    return table


def rectools_versions(python: Path = PYTHON) -> dict[str, str]:
    """Versions in RecTools' environment."""
    script = (
        "import json; from importlib.metadata import version; "
        "print(json.dumps({n: version(n) for n in ('rectools', 'torch', 'pytorch-lightning', 'numpy')}))"
    )
    found = subprocess.run([str(python), "-c", script], capture_output=True, text=True, timeout=120, check=True)
    versions: dict[str, str] = json.loads(found.stdout)
    return versions
