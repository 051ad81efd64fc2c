"""What every peer recommender is held to: which items it may learn from, which targets it ranks, how ranks are kept."""

import json
import os
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.evals.metrics.ranking import ndcg_from_ranks, recall_from_ranks
from deeprec.evals.recommenders.evaluation import evaluate_systems
from deeprec.evals.requests.cases import Case, make_cases
from deeprec.evals.systems.system import ScoreCases, System
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError, DataError

HOLDOUT = 2
"""Items at the end of each user's training data that no peer learns from: the one before the last ends its training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Which interactions are training data, and which are targets."""

    name: str
    left_out: int
    """Items of each user, from the end, that are taken away before anything else happens."""
    positions: int
    """Targets of each user, counted backwards from the last item of the full data."""

    def training_data(self, dataset: Dataset) -> Dataset:
        """What a peer is given; the last `HOLDOUT` items of each user in it are not for learning."""
        return dataset.without_last(self.left_out) if self.left_out else dataset

    def validation_cases(self, dataset: Dataset) -> list[Case]:
        """The item before the last of the training data: when to stop, and which epoch to keep."""
        return make_cases(self.training_data(dataset), "valid")

    def test_cases(self, dataset: Dataset) -> list[Case]:
        """The targets, each with everything before it as its history."""
        return make_cases(dataset, "test", positions=self.positions)


SETTINGS: Mapping[str, Setting] = {
    "test1": Setting(name="test1", left_out=0, positions=1),
    "last5": Setting(name="last5", left_out=4, positions=5),
}


def find_setting(name: str) -> Setting:
    """The setting of that name, or ConfigError."""
    if name not in SETTINGS:
        raise ConfigError(f"The setting {name!r} is not known. Choose {' or '.join(SETTINGS)}.")
    return SETTINGS[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTable:
    """The rank of every target, one row a case."""

    dataset_fingerprint: str
    user: NDArray[np.int64]
    """Number of the user in the data set's order."""
    position: NDArray[np.int64]
    """1 is the last item, 2 the one before."""
    masked: NDArray[np.float64]
    """1-based rank with the items of the history out of the way; inf if the target was one of them."""
    unmasked: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.user)

    def to_json(self) -> str:
        """One line a column; a rank of inf is null."""
        columns = {name: _numbers(getattr(self, name)) for name in ("user", "position", "masked", "unmasked")}
        lines = [f'"{name}": {json.dumps(numbers, separators=(",", ":"))}' for name, numbers in columns.items()]
        return "{\n" + ",\n".join([f'"dataset_fingerprint": "{self.dataset_fingerprint}"', *lines]) + "\n}\n"

    @staticmethod
    def from_json(path: Path) -> "RankTable":
        """Read what `to_json` wrote.

        Raises:
            DataError: the file is missing or is not a table of ranks.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            table = RankTable(
                dataset_fingerprint=str(found["dataset_fingerprint"]),
                user=np.array(found["user"], dtype=np.int64),
                position=np.array(found["position"], dtype=np.int64),
                masked=_ranks(found["masked"]),
                unmasked=_ranks(found["unmasked"]),
            )
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: that peer was not trained to its end. Train it first.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a table of ranks ({error!r}). Train that peer again.") from None
        if len({len(table.user), len(table.position), len(table.masked), len(table.unmasked)}) != 1:
            raise DataError(f"{path} has columns of unequal length. Train that peer again.")
        return table


def _numbers(column: NDArray[Any]) -> list[int | None]:
    return [int(number) if np.isfinite(number) else None for number in column]


def _ranks(numbers: list[int | None]) -> NDArray[np.float64]:
    return np.array([np.inf if number is None else number for number in numbers], dtype=np.float64)


def rank_targets(score: ScoreCases, cases: Sequence[Case], dataset: Dataset) -> RankTable:
    """Rank the target of every case among the whole catalogue, with the harness that ranks our own model.

    Args:
        score: Cases -> scores (cases, items) in catalogue order.
        cases: As `make_cases` orders them; the position of a case follows from the length of its history.
        dataset: The full data, whose users the cases are about.
    """
    masked, unmasked = evaluate_systems((System(name="peer", score=score),), cases, dataset.catalogue, cutoffs=(10,))
    number = {user: index for index, user in enumerate(dataset.users)}
    return RankTable(
        dataset_fingerprint=dataset.fingerprint,
        user=np.array([number[case.user] for case in cases], dtype=np.int64),
        position=np.array([len(dataset.sequences[case.user]) - len(case.history) for case in cases], dtype=np.int64),
        masked=masked.ranks,
        unmasked=unmasked.ranks,
    )


def put_unscored_last(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Items that a peer cannot score (NaN) come after all that it can, in catalogue order among themselves.

    Args:
        scores: (cases, items); finite or NaN.
    """
    lowest = np.min(scores, axis=1, keepdims=True, where=~np.isnan(scores), initial=np.inf)
    return np.where(np.isnan(scores), np.where(np.isinf(lowest), 0, lowest - 1), scores)


