"""RecBole's SASRec, trained until it has converged, one epoch at a time: it can be killed at any moment and goes on.

The model, the data, their augmentation, the optimiser and the loop are RecBole's, with its default settings. What is
otherwise changes the time, not the result: a batch of 2,048 goes through the model in parts (`recbole_in_parts`), and
autograd's anomaly detection is off, which importing RecBole's models switches on for the whole process. What is kept
of a training is safetensors and JSON, never a pickle.
"""

import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender import SASRec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.peer_protocol import (
    RankTable,
    Setting,
    described,
    figures,
    machine,
    never_trained,
    peak_memory_mb,
    rank_targets,
    readable,
    versions,
    write_text,
)
from benchmarks.recbole_in_parts import calculate_in_parts
from deeprec.evals.requests.cases import Case
from deeprec.evals.systems.system import ScoreCases
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.trm.training.recbole_support import QuietTrainer, make_config, seeded, write_for_recbole

STATE = "state.safetensors"


def make_recbole_scorer(model: SASRec, training: SequentialDataset, dataset: Dataset, max_length: int) -> ScoreCases:
    """Score the whole catalogue for the histories of cases, with RecBole's `full_sort_predict`.

    Args:
        model: The model as it is when the scorer is called.
        training: What it is trained on; knows RecBole's item numbers.
        dataset: Whose catalogue and histories are meant.
        max_length: Longest history.
    """
    numbers = np.array([training.token2id(training.iid_field, f"i{row}") for row in range(len(dataset.catalogue))])

    def score(cases: Sequence[Case]) -> NDArray[np.floating]:
        items = torch.zeros(len(cases), max_length, dtype=torch.int64)  # RecBole pads with item 0, on the right
        lengths = torch.zeros(len(cases), dtype=torch.int64)
        for row, case in enumerate(cases):
            latest = numbers[dataset.catalogue.rows(case.history[-max_length:])]
            items[row, : len(latest)], lengths[row] = torch.from_numpy(latest), len(latest)
        was_training = model.training
        model.eval()
        with torch.no_grad():
            scores = model.full_sort_predict(
                Interaction({model.ITEM_SEQ: items, model.ITEM_SEQ_LEN: lengths}).to(model.device)
            )
        model.train(was_training)
        found: NDArray[np.float32] = scores.view(len(cases), -1).cpu().numpy()[:, numbers]
        return found

    return score


