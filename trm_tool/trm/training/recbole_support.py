"""RecBole 1.2.1 on today's NumPy and torch, without its side effects. It needs the extra `[trm]`: import it lazily.

RecBole's own entry point, `recbole.quick_start`, cannot be imported on NumPy 2. What lies below it works once it gets
the NumPy names that it misses, files that it cannot misread, and a Trainer that keeps its weights in memory.
"""

import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import recbole.trainer.trainer as recbole_trainer
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.trainer import Trainer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

NAME = "deeprec"
"""Name of the files written for RecBole, which reads its own copy of a data set called ml-100k instead."""
LAST_RATE = 0.05
"""Share of the learning rate that `decay` ends at."""
AVERAGED_EPOCHS = 6
"""Epochs that an average of the weights covers, at most."""
_USER, _ITEM, _TIME = "user_id", "item_id", "timestamp"


def write_for_recbole(dataset: Dataset, folder: Path, *, hidden: int = 1) -> None:
    """Write a data set as atomic files that RecBole cannot misread.

    Users and items become `u0`, `i0`, …: RecBole reads through pandas, which would take an id "NA" for a missing value.
    Time stamps become positions, so that its sort keeps our order of ties.

    Args:
        dataset: What to write.
        folder: The files go to `folder/deeprec/`, which is the layout RecBole expects.
        hidden: How many of each user's last items are left out altogether (1: the test item).
    """
    target = folder / NAME
    target.mkdir(parents=True)
    with (target / f"{NAME}.inter").open("w", encoding="utf-8") as file:
        file.write(f"{_USER}:token\t{_ITEM}:token\t{_TIME}:float\n")
        for number, user in enumerate(dataset.users):
            for position, row in enumerate(dataset.catalogue.rows(dataset.history(user, hidden))):
                file.write(f"u{number}\ti{row}\t{position}\n")
    with (target / f"{NAME}.item").open("w", encoding="utf-8") as file:
        file.write(f"{_ITEM}:token\n")
        file.writelines(f"i{row}\n" for row in range(len(dataset.catalogue)))


class CleanConfig(Config):  # type: ignore[misc]
    """RecBole's Config without its side effects.

    RecBole's own reads the program's command line as settings, hides GPUs from the whole process through an environment
    variable, and sets NumPy names that NumPy 2 does not have.
    """

    def _load_cmd_line(self) -> dict[str, Any]:
        return {}

    def compatibility_settings(self) -> None:
        """Restore the NumPy names that RecBole's metrics use; each was an alias of exactly this."""
        for name, alias in (("float", float), ("bool", np.bool_), ("long", np.int_)):
            if name not in np.__dict__:
                setattr(np, name, alias)

    def _init_device(self) -> None:
        use_gpu = bool(self.final_config_dict["use_gpu"]) and torch.cuda.is_available()
        self.final_config_dict |= {
            "single_spec": True,
            "local_rank": 0,
            "device": torch.device("cuda" if use_gpu else "cpu"),
        }


def make_config(model: str | type, folder: Path, *, max_length: int, **settings: Any) -> CleanConfig:
    """Build a RecBole Config for files that `write_for_recbole` wrote into `folder`.

    Args:
        model: A RecBole model's name, or a model class.
        folder: As given to `write_for_recbole`; RecBole's own folders go below it too.
        max_length: Longest history.
        settings: Any other RecBole setting.
    """
    base: dict[str, Any] = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "USER_ID_FIELD": _USER,
        "ITEM_ID_FIELD": _ITEM,
        "TIME_FIELD": _TIME,
        "load_col": {"inter": [_USER, _ITEM, _TIME], "item": [_ITEM]},
        "user_inter_num_interval": "[0,inf)",
        "item_inter_num_interval": "[0,inf)",
        "MAX_ITEM_LIST_LENGTH": max_length,
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "metrics": ["Recall", "NDCG"],
        "topk": [10, 20],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 6,
        "show_progress": False,
    }
    return CleanConfig(model=model, dataset=NAME, config_dict=base | settings)


class QuietTrainer(Trainer):  # type: ignore[misc]
    """RecBole's Trainer that keeps the best weights in memory and writes no file.

    RecBole's own writes TensorBoard events into the working folder and its checkpoints as pickles.
    """

    def __init__(self, config: Config, model: torch.nn.Module) -> None:
        with _replaced(recbole_trainer, "get_tensorboard", lambda logger: _NullWriter()):
            super().__init__(config, model)
        self.logger = logging.getLogger(__name__)
        self.best_state: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.average: AveragedModel | None = None

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train as RecBole does, with a running average of the weights where the settings ask for one."""
        if self.config["weight_average"]:
            # Where an epoch has few steps, the average must not reach back to untrained weights.
            decay = min(self.config["weight_average"], 1 - 1 / (AVERAGED_EPOCHS * len(train_data)))
            average = AveragedModel(
                self.model,
                multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
            )
            self.optimizer.register_step_post_hook(lambda *_: average.update_parameters(self.model))
            self.average = average
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.cuda.amp.GradScaler", category=FutureWarning)
            return super().fit(train_data, *args, **kwargs)

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        if self.config["decay"]:  # linear; the first two epochs run at the full rate
            left = 1 - max(epoch_idx - 1, 0) / max(self.epochs - 1, 1)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * (LAST_RATE + (1 - LAST_RATE) * left)
        loss = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        self._loss = loss / len(train_data)
        return loss

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        with self._averaged():
            score, result = super()._valid_epoch(valid_data, show_progress)
        return score, result

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside the block the model has the averaged weights, where there are any."""
        if self.average is None:
            yield
            return
        own = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        averaged = dict(self.average.module.named_parameters())
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                value.copy_(averaged[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in self.model.named_parameters():
                    value.copy_(own[name])

    def _check_nan(self, loss: Tensor) -> None:
        if not bool(torch.isfinite(loss)):
            raise ConfigError(
                f"The training loss became {loss.item()} in epoch {len(self.train_loss_dict) + 1} at learning rate "
                f"{self.learning_rate:g}. Lower the learning rate."
            )

    def measure(self, loader: FullSortEvalDataLoader) -> dict[str, float]:
        """Evaluate the weights as they are, with RecBole's Evaluator."""
        return {name: float(value) for name, value in self.evaluate(loader, load_best_model=False).items()}

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        self.best_epoch = epoch + 1
        with self._averaged():
            self.best_state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that RecBole and torch draw from, and restore the caller's state afterwards."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class _NullWriter:
    """Stands in for TensorBoard's writer."""

    def add_scalar(self, *args: object) -> None: ...

    def add_hparams(self, *args: object) -> None: ...


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
