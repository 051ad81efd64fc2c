"""The base of the trainers: one item of the data loader is one optimizer step, of any number of micro-batches.

TRL and transformers count steps in batches of one size. Here a step takes any number of rollouts and cuts them by
tokens, so that neither copies nor fillers are needed. A step depends on its number alone, so that a training resumes
exactly from its last checkpoint. Several processes share the micro-batches of a step (`processes`).
"""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import PrinterCallback

from deeprec.training.trainers.alarms import Alarm
from deeprec.training.trainers.checkpoints import (
    find_checkpoint,
    load_optimizer,
    load_random,
    load_weights,
    read_state,
    save_checkpoint,
    trained_weights,
)
from deeprec.training.trainers.launcher import is_first_process, is_sharded, process_count
from deeprec.training.trainers.micro_batches import Padding, micro_batches
from deeprec.training.trainers.model_folders import save_adapter, save_model
from deeprec.training.trainers.overridden_methods import check_overridden_methods
from deeprec.training.trainers.policy_model import PolicyModel
from deeprec.training.trainers.processes import check_same, own_metrics, own_share, sums_of_all, wait_for_all, whole
from deeprec.training.trainers.step_log import append_line, json_value, read_log, resume_log
from deeprec.training.trainers.step_report import StepReport, TrainingError
from deeprec.training.trainers.trainer_config import (
    CPU_MICRO_BATCH_TOKENS,
    GPU_MICRO_BATCH_TOKENS,
    DpoConfig,
    OptimizerConfig,
    SftConfig,
)