class ResumableTrainer(QuietTrainer):
    """RecBole's Trainer that writes its whole state after every epoch and starts from what it finds.

    Args:
        config: RecBole's.
        model: What is trained.
        validate: Measures the model as it is; its `ndcg@10_masked` decides.
        folder: For the state.
        on_epoch: Receives all points so far after each epoch, when its state is on the disk.
        training: Settings and data, by name, as JSON would have them: only a state of the same ones is resumed.
        result: The training's result file; it identifies a state that was written before states held their training.
    """

    def __init__(
        self,
        config: Any,
        model: SASRec,
        validate: Callable[[], dict[str, float]],
        folder: Path,
        on_epoch: Callable[[list[dict[str, Any]]], None],
        training: Mapping[str, Any],
        result: Path,
    ) -> None:
        super().__init__(config, model)
        self.points = list[dict[str, Any]]()
        self._validate, self._path, self._tell = validate, folder / STATE, on_epoch
        self._training, self._result = training, result
        self._clock = time.perf_counter(), time.process_time()
        self._spent = 0.0, 0.0

    @property
    def converged(self) -> bool:
        """Whether the last `stopping_step + 1` epochs were all worse than the best before them."""
        return bool(self.cur_step > self.stopping_step)

    def run(self, train: Any) -> None:
        """Go on from the state in the folder, or begin, until convergence or the last epoch allowed."""
        self._loader = train
        if self._path.exists():
            self._resume()
        if self.converged or self.start_epoch >= self.epochs:
            return
        self._clock = time.perf_counter(), time.process_time()
        # RecBole validates when it is given something to validate on; what, is `_valid_epoch`'s business.
        self.fit(train, [()], verbose=False, callback_fn=self._keep)

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        return super()._train_epoch(
            train_data, epoch_idx, loss_func=lambda batch: calculate_in_parts(self.model, batch), show_progress=False
        )

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        trained_s = self._seconds()
        result = self._validate()
        wall_s, cpu_s = self._seconds()
        self.points.append(
            {"epoch": len(self.points) + 1, "loss": round(self._loss, 5)}
            | result
            | {"wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), "trained_cpu_s": round(trained_s[1], 1)}
            | {"peak_mb": peak_memory_mb()}
        )
        return result["ndcg@10_masked"], result

    def _seconds(self) -> tuple[float, float]:
        """Wall and processor seconds since training began, the time between two runs left out."""
        now = time.perf_counter(), time.process_time()
        return self._spent[0] + now[0] - self._clock[0], self._spent[1] + now[1] - self._clock[1]

    def _keep(self, epoch: int, score: float) -> None:
        moments = {
            f"adam.{number}.{name}": value
            for number, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        tensors = {
            **{f"model.{name}": value for name, value in self.model.state_dict().items()},
            **{f"best.{name}": value for name, value in self.best_state.items()},
            **moments,
            "random.torch": torch.get_rng_state(),
            "random.loader": self._loader.generator.get_state(),
        }
        progress = {
            "epochs": epoch + 1,
            "without_a_gain": self.cur_step,
            "best_epoch": self.best_epoch,
            "best_score": self.best_valid_score,
            "points": self.points,
        }
        partial = self._path.with_suffix(".partial")
        save_file(
            {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()},
            partial,
            metadata={"progress": json.dumps(progress), "training": json.dumps(self._training)},
        )
        partial.replace(self._path)
        self._tell(self.points)

    def _resume(self) -> None:
        try:
            with safe_open(self._path, framework="pt") as file:
                metadata = file.metadata()
                progress = json.loads(metadata["progress"])
                self._check_same(json.loads(metadata.get("training", "null")), progress["points"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            state = self.optimizer.state_dict()
            state["state"] = {
                number: {
                    name.split(".", 2)[2]: value
                    for name, value in tensors.items()
                    if name.startswith(f"adam.{number}.")
                }
                for number in range(len(state["param_groups"][0]["params"]))
            }
            self.model.load_state_dict(_below("model.", tensors))
            self.optimizer.load_state_dict(state)
            self.best_state = _below("best.", tensors)
            self.start_epoch, self.cur_step = progress["epochs"], progress["without_a_gain"]
            self.best_epoch, self.best_valid_score = progress["best_epoch"], progress["best_score"]
            self.points = progress["points"]
            self._spent = self.points[-1]["wall_s"], self.points[-1]["cpu_s"]
            torch.set_rng_state(tensors["random.torch"])
            self._loader.generator.set_state(tensors["random.loader"])
        except ConfigError:
            raise
        except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{self._path} is not a state of this training ({error}). Delete it, and the training begins anew."
            ) from None

    def _check_same(self, found: Any, points: list[dict[str, Any]]) -> None:
        """Raise ConfigError unless the state is of this training."""
        anew = "Delete it, or name another folder with --states, and the training begins anew"
        if found is None:
            found = _training_of(self._result, points)
        if found is None:
            raise ConfigError(
                f"{self._path} does not name its training, and {self._result} does not name it either. {anew}."
            )
        names = [name for name in {**found, **self._training} if found.get(name) != self._training.get(name)]
        if names:
            first = names[0]
            raise ConfigError(
                f"{self._path} is of a training whose {', '.join(names)} differ ({first} was {found.get(first)!r}, is "
                f"now {self._training.get(first)!r}). {anew}; or go on with what it was."
            )


def identity(result: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for a training to go on, by name, from its result: all settings but the last epoch."""
    same = {
        "setting": result["setting"],
        "dataset fingerprint": result["dataset"]["fingerprint"],
        **{name: value for name, value in result["settings"].items() if name != "max_epochs"},
    }
    found: dict[str, Any] = json.loads(json.dumps(same))
    return found


def _training_of(path: Path, points: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The identity of the training with these points, its times among them, if `path` is its result; else None."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        curve = result["curve"]
        return identity(result) if curve and curve == points[: len(curve)] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def train_recbole(
    dataset: Dataset,
    setting: Setting,
    *,
    state: Path,
    results: Path,
    report: Callable[[str], None],
    patience: int = 10,
    max_epochs: int = 300,
    max_length: int = 50,
    seed: int = 0,
    **settings: Any,
) -> RankTable:
    """Train SASRec, or go on with it, and rank every target with the best epoch.

    Args:
        dataset: The full data.
        setting: What of it may be learned from, and what are the targets.
        state: Folder for the weights and the optimiser's state.
        results: Folder for `recbole_<setting>.json`, written after every epoch, and `recbole_<setting>_ranks.json`.
        report: Receives a line an epoch.
        patience: Epochs in a row that are worse than the best one, by validation NDCG@10 with seen items masked: then
            training has converged.
        max_epochs: RecBole's default; no training has come near it.
        max_length: Longest history.
        seed: Of everything that is drawn.
        settings: Any other setting of RecBole, for tests.

    Raises:
        ConfigError: the state is damaged, or of other data or settings (`max_epochs` may be another).
    """
    data, validation = setting.training_data(dataset), setting.validation_cases(dataset)
    cases = setting.test_cases(dataset)
    state.mkdir(parents=True, exist_ok=True)
    result = described(setting, dataset, dataset.catalogue) | {
        "peer": "RecBole SASRec",
        "settings": {
            "learning_rate": 0.001,
            "train_batch_size": 2048,
            "loss": "CE",
            "max_length": max_length,
            "seed": seed,
        }
        | {"patience": patience, "max_epochs": max_epochs, "rest": "RecBole's defaults for SASRec"}
        | settings,
        "converged_means": (
            f"after the epoch with the best validation NDCG@10 (seen items masked), {patience} in a row were worse"
        ),
        "targets_never_in_training": never_trained(cases, data),
        "versions": versions("torch", "recbole", "numpy"),
        "threads": torch.get_num_threads(),
    }

    def record(points: list[dict[str, Any]], status: str, **more: Any) -> None:
        known = result | {"status": status, "machine": machine(), "curve": points} | more
        write_text(results / f"recbole_{setting.name}.json", readable(known))

    def on_epoch(points: list[dict[str, Any]]) -> None:
        last = points[-1]
        record(points, "in training", best_epoch=trainer.best_epoch)
        report(
            f"{setting.name}: epoch {last['epoch']}, loss {last['loss']:.4f}, validation NDCG@10 "
            f"{last['ndcg@10_masked']:.4f} masked, {last['ndcg@10_unmasked']:.4f} not; best {trainer.best_epoch}; "
            f"{last['wall_s']:.0f} s, {last['cpu_s']:.0f} s of processor"
        )

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(), seeded(seed):
        warnings.simplefilter("ignore")  # RecBole's own, about NumPy and pandas
        write_for_recbole(data, Path(scratch), hidden=0)
        config = make_config(
            "SASRec",
            Path(scratch),
            max_length=max_length,
            seed=seed,
            epochs=max_epochs,
            stopping_step=patience - 1,  # RecBole stops after one more than this
            **settings,
        )
        train, _, _ = data_preparation(config, SequentialDataset(config))
        model = SASRec(config, train.dataset).to(config["device"])
        score = make_recbole_scorer(model, train.dataset, dataset, max_length)
        trainer = ResumableTrainer(
            config,
            model,
            lambda: figures(rank_targets(score, validation, data)),
            state,
            on_epoch,
            identity(result),
            results / f"recbole_{setting.name}.json",
        )
        with torch.autograd.set_detect_anomaly(False):
            trainer.run(train)
        model.load_state_dict(trainer.best_state)
        table = rank_targets(score, cases, dataset)
    write_text(results / f"recbole_{setting.name}_ranks.json", table.to_json())
    record(
        trainer.points,
        "converged" if trainer.converged else "ended at the last epoch allowed",
        best_epoch=trainer.best_epoch,
        test=figures(table),
    )
    report(f"{setting.name}: {json.dumps(figures(table))}")
    return table
