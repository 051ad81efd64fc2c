"""The lineage that the commands of the trainers write beside an adapter that they have trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from deeprec.agent.traces import RunFilter, TraceStore
    from deeprec.training.trainers.trainer_config import OptimizerConfig

_ORIGIN = ("dataset_fingerprint", "trm_fingerprint", "suite")


def origin_of_runs(store: TraceStore, runs: Iterable[UUID], where: RunFilter | None = None) -> dict[str, str | None]:
    """Read the data, the recommender and the suite of stored runs, each None where the runs have several or none.

    Args:
        store: The store.
        runs: The ids of the runs.
        where: A filter that all of them pass, so that fewer are read.

    Returns:
        the fields of `AdapterLineage` that are named after them.
    """
    ids = set(runs)
    with store.snapshot() as snapshot:
        found = [run for run in snapshot.runs(("run_id", *_ORIGIN), where) if run.run_id in ids]
    values = {name: {getattr(run, name) for run in found} for name in _ORIGIN}
    return {name: next(iter(each)) if len(each) == 1 else None for name, each in values.items()}


def write_trained_lineage(
    trained: Path,
    *,
    method: Literal["sft", "grpo", "dpo"],
    base: Path | str,
    start: Path | None,
    origin: Mapping[str, str | None],
    config: OptimizerConfig,
    stage: str | None = None,
    **settings: Any,
) -> None:
    """Write the lineage of an adapter from what a command was asked; a whole model has none.

    Args:
        trained: The folder that the trainer returned; its log stands beside it.
        method: The trainer.
        base: The base model.
        start: The adapter that the training started from.
        origin: As of `origin_of_runs`.
        config: The settings of the trainer.
        stage: The stage whose reward was learned.
        settings: What else decided the result, as JSON.

    Raises:
        ConfigError: the folder cannot be written.
    """
    from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
    from deeprec.training.trainers.adapter_lineage import (
        LINEAGE_FILE,
        AdapterLineage,
        library_versions,
        read_lineage,
        write_lineage,
    )
    from deeprec.training.trainers.launcher import is_first_process
    from deeprec.training.trainers.model_folders import name_of_base
    from deeprec.training.trainers.policy_model import read_base_fingerprint
    from deeprec.training.trainers.step_log import read_log

    if config.lora is None or not is_first_process():
        return
    parent = None
    if start is not None:
        parent = read_lineage(start).name if (start / LINEAGE_FILE).is_file() else None
        settings |= {"start": start.absolute().name, "start_fingerprint": fingerprint_adapter(start)}
    steps = [line["step"] for line in read_log(trained.parent) if "loss" in line]
    lineage = AdapterLineage(
        name=None,
        parent=parent,
        base=name_of_base(base),
        base_fingerprint=read_base_fingerprint(base),
        method=method,
        stage=stage,
        step=max(steps, default=0),
        settings={**config.identity(), **settings},
        versions=library_versions(),
        **origin,
    )
    write_lineage(trained, lineage)