CHECKPOINTS, ADAPTER, MODEL = "checkpoints", "adapter", "model"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The micro-batches of a step, those of all processes."""

    batches: Sequence[Mapping[str, torch.Tensor]]
    items: int
    """Tokens that are learned, over which the loss of the step is a mean."""
    padding: Padding


class Stepwise:
    """A mixin that stands before a trainer of TRL in the bases of a class."""

    # Attributes of the trainer.
    train: Any
    remove_callback: Any
    accelerator: Any
    args: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any
    state: Any
    control: Any
    _metrics: Any

    def set_up(
        self,
        policy: PolicyModel,
        config: OptimizerConfig,
        out: Path,
        identity: Mapping[str, Any],
        on_step: Callable[[StepReport], Any] | None,
    ) -> None:
        """Set what is trained and where results go. It has to be called before `run`."""
        self._policy, self._config, self._out, self._identity = policy, config, out, identity
        self._on_step = on_step
        self._alarms: tuple[Alarm, ...] = ()
        self._stopped: str | None = None
        self._began = 0.0
        self._counts = True
        self._log_lines: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Measure what has to be known before the first step; it is called before each start and resumption."""

    def work(self, step: int) -> Work:
        """Build the micro-batches of one step, on the CPU, alike in each process; none where nothing can be learned."""
        raise NotImplementedError

    def after_backward(self, step: int, work: Work) -> dict[str, float]:
        """Report the step's metrics; it is called between the backward pass and the optimizer's update."""
        raise NotImplementedError

    def run(self) -> Path:
        """Train to the end, from the last checkpoint if there is one.

        Returns:
            the folder of the trained adapter, or of the whole model.
        """
        check_same("The settings or the runs", json.dumps(self._identity, sort_keys=True).encode())
        checkpoint = find_checkpoint(self._out / CHECKPOINTS, self._identity)
        step = 0 if checkpoint is None else read_state(checkpoint)["step"]
        check_same("The checkpoints", str(step).encode())
        if is_first_process():
            resume_log(self._out, step)
        wait_for_all()
        self._log_lines = [line for line in read_log(self._out) if line["step"] <= step]
        self.remove_callback(PrinterCallback)  # transformers adds it where progress bars are off
        self.begin()
        with torch.autograd.set_detect_anomaly(False):  # importing RecBole's SASRec switches it on
            self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        result = self._out / (MODEL if self._config.lora is None else ADAPTER)
        self._save_policy(result)
        return result

    @property
    def history(self) -> list[dict[str, Any]]:
        """The logged steps so far, those before a resumption included."""
        return self._log_lines

    def micro_batch_tokens(self) -> int:
        """The largest number of tokens of a micro-batch on this device, padding included."""
        default = GPU_MICRO_BATCH_TOKENS if self._policy.on_gpu else CPU_MICRO_BATCH_TOKENS
        return self._config.micro_batch_tokens or default

    def cut(self, lengths: Sequence[int]) -> list[list[int]]:
        """Split sequences into the micro-batches of all processes (`micro_batches`)."""
        return micro_batches(lengths, self.micro_batch_tokens(), process_count())

    def share(self, work: Work) -> Iterator[Mapping[str, torch.Tensor]]:
        """Go through the micro-batches that this process runs; inside, `_counts` says whether one counts here."""
        for batch, self._counts in own_share(work.batches):
            yield batch
        self._counts = True

    def mean_of_all(self, values: Sequence[float], weights: Sequence[float]) -> float:
        """Compute a weighted mean over the micro-batches of all processes, from those of this one."""
        total, weight = sums_of_all([float(np.multiply(values, weights).sum()), float(np.sum(weights))])
        return total / weight

    def stop(self, why: str) -> None:
        """End the training after this step, and drop the step's gradient."""
        _log.warning("%s", why)
        self._stopped = why
        self.model.zero_grad()
        self.control.should_training_stop = True

    # TRL and transformers call the methods below (`overridden_methods`).

    def get_train_dataloader(self) -> Any:
        """Build a loader of one item a step; the step's rollouts are read only when it begins."""
        return DataLoader([{"step": step} for step in range(self.args.max_steps)], batch_size=1, collate_fn=_first)  # type: ignore[arg-type]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Run forward and backward passes of all micro-batches of a step."""
        step = self.state.global_step
        requested = time.perf_counter()
        work = self.work(step)
        self._began = time.perf_counter()
        if self._policy.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        total = torch.zeros((), device=self.args.device)
        last = len(own_share(work.batches)) - 1
        with own_metrics(self.accelerator):
            for number, batch in enumerate(self.share(work)):
                # DDP adds the gradients up once. FSDP does it each time, because it holds no whole gradient.
                alone = nullcontext() if number == last or is_sharded() else self.accelerator.no_sync(model)
                with alone:
                    total += super().training_step(model, dict(batch), torch.tensor(work.items))  # type: ignore[misc]
        [loss] = sums_of_all([float(total)])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss of step {step + 1} is {loss}; nothing was learned from it. The last checkpoint is "
                "intact. Lower the learning rate, and start again in another folder."
            )
        seconds = time.perf_counter() - self._began
        self.state.num_input_tokens_seen += work.padding.tokens
        metrics = {
            **self.after_backward(step, work),
            "wait_seconds": self._began - requested,
            "padding_waste": work.padding.waste,
            "num_tokens": float(self.state.num_input_tokens_seen),
            "peak_memory_gb": peak_memory_gb(on_gpu=self._policy.on_gpu),
            **({"tokens_per_second": work.padding.tokens / seconds} if work.batches else {}),
        }
        logged = self._metrics["train"]
        logged.clear()  # TRL's are means of means over micro-batches; these are exact over the step
        logged.update({name: [value] for name, value in metrics.items()})
        return total

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute TRL's loss of a micro-batch, which is 0 where another process has it too."""
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        return loss if self._counts else loss * 0.0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log through TRL and transformers, and into the file; then call `on_step`."""
        is_step = "loss" in logs
        if is_step:
            self._metrics["train"]["step_time"] = [time.perf_counter() - self._began]
        super().log(logs, start_time)  # type: ignore[misc]
        if "train_runtime" in logs:
            return
        line: dict[str, Any] = {"step": self.state.global_step}
        line |= {name: json_value(value) for name, value in logs.items() if name != "epoch"}
        if self._alarms and is_step:
            line["warnings"] = [alarm.message for alarm in self._alarms]
        if self._stopped and is_step:
            line["stopped"] = self._stopped
        self._log_lines.append(line)
        if is_first_process():
            append_line(self._out, line)
        if self._on_step is not None and is_step:
            self._on_step(
                StepReport(
                    steps_done=self.state.global_step,
                    steps=self.args.max_steps,
                    metrics={name: value for name, value in line.items() if isinstance(value, float)},
                    alarms=self._alarms,
                    stopped=self._stopped,
                    save_adapter=self._save_policy,
                )
            )

    def _save_policy(self, folder: Path) -> None:
        model, weights = self._policy.model, None
        if is_sharded():
            spread = model.state_dict() if self._config.lora is None else trained_weights(model)
            weights = {name: whole(tensor) for name, tensor in spread.items()}
        if is_first_process():
            if self._config.lora is None:
                save_model(self._policy, folder, weights=weights)
            else:
                save_adapter(model, folder, self._identity, weights=weights)
        wait_for_all()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = self._out / CHECKPOINTS
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            folder,
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.lr_scheduler,
            step=self.state.global_step,
            identity=self._identity,
            trainer_state={**asdict(self.state), "log_history": []},  # the log has a file of its own
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(Path(resume_from_checkpoint), self.model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_optimizer(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_random(Path(checkpoint))

    def _load_scaler(self, checkpoint: str | None) -> None: ...

    def _send_telemetry(self) -> None: ...


def hold_out(config: SftConfig | DpoConfig, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose by the seed which of `count` examples, at least one of them, are trained on and which are held out.

    Returns:
        the places of the former, in their order, and of the latter.
    """
    order = np.random.default_rng(config.seed).permutation(count)
    held_out = min(round(config.validation * count), count - 1)
    return np.sort(order[held_out:]), order[:held_out]


