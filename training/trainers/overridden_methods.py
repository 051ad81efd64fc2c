"""Methods of TRL and transformers that the trainers override, most of them private, and what each override relies on.

No release note mentions a private method. `find_moved_methods` compares this list with the installed packages: a method
that has another name, other parameters or another caller would otherwise stop being called, and training would go on
without it. Loads TRL.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from types import CodeType
from typing import Any

from trl import DPOTrainer, GRPOTrainer, SFTTrainer

from deeprec.trm_tool.errors import ConfigError

TESTED_WITH = "trl==1.16.0 transformers==5.23.0"
DPO, GRPO, SFT = (DPOTrainer,), (GRPOTrainer,), (SFTTrainer,)
ALL = (DPOTrainer, GRPOTrainer, SFTTrainer)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverriddenMethod:
    """One method of a TRL trainer, inherited or its own, that a trainer here replaces or extends."""

    name: str
    trainers: tuple[type, ...]
    """Trainers of TRL whose method is overridden."""
    why: str
    parameters: tuple[str, ...] = ()
    """Names of the first parameters after `self`, in order, which callers pass by position or by name."""
    callers: tuple[str, ...]
    """`Class.method` whose code has to call the method by this name; else the override would never run."""
    original_uses: tuple[str, ...] = ()
    """Attributes, keys and parameters that the original's code has to use, because the override counts on them."""


OVERRIDDEN_METHODS = (
    OverriddenMethod(
        name="_send_telemetry",
        trainers=ALL,
        why="TRL would report to its authors which trainer runs on which device.",
        callers=("_BaseTrainer.__init__",),
    ),
    OverriddenMethod(
        name="get_train_dataloader",
        trainers=ALL,
        why="One item of the loader is one optimizer step, whose data are fetched only when the step begins.",
        callers=("Trainer._inner_training_loop",),
    ),
    OverriddenMethod(
        name="training_step",
        trainers=ALL,
        why="A step runs any number of micro-batches, each through the original.",
        parameters=("model", "inputs", "num_items_in_batch"),
        callers=("Trainer._run_epoch",),
    ),
    OverriddenMethod(
        name="log",
        trainers=ALL,
        why="Every step is also written to `log.jsonl` and reported to `on_step`.",
        parameters=("logs", "start_time"),
        callers=("Trainer._maybe_log_save_evaluate", "Trainer._finalize_training"),
        original_uses=("_metrics",),
    ),
    OverriddenMethod(
        name="_save_checkpoint",
        trainers=ALL,
        why="transformers pickles optimizer and random states; here a checkpoint is safetensors and JSON.",
        parameters=("model", "trial"),
        callers=("Trainer._maybe_log_save_evaluate",),
    ),
    OverriddenMethod(
        name="_load_from_checkpoint",
        trainers=ALL,
        why="Reads the weights of such a checkpoint.",
        parameters=("resume_from_checkpoint", "model"),
        callers=("Trainer.train",),
    ),
    OverriddenMethod(
        name="_load_optimizer_and_scheduler",
        trainers=ALL,
        why="Reads the optimizer and the scheduler of such a checkpoint.",
        parameters=("checkpoint",),
        callers=("Trainer._prepare_for_training",),
    ),
    OverriddenMethod(
        name="_load_rng_state",
        trainers=ALL,
        why="Reads the random number generators of such a checkpoint.",
        parameters=("checkpoint",),
        callers=("Trainer._run_epoch",),
    ),
    OverriddenMethod(
        name="_load_scaler",
        trainers=ALL,
        why="There is none: nothing is trained in float16.",
        parameters=("checkpoint",),
        callers=("Trainer._prepare_for_training",),
    ),
    OverriddenMethod(
        name="_prepare_inputs",
        trainers=GRPO,
        why="TRL would sample completions and score them; the micro-batch is complete as it comes.",
        parameters=("generation_batch",),
        callers=("Trainer.training_step",),
    ),
    OverriddenMethod(
        name="_compute_loss",
        trainers=GRPO,
        why="The loss of a micro-batch is weighted as its part of the step's, and its tokens are counted.",
        parameters=("model", "inputs"),
        callers=("GRPOTrainer.compute_loss",),
        original_uses=(
            "prompt_ids",
            "prompt_mask",
            "completion_ids",
            "completion_mask",
            "tool_mask",
            "old_per_token_logps",
            "advantages",
            "ref_per_token_logps",
            "delta",
            "num_items_in_batch",
            "current_gradient_accumulation_steps",
        ),
    ),
    OverriddenMethod(
        name="_get_per_token_logps_and_entropies",
        trainers=GRPO,
        why="The output head runs at the policy's tokens alone (`only_policy_positions`).",
        parameters=("model", "input_ids", "attention_mask", "logits_to_keep"),
        callers=("GRPOTrainer._compute_loss",),
        original_uses=("fused_lm_head", "log_probs", "entropy"),
    ),
    OverriddenMethod(
        name="compute_loss",
        trainers=(*DPO, *GRPO),
        why="A micro-batch that another process has too has the loss 0.",
        parameters=("model", "inputs", "return_outputs", "num_items_in_batch"),
        callers=("Trainer.training_step",),
    ),
    OverriddenMethod(
        name="compute_loss",
        trainers=SFT,
        why="The output head runs at the policy's tokens alone (`only_policy_positions`).",
        parameters=("model", "inputs", "return_outputs", "num_items_in_batch"),
        callers=("Trainer.training_step",),
        original_uses=("fused_lm_head", "log_probs", "entropy", "mean_token_accuracy", "_metrics"),
    ),
    OverriddenMethod(
        name="_prepare_dataset",
        trainers=DPO,
        why="TRL would tokenise texts; pairs come as the token ids that were logged.",
        parameters=("dataset",),
        callers=("DPOTrainer.__init__",),
    ),
    OverriddenMethod(
        name="_precompute_ref_logps",
        trainers=DPO,
        why="The reference's log-probabilities are computed in micro-batches, before the first step.",
        parameters=("dataset",),
        callers=("DPOTrainer.__init__",),
    ),
    OverriddenMethod(
        name="_compute_loss",
        trainers=DPO,
        why="The losses of a micro-batch are weighted as parts of the step's, at the policy's tokens alone.",
        parameters=("model", "inputs", "return_outputs"),
        callers=("DPOTrainer.compute_loss",),
        original_uses=(
            "completion_mask",
            "precompute_ref_logps",
            "ref_chosen_logps",
            "ref_rejected_logps",
            "loss_weights",
            "fused_lm_head",
            "log_probs",
            "entropy",
            "mean_logits",
            "is_top1",
        ),
    ),
    OverriddenMethod(
        name="evaluate",
        trainers=(*DPO, *SFT),
        why="Losses are means over all tokens or pairs that are held out, however they are cut into micro-batches.",
        callers=("Trainer._evaluate",),
        original_uses=("on_evaluate",),
    ),
)


