"""Our recommender beside its peers and the plain baselines, on the same targets, paired by user."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.table import Table

from benchmarks.peer_protocol import HOLDOUT, RankTable, Setting, rank_targets
from deeprec.evals.metrics.ranking import (
    Interval,
    clustered_interval,
    ndcg_from_ranks,
    paired_interval,
    recall_from_ranks,
)
from deeprec.evals.recommenders.evaluation import check_artifact
from deeprec.evals.systems.baselines import make_cooccurrence_scorer, make_popularity_scorer
from deeprec.evals.systems.system import ScoreCases, make_system, make_trm_system
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.encoders.text_encoder import make_encoder
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.trm.artifact import Artifact

OURS = "TRM, no preference"
PEERS = {
    "recbole": "RecBole SASRec",
    "rectools": "RecTools SASRec",
    "rectools_refit": "RecTools SASRec, refitted",
}
"""Prefix of the result files -> name. The last has learned from the validation targets too, as no other has."""
FINISHED = ("converged", "refitted")
WAYS = ("masked", "unmasked")
MEASURES: Mapping[str, Callable[[ArrayLike, int], NDArray[np.float64]]] = {
    "recall@10": recall_from_ranks,
    "ndcg@10": ndcg_from_ranks,
}

Figures = dict[str, dict[str, dict[str, Interval]]]
"""System -> masked or not -> measure -> its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All systems on the targets of one setting."""

    setting: Setting
    users: int
    targets: int
    systems: Figures
    ours_minus: Figures
    """Ours minus each other system, paired."""
    missing: tuple[str, ...]
    """Peers without ranks."""
    unfinished: tuple[str, ...]
    """Peers whose ranks are those of a training that had not converged, as far as it was by then."""
    artifact_fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; a missing bound is None."""
        return {
            "users": self.users,
            "targets": self.targets,
            "artifact_fingerprint": self.artifact_fingerprint,
            "missing": list(self.missing),
            "unfinished": list(self.unfinished),
            "systems": _plain(self.systems),
            "ours_minus": _plain(self.ours_minus),
        }


def compare(dataset: Dataset, setting: Setting, artifact: Artifact, results: Path, *, seed: int = 0) -> Comparison:
    """Rank every target with ours and the baselines, and read how the peers ranked it.

    Args:
        dataset: The full data.
        setting: Whose targets.
        artifact: Ours, trained on what the peers were trained on.
        results: Folder with the peers' ranks.
        seed: Of the bootstrap: users are drawn, each with all of its targets.

    Raises:
        ConfigError: the artifact was trained on something else.
        DataError: a file of ranks is damaged or about other data.
    """
    check_training(artifact, dataset, setting)
    data, cases = setting.training_data(dataset), setting.test_cases(dataset)
    encoder = make_encoder(str(artifact.config["encoder_id"]))
    scorers: dict[str, ScoreCases] = {
        OURS: make_trm_system(OURS, artifact, encoder).score,
        "co-occurrence": make_system("", make_cooccurrence_scorer(data, holdout=HOLDOUT)).score,
        "popularity": make_system("", make_popularity_scorer(data, holdout=HOLDOUT)).score,
    }
    tables = {name: rank_targets(score, cases, dataset) for name, score in scorers.items()}
    missing, unfinished = [], []
    for file, name in PEERS.items():
        path = results / f"{file}_{setting.name}_ranks.json"
        if path.exists():
            tables[name] = RankTable.from_json(path)
            check_same_targets(tables[name], tables[OURS], path)
            if read_status(results / f"{file}_{setting.name}.json") not in FINISHED:
                unfinished.append(name)
        else:
            missing.append(name)
    ours = tables[OURS]
    systems: Figures = {
        name: {
            way: {
                measure: clustered_interval(rate(getattr(table, way), 10), ours.user, seed=seed)
                for measure, rate in MEASURES.items()
            }
            for way in WAYS
        }
        for name, table in tables.items()
    }
    differences: Figures = {
        name: {
            way: {
                measure: paired_interval(
                    rate(getattr(ours, way), 10), rate(getattr(table, way), 10), ours.user, seed=seed
                )
                for measure, rate in MEASURES.items()
            }
            for way in WAYS
        }
        for name, table in tables.items()
        if name != OURS
    }
    return Comparison(
        setting=setting,
        users=len(set(ours.user.tolist())),
        targets=len(ours),
        systems=systems,
        ours_minus=differences,
        missing=tuple(missing),
        unfinished=tuple(unfinished),
        artifact_fingerprint=artifact.fingerprint,
    )


def read_status(path: Path) -> str:
    """How a training ended, or "in training", by its result file."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} lacks the end of its training ({error!r}). Train that peer again.") from None


def check_training(artifact: Artifact, dataset: Dataset, setting: Setting) -> None:
    """Refuse an artifact that has learned from more, less or other data than the peers of this setting."""
    if artifact.config["dataset_fingerprint"] != dataset.fingerprint:
        raise ConfigError(f"The artifact was not trained on {dataset.name}: fingerprints differ. Train one on it.")
    found, wanted = check_artifact(artifact, dataset, "test", positions=setting.positions), HOLDOUT + setting.left_out
    if found != wanted:
        raise ConfigError(
            f"The artifact was trained without the last {found} items of each user; the peers of {setting.name} "
            f"without {wanted}. Train it with `--holdout {HOLDOUT} --without-last {setting.left_out}`."
        )
    if artifact.catalogue.ids != dataset.catalogue.ids:
        raise ConfigError("The artifact's catalogue is not the data's: ties in score would be broken otherwise.")


def check_same_targets(table: RankTable, ours: RankTable, path: Path) -> None:
    """Refuse ranks that are not about the very targets that ours are about."""
    if table.dataset_fingerprint != ours.dataset_fingerprint:
        raise DataError(f"{path} is about other data: fingerprints differ. Train that peer on this data.")
    if not (np.array_equal(table.user, ours.user) and np.array_equal(table.position, ours.position)):
        raise DataError(f"{path} has other targets, or the same in another order. Train that peer again.")


def write_comparisons(comparisons: list[Comparison], dataset: Dataset, path: Path, *, seed: int) -> None:
    """Write what was compared as JSON."""
    result = {
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint, "items": len(dataset.catalogue)},
        "protocol": (
            "Full catalogue, hits by id, ties in score by catalogue order. Intervals: 95%, percentile bootstrap over "
            f"users, each with all of its targets; differences are paired by target; seed {seed}."
        ),
        "settings": {one.setting.name: one.to_dict() for one in comparisons},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def make_tables(comparison: Comparison) -> list[Table]:
    """One table for the masked way and one for the other, ours first, with the paired differences beside."""
    tables, about = [], f"{comparison.targets} targets of {comparison.users} users"
    for way in WAYS:
        table = Table(
            "system",
            *MEASURES,
            *(f"ours minus it, {measure}" for measure in MEASURES),
            title=f"{comparison.setting.name}: {about}, seen items {way}",
        )
        for name, found in comparison.systems.items():
            differences = comparison.ours_minus.get(name)
            table.add_row(
                f"{name} (not converged)" if name in comparison.unfinished else name,
                *(found[way][measure].text(4) for measure in MEASURES),
                *(differences[way][measure].text(4, signed=True) if differences else "" for measure in MEASURES),
            )
        for name in comparison.missing:
            table.add_row(name, "not trained yet")
        tables.append(table)
    return tables


def _plain(figures: Figures) -> dict[str, Any]:
    return {
        system: {way: {measure: each.to_dict() for measure, each in measures.items()} for way, measures in ways.items()}
        for system, ways in figures.items()
    }