def never_trained(cases: Sequence[Case], training: Dataset, holdout: int = HOLDOUT) -> int:
    """Cases whose target occurs nowhere in what is learned from."""
    learned = {item for user in training.users for item in training.history(user, holdout)}
    return sum(case.target not in learned for case in cases)


def figures(table: RankTable) -> dict[str, float]:
    """Recall@10 and NDCG@10, seen items masked and not."""
    return {
        f"{name}@10_{way}": round(float(measure(ranks, 10).mean()), 6)
        for way, ranks in (("masked", table.masked), ("unmasked", table.unmasked))
        for name, measure in (("ndcg", ndcg_from_ranks), ("recall", recall_from_ranks))
    }


class Patience:
    """Decides after each validation whether it was the best so far, and whether training has converged.

    Converged means: `patience` validations in a row brought no better one.
    """

    def __init__(self, patience: int) -> None:
        if patience < 1:
            raise ConfigError(f"patience is {patience}. Give the epochs without a gain that end training, 1 or more.")
        self.patience, self.epoch, self.best_epoch, self.best = patience, 0, 0, -np.inf

    def better(self, score: float) -> bool:
        """Take the score of the next epoch; return whether it is the best so far."""
        self.epoch += 1
        if score <= self.best:
            return False
        self.best, self.best_epoch = score, self.epoch
        return True

    @property
    def converged(self) -> bool:
        """Whether the last `patience` epochs were all no better than the one before them."""
        return self.epoch - self.best_epoch >= self.patience


def peak_memory_mb() -> float:
    """The most memory that this process held at once, in MiB.

    `ru_maxrss` serves only where Linux offers nothing better: it is inherited from the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    scale = 1024 if platform.system() == "Darwin" else 1
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / scale, 1)


def machine() -> dict[str, Any]:
    """What a time must be read with."""
    return {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}


def versions(*names: str) -> dict[str, str]:
    """Installed versions of the packages named."""
    return {name: metadata.version(name) for name in names}


def described(setting: Setting, dataset: Dataset, catalogue: Catalogue) -> dict[str, Any]:
    """The protocol, for a result file."""
    part = "all" if not setting.left_out else f"all but the last {setting.left_out} items"
    return {
        "setting": asdict(setting),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint, "items": len(catalogue)},
        "protocol": (
            f"The training data is {part} of each user; the last {HOLDOUT} items of it are not learned from, and the "
            "item before the last of it is the validation target. Full catalogue, hits by id, ties in score by "
            "catalogue order; the epoch with the best validation NDCG@10 (seen items masked) is kept."
        ),
    }


def readable(result: Mapping[str, Any]) -> str:
    """A result as JSON, with one line a point of its `curve`."""
    curve = ",\n".join(f"  {json.dumps(point)}" for point in result["curve"])
    rest = json.dumps({name: value for name, value in result.items() if name != "curve"}, indent=1)
    return f'{rest[:-2]},\n "curve": [\n{curve}\n ]\n}}\n'


def write_text(path: Path, text: str) -> None:
    """Write a file at once: it is complete, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