def find_moved_methods() -> list[str]:
    """Compare the list with the installed TRL and transformers.

    Returns:
        one sentence for each thing that is not as the trainers rely on it; empty where all is.
    """
    return [fault for method in OVERRIDDEN_METHODS for trainer in method.trainers for fault in _faults(method, trainer)]


def check_overridden_methods() -> None:
    """Raise ConfigError where the installed TRL or transformers has moved a method that the trainers override."""
    moved = find_moved_methods()
    if moved:
        raise ConfigError(
            f"Training does not fit trl {version('trl')} with transformers {version('transformers')}: "
            f"{' '.join(moved)} Install versions that this release was tested with: pip install {TESTED_WITH}"
        )


def _faults(method: OverriddenMethod, trainer: type) -> Iterator[str]:
    original = getattr(trainer, method.name, None)
    if original is None:
        yield f"{trainer.__name__} has no method {method.name}."
        return
    parameters = list(inspect.signature(original).parameters.values())[1:]
    takes_anything = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
    names = tuple(each.name for each in parameters)[: len(method.parameters)]
    if names != method.parameters and not takes_anything:
        yield (
            f"{trainer.__name__}.{method.name} takes ({', '.join(names)}, …) instead of "
            f"({', '.join(method.parameters)}, …)."
        )
    for caller in method.callers:
        found = _method(trainer, caller)
        if found is None or method.name not in _names(found):
            yield f"{caller} no longer calls {trainer.__name__}.{method.name}."
    used = {name for each in _definitions(trainer, method.name) for name in _names(each)}
    missing = [name for name in method.original_uses if name not in used]
    if missing:
        yield f"{trainer.__name__}.{method.name} no longer uses {', '.join(missing)}."


def _method(trainer: type, qualified: str) -> Callable[..., Any] | None:
    """`Class.method` of one of the bases of a trainer."""
    owner, _, name = qualified.partition(".")
    bases = {base.__name__: base for base in trainer.__mro__}
    return getattr(bases.get(owner), name, None)


def _definitions(trainer: type, name: str) -> Iterator[Callable[..., Any]]:
    """The definitions of a name in a trainer and its bases, because the original may call that of its base."""
    return (vars(base)[name] for base in trainer.__mro__ if name in vars(base))


def _names(function: Callable[..., Any]) -> set[str]:
    """Names and strings in a function's code."""
    names: set[str] = set()
    codes: list[CodeType] = [inspect.unwrap(function).__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names, code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, str):
                names.add(constant)
            elif isinstance(constant, tuple):  # the names of keyword arguments
                names.update(part for part in constant if isinstance(part, str))
            elif isinstance(constant, CodeType):
                codes.append(constant)
    return names