def epoch_arguments(
    config: SftConfig | DpoConfig,
    policy: PolicyModel,
    out: Path,
    *,
    examples: int,
    validates: bool,
    learning_rate: float,
) -> dict[str, Any]:
    """Build the arguments of a training that goes through its `examples` in epochs and may validate after each.

    The learning rate rises, then falls to zero; the other arguments are those of `training_arguments`.
    """
    steps_an_epoch = math.ceil(examples / config.batch_size)
    steps = config.epochs * steps_an_epoch
    return {
        **training_arguments(config, policy, out, steps=steps, learning_rate=learning_rate),
        "lr_scheduler_type": "linear",
        "warmup_steps": int(config.warmup * steps),
        "eval_strategy": "steps" if validates else "no",
        "eval_steps": steps_an_epoch,
        "max_length": None,
        "router_aux_loss_coef": 0.0,
    }


def training_arguments(
    config: OptimizerConfig, policy: PolicyModel, out: Path, *, steps: int, learning_rate: float
) -> dict[str, Any]:
    """Build the arguments that the trainers share.

    Args:
        config: The settings.
        policy: The model that is trained, and its device.
        out: The folder of the training.
        steps: Optimizer steps.
        learning_rate: The learning rate where the settings have none.

    Raises:
        ConfigError: the installed TRL or transformers does not fit.
    """
    check_overridden_methods()
    return {
        "output_dir": str(out),
        "max_steps": steps,
        "learning_rate": config.learning_rate or learning_rate,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "use_cpu": not policy.on_gpu,
        "bf16": policy.in_bfloat16,
        "activation_checkpointing": policy.on_gpu,
        "gradient_accumulation_steps": 1,  # a step's micro-batches are cut in `Stepwise.training_step`
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_steps": config.checkpoint_every,
        "report_to": list(config.report_to),
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def on_one_device(args: Any) -> Any:
    """Limit a trainer's arguments to one GPU; transformers would copy the model onto all of them."""
    args._n_gpu = min(args.n_gpu, 1)
    return args


def _first(items: Sequence[Any]) -> Any:
    """The item of a batch of one."""
    return items[0]


def peak_memory_gb(*, on_gpu: bool) -> float:
    """The peak memory in GB: of the step on a GPU, of the process so far on a CPU."""
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
