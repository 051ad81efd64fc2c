"""RecTools' SASRec in an environment of its own (`.venv-bench`), which has RecTools and lacks this project.

Started by `peer_rectools`, by path, with a folder and settings as JSON. It trains on the interactions in the folder,
scores the cases that it receives, and leaves every decision to the process that started it: after each epoch it writes
the scores of the validation cases, reports it in a line of JSON, and reads a line back: `best` (keep these weights),
`on` (keep the older ones), followed by ` stop` if this was the last epoch.
"""

import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

CHECKED = 50
"""Cases whose scores are held against what RecTools itself recommends."""


def interactions_of(users: NDArray[np.int64], items: NDArray[np.int64]) -> pd.DataFrame:
    """Interactions as RecTools wants them; what comes first here, happened first."""
    when = pd.to_datetime(np.arange(len(items)), unit="s")
    return pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: when})


def score(module: LightningModule, histories: pd.DataFrame, cases: int, items: int) -> NDArray[np.float32]:
    """Scores of all items for histories -> (cases, items); NaN where RecTools has none.

    That is a row whose history holds no item of the training, and a column of an item that training never saw.
    """
    preparator = module.data_preparator
    scores = np.full((cases, items), np.nan, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cold users
        known = preparator.transform_dataset_u2i(Dataset.construct(histories), np.arange(cases))
    was_training = module.torch_model.training
    loader = preparator.get_dataloader_recommend(known, 256)
    user_vectors, item_vectors = module._get_user_item_embeddings(loader, "cpu")
    module.torch_model.train(was_training)
    rows = known.user_id_map.external_ids.astype(np.int64)
    columns = preparator.get_known_item_ids().astype(np.int64)
    found = (user_vectors @ item_vectors[preparator.n_item_extra_tokens :].T).numpy()
    scores[np.ix_(rows, columns)] = found
    return scores


class Validation(Callback):  # type: ignore[misc]
    """Has every epoch judged, and keeps the weights of the best."""

    def __init__(self, folder: Path, histories: pd.DataFrame, cases: int, items: int) -> None:
        self.folder, self.histories, self.cases, self.items = folder, histories, cases, items
        self.start = time.perf_counter(), time.process_time()
        self.best: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the validation cases, report, and follow the answer."""
        trained = time.process_time() - self.start[1]
        with torch.no_grad():
            scores = score(pl_module, self.histories, self.cases, self.items)
        np.save(self.folder / "scores.npy", scores, allow_pickle=False)
        point = {
            "epoch": trainer.current_epoch + 1,
            "loss": round(float(trainer.callback_metrics["train_loss"]), 5),
            "wall_s": round(time.perf_counter() - self.start[0], 1),
            "cpu_s": round(time.process_time() - self.start[1], 1),
            "trained_cpu_s": round(trained, 1),
            "peak_mb": peak_memory_mb(),
        }
        answer = ask(point)
        if answer.startswith("best"):
            self.best = {name: value.clone() for name, value in pl_module.torch_model.state_dict().items()}
        if answer.endswith("stop"):
            trainer.should_stop = True


def peak_memory_mb() -> float:
    """The most memory that this process held at once, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    scale = 1024 if sys.platform == "darwin" else 1
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / scale, 1)


OUT: TextIO = sys.stdout


def ask(point: dict[str, Any]) -> str:
    """Write a line and wait for one."""
    OUT.write(json.dumps(point) + "\n")
    OUT.flush()
    return sys.stdin.readline().strip()


def check(model: SASRecModel, histories: pd.DataFrame, scores: NDArray[np.float32]) -> None:
    """Hold `score` against RecTools' own `recommend`: the same ten best scores for the first cases."""
    some = histories[histories[Columns.User] < CHECKED]
    users = np.unique(some[Columns.User])
    recommended = model.recommend(users, Dataset.construct(some), k=10, filter_viewed=False)
    theirs = recommended.sort_values([Columns.User, Columns.Rank])[Columns.Score].to_numpy().reshape(-1, 10)
    ours = -np.sort(-np.nan_to_num(scores[users], nan=-np.inf), axis=1)[:, :10]
    if not np.allclose(theirs, ours, rtol=1e-3, atol=1e-4):
        raise RuntimeError(f"RecTools' recommend has other scores: off by {np.abs(theirs - ours).max()}")


def main(folder: Path, settings: dict[str, Any]) -> None:
    """Train, then score the test cases with the weights that were judged best."""
    torch.set_num_threads(settings.pop("threads"))
    seed_everything(settings.pop("seed"), verbose=False)
    data = np.load(folder / "data.npz", allow_pickle=False)
    items, epochs = int(data["items"]), settings.pop("epochs")
    histories = {name: interactions_of(data[f"{name}_case"], data[f"{name}_item"]) for name in ("valid", "test")}
    validation = Validation(folder, histories["valid"], int(data["valid_cases"]), items)
    model = SASRecModel(**settings)
    model._trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[validation],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
    )
    model.fit(Dataset.construct(interactions_of(data["train_user"], data["train_item"])))
    judged = next(
        part for part in model.fit_trainer.callbacks if isinstance(part, Validation)
    )  # fit copies its trainer
    model.lightning_model.torch_model.load_state_dict(judged.best)
    cases = int(data["test_cases"])
    if cases:
        scores = score(model.lightning_model, histories["test"], cases, items)
        check(model, histories["test"], scores)
        np.save(folder / "scores.npy", scores, allow_pickle=False)
    ask({"done": True, "parameters": sum(weight.numel() for weight in model.lightning_model.torch_model.parameters())})


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what others print must not be taken for a line of ours
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
