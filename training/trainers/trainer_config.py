"""Settings of the trainers. The module loads neither TRL nor torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from deeprec.agent.serving.server_process import Dtype
from deeprec.trm_tool.errors import ConfigError

LossType = Literal["dapo", "grpo", "bnpo", "dr_grpo", "luspo", "cispo", "sapo", "vespo"]
RatioLevel = Literal["token", "sequence", "item"]
Credit = Literal["run", "token"]
Device = Literal["auto", "cpu"]

FULL_WEIGHTS_LEARNING_RATE = 1e-6
"""The paper's learning rate, for GRPO on all weights."""
GRPO_LORA_LEARNING_RATE = 2e-5
"""An adapter starts without effect and needs a learning rate that is ten to twenty times as high (Schulman et al. 2025,
"LoRA Without Regret")."""
SFT_LEARNING_RATE = 2e-5
SFT_LORA_LEARNING_RATE = 2e-4
DPO_LEARNING_RATE = 1e-6
DPO_LORA_LEARNING_RATE = 2e-5
CPU_MICRO_BATCH_TOKENS = 2048
GPU_MICRO_BATCH_TOKENS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The LoRA adapter that is trained instead of the weights."""

    rank: int = 16
    """The rank of the low-rank matrices. The server's `--max-lora-rank` has to be as large."""
    alpha: int = 32
    """The scale of the adapter's output, which is multiplied by alpha / rank."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """The linear layers that get an adapter: all but the output head, or names such as ("q_proj", "v_proj")."""

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ConfigError(f"AdapterConfig.{name} is {getattr(self, name)}. Set it to 1 or more.")
        if not self.target_modules or "lm_head" in self.target_modules:
            raise ConfigError(
                f"AdapterConfig.target_modules is {self.target_modules!r}: it has to name a layer, and not the output "
                "head, from which the log-probabilities are computed directly. Use 'all-linear'."
            )


_CLIPPED = ("dapo", "grpo", "bnpo", "dr_grpo", "luspo")
"""Losses that clip importance ratios."""
_ADDED_LATER = (("credit", "run"), ("beta", 0.0), ("delta", None))
"""Settings that older checkpoints do not name, and the values that these were trained with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """The settings that all trainers share."""

    lora: AdapterConfig | None = AdapterConfig()
    """The adapter to train; None trains all weights."""
    learning_rate: float | None = None
    """The learning rate of AdamW; None takes the trainer's default for an adapter or for all weights."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    micro_batch_tokens: int | None = None
    """Tokens, padding included, that go through the model at once, which bounds memory. A longer rollout goes alone.
    None takes 2,048 on a CPU and 16,384 on a GPU."""
    seed: int = 0
    """The seed of a new adapter's weights and of the order of examples."""
    checkpoint_every: int = 1
    """Optimizer steps between two checkpoints."""
    report_to: tuple[str, ...] = ()
    """transformers' integrations that also get the metrics of `log.jsonl`, such as ("tensorboard",)."""
    device: Device = "auto"
    """"auto" takes a CUDA GPU where there is one, "cpu" never does."""
    dtype: Dtype = "auto"
    """The type that the model computes in. "auto" is bfloat16 on a GPU that has it, and float32 on a CPU, where
    bfloat16 is 1.4 times as fast at best and its log-probabilities are further from the logged ones."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "checkpoint_every")
        _above_zero(self, "learning_rate", "max_grad_norm", "micro_batch_tokens")
        _one_of(self, "device", Device)
        _one_of(self, "dtype", Dtype)
        if self.report_to not in ((), ("all",), ("none",)):  # which transformers reads as such
            _check_trackers(self)

    def identity(self) -> dict[str, Any]:
        """The settings that the results of a training depend on, as JSON; a resumed training must have the same."""
        without_effect = {"steps", "micro_batch_tokens", "checkpoint_every", "report_to", "device", "max_first_gap"}
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # tuples as lists
        return {
            name: value
            for name, value in settings.items()
            if name not in without_effect and (name, value) not in _ADDED_LATER
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoConfig(OptimizerConfig):
    """The settings of GRPO on a policy's own scored runs.

    Source:
        Zheng et al. 2025 (DeepRec), arXiv:2505.16810: no KL term, no division by the deviation, one pass over each
        step's rollouts. Yu et al. 2025 (DAPO), arXiv:2503.14476: the mean over all tokens of the step.
    """

    steps: int = 20
    """Optimizer steps."""
    loss_type: LossType = "dapo"
    """TRL's name of the loss, which decides how a step's tokens are averaged and clipped."""
    importance_sampling_level: RatioLevel = "token"
    """Whether an importance ratio belongs to a token, a whole rollout or an item of the list. "sequence" with loss_type
    "grpo" is GSPO. With "item" it is the geometric mean over the tokens of an item, as in Rank-GRPO (Zhu et al. 2025,
    arXiv:2510.20150), and elsewhere a token's own.
    """
    credit: Credit = "run"
    """Whether all tokens of a run have its advantage, or each its own (`ScoredRollout.credit`): by turn and by position
    of the list, as `credit_turns` computes them, or yours."""
    clip_low: float = 0.2
    """A token whose probability has fallen by more than this share has no gradient that lowers it further."""
    clip_high: float = 0.2
    """A token whose probability has risen by more than this share has no gradient that raises it further. With "cispo"
    it is the largest ratio itself, such as 5."""
    delta: float | None = None
    """The largest ratio of a token whose advantage is negative, such as 4, so that no single token rules a step
    (two-sided clipping: Prime Intellect 2025, INTELLECT-2, arXiv:2505.07291); None sets no bound, as in PPO."""
    beta: float = 0.0
    """The weight of the KL divergence from the policy that the training starts from, in the estimate and with the
    correction of TRL; 0 leaves it out and needs no second pass through the model."""
    max_staleness: int = 4
    """Rollouts whose policy is more versions behind than this are left out."""
    max_logprob_gap: float = 0.3
    """The largest mean absolute difference of logged and current log-probabilities, in nats per token. Beyond it hardly
    a ratio is within the clip, because another policy sampled the rollouts."""
    max_first_gap: float = 0.05
    """The same bound in the first step that learns, before the policy has moved: what exceeds it is not rounding but
    another policy, other weights under its name, or another sampling. Raise it for runs of an earlier version."""

    def __post_init__(self) -> None:
        OptimizerConfig.__post_init__(self)  # super() without arguments does not work in a dataclass with slots
        _at_least(self, 1, "steps")
        _at_least(self, 0, "max_staleness", "beta")
        _above_zero(self, "clip_low", "clip_high", "max_logprob_gap", "max_first_gap")
        _one_of(self, "loss_type", LossType)
        _one_of(self, "importance_sampling_level", RatioLevel)
        _one_of(self, "credit", Credit)
        if self.importance_sampling_level == "item" and self.credit == "run":
            raise ConfigError(
                "GrpoConfig.importance_sampling_level is 'item', but with credit 'run' nothing says which tokens an "
                "item has. Set credit to 'token'."
            )
        if not math.isfinite(self.beta):
            raise ConfigError(f"GrpoConfig.beta is {self.beta}. Set it to a finite number, such as 0.01.")
        if self.delta is not None and self.loss_type not in _CLIPPED:
            raise ConfigError(
                f"GrpoConfig.delta is {self.delta}, but loss_type {self.loss_type!r} has no such bound. Leave it out, "
                f"or set loss_type to one of {', '.join(_CLIPPED)}."
            )
        if self.delta is not None and not 1 + self.clip_high < self.delta < math.inf:
            raise ConfigError(
                f"GrpoConfig.delta is {self.delta}, but ratios up to {1 + self.clip_high:g} are within the clip. Set "
                "it above that, to 4 for example."
            )
        if self.loss_type == "cispo" and self.clip_high < 1:
            raise ConfigError(
                f"GrpoConfig.clip_high is {self.clip_high}, but with loss_type 'cispo' it is the largest ratio itself: "
                "below 1 it would cut every ratio. Set it to 5, for example."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig(OptimizerConfig):
    """The settings of supervised fine-tuning on good runs."""

    epochs: int = 2
    """Passes over the runs."""
    batch_size: int = 16
    """Runs of one optimizer step."""
    warmup: float = 0.05
    """The share of the steps over which the learning rate rises, before it falls linearly to 0."""
    validation: float = 0.1
    """The share of the runs that are not trained on, and whose loss is measured after each epoch; 0 for none."""

    def __post_init__(self) -> None:
        OptimizerConfig.__post_init__(self)
        _at_least(self, 1, "epochs", "batch_size")
        _below_one(self, "warmup", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoConfig(OptimizerConfig):
    """The settings of DPO on pairs of runs.

    Source:
        Rafailov et al. 2023 (DPO), arXiv:2305.18290: the loss of the pairs. Pang et al. 2024 (RPO), arXiv:2404.19733:
        the loss of the chosen tokens beside it.
    """

    epochs: int = 1
    """Passes over the pairs."""
    batch_size: int = 16
    """Pairs of one optimizer step."""
    beta: float = 0.1
    """How strongly the policy is held to the reference: rewards are log-ratios times beta."""
    sft_weight: float = 1.0
    """The weight of the loss per chosen token beside that of the pairs, without which answers lose their structure; 0
    leaves it out."""
    warmup: float = 0.1
    """The share of the steps over which the learning rate rises, before it falls linearly to 0."""
    validation: float = 0.1
    """The share of the pairs that are held out, and measured before the first step and after each epoch; 0 for none."""

    def __post_init__(self) -> None:
        OptimizerConfig.__post_init__(self)
        _at_least(self, 1, "epochs", "batch_size")
        _above_zero(self, "beta")
        _below_one(self, "warmup", "validation")
        if not (self.sft_weight >= 0 and math.isfinite(self.sft_weight)):
            raise ConfigError(f"DpoConfig.sft_weight is {self.sft_weight}. Set it to 0 or more.")


def _at_least(config: Any, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ConfigError(f"{type(config).__name__}.{name} is {getattr(config, name)}. Set it to {least} or more.")


def _above_zero(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{type(config).__name__}.{name} is {value}. Set it above 0.")


def _check_trackers(config: OptimizerConfig) -> None:
    """Raise ConfigError for a tracker that transformers does not know, or whose package is missing."""
    try:
        from transformers.integrations import get_available_reporting_integrations
        from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
    except ModuleNotFoundError:
        return  # the training itself says what to install

    installed = get_available_reporting_integrations()
    for name in config.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            raise ConfigError(
                f"{type(config).__name__}.report_to names {name!r}, which transformers has no integration of. Choose "
                f"from {', '.join(INTEGRATION_TO_CALLBACK)}, or leave it out: log.jsonl has all metrics."
            )
        if name not in installed:
            raise ConfigError(
                f"{type(config).__name__}.report_to names {name!r}, whose package is not installed. Install it (pip "
                f"install {name}), or leave it out: log.jsonl has all metrics."
            )


def _below_one(config: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            value = getattr(config, name)
            raise ConfigError(f"{type(config).__name__}.{name} is {value}. Set it to at least 0 and below 1.")


def _one_of(config: Any, name: str, choices: Any) -> None:
    if getattr(config, name) not in get_args(choices):
        known = ", ".join(get_args(choices))
        raise ConfigError(f"{type(config).__name__}.{name} is {getattr(config, name)!r}. Choose one of {known}.")
