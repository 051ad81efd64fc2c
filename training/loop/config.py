"""What a training loop is made of: a small YAML file, read strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deeprec.agent import AgentConfig
from deeprec.agent.serving.server_process import Dtype
from deeprec.evals.settings_file import parse_settings, read_settings_text
from deeprec.evals.suites.suite import EMBEDDED, Name
from deeprec.evals.systems.suite_systems import PATIENCE_S
from deeprec.training.rewards.stages import Stage, StageReward, stage_reward
from deeprec.training.trainers.trainer_config import Device, GrpoConfig
from deeprec.trm_tool import ConfigError

_Count = Annotated[int, Field(ge=1)]
_OWN_FIELDS = {"steps", "learning_rate", "seed", "device", "dtype", "lora"}
"""Of `GrpoConfig`: set by a stage or the loop, or, for the adapter, by the server's slots."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AgentPlan(_Strict):
    """How the agent runs, in collection and in validation alike."""

    k: _Count = 10
    retrieve_k: _Count = 20
    trust: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of its preferences; without it the recommender's own."""
    max_history: _Count = 20
    max_retrievals: _Count = 8
    max_turn_tokens: _Count = 512

    def config(self, *, guided: bool) -> AgentConfig:
        """As the graph takes it, at temperature 1, which is what training compares with."""
        return AgentConfig(
            guided=guided,
            min_retrievals=min(2, self.max_retrievals),
            max_seconds=PATIENCE_S,
            **self.model_dump(),
        )


class WarmStart(_Strict):
    """Supervised training on the best guided runs, for a model that does not find the format by itself."""

    users: _Count
    """Of the first stage; each has `group_size` guided runs."""
    group_size: _Count
    best: _Count
    """Runs that are trained on: those with the highest reward of the stage `recommendation`."""
    lists: Literal["written", "fused"] = "written"
    """Whether their lists are the model's own, or what plain fusion makes of their searches (`with_fused_list`)."""
    epochs: _Count = 1
    batch_size: _Count = 16
    """Runs an optimizer step; a small one for few runs, which are few steps else."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None


class StagePlan(_Strict):
    """One stage of GRPO."""

    stage: Stage
    steps: _Count
    users: _Count
    """Of one step; each is a group."""
    group_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    weights: Mapping[str, float] = {}
    """Of the reward's components, where not 1."""

    def reward(self, own: Sequence[str] = ()) -> StageReward:
        """What the stage rewards; `own` are the names of rewards that are not deeprec's."""
        return stage_reward(self.stage, {**dict.fromkeys(own, 1.0), **self.weights})


class ValidationPlan(_Strict):
    """When and for how many people the policy is looked at. The adapter that does best is kept."""

    users: _Count
    every: _Count
    """Steps of a stage; each stage's last step is looked at in any case."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """What validation samples at; 0 is how most would use the policy, and says the same twice."""


class LoopConfig(_Strict):
    """What a loop's file says."""

    name: Annotated[Name, Field(max_length=40)]
    """Of the loop; its runs are stored under it and a fingerprint of these settings."""
    data: str = EMBEDDED
    """`ml-100k`, the embedded data, or a folder of RecBole files."""
    artifact: str
    """A recommender that was trained with `--holdout 3`."""
    base: str | None = None
    """The language model: a folder or a Hugging Face id; None is the embedded one."""
    seed: int = 0
    agent: AgentPlan
    warm_start: WarmStart | None = None
    start: Path | None = None
    """The folder of a LoRA adapter of the base model, of rank 16 at most, to begin with in place of a warm start; such
    as `train sft` leaves. It becomes version 1."""
    stages: tuple[StagePlan, ...]
    rewards: tuple[str, ...] = ()
    """Rewards of your own, each `module:function` or `path.py:function`; they count 1 where a stage names no weight."""
    grpo: Mapping[str, Any] = {}
    """Further settings of `GrpoConfig`, such as `loss_type`, `micro_batch_tokens` or `report_to`."""
    validation: ValidationPlan
    max_rank: _Count = 100
    """People whose target the recommender ranks below this are left out as too hard."""
    interaction_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of the people, for the stage `interaction`; the others are for `recommendation`."""
    server_args: tuple[str, ...] = ()
    """Further flags of vLLM, where the loop starts it."""
    concurrency: _Count = 32
    device: Device = "auto"
    dtype: Dtype = "auto"
    """What the trainer computes in (`OptimizerConfig.dtype`), and the server, where the loop starts it."""

    @property
    def begins_with_adapter(self) -> bool:
        """Whether version 1 is there before the stages."""
        return self.start is not None or self.warm_start is not None

    def trainer(self, plan: StagePlan) -> GrpoConfig:
        """How a stage is trained."""
        told: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.grpo.items()
        }
        return GrpoConfig(
            steps=plan.steps,
            learning_rate=plan.learning_rate,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
            **told,
        )

    def course(self) -> dict[str, Any]:
        """The settings that decide what comes of the loop, as JSON; not those of the machine that it runs on.

        Of `start` the weights decide, not where they were.
        """
        left_out = {"concurrency", "server_args", "device", "start"}
        return self.model_dump(mode="json", exclude=left_out, exclude_none=True)

    @model_validator(mode="after")
    def _consistent(self) -> LoopConfig:
        names = [plan.stage for plan in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"the stage {max(names, key=names.count)!r} is there twice; give it its steps at once")
        if self.start is not None and self.warm_start is not None:
            raise ValueError("there are a start and a warm_start; version 1 can be one of them")
        if any(flag.split("=")[0] == "--dtype" for flag in self.server_args):
            raise ValueError("server_args: there is --dtype; say `dtype: …`, which the trainer and the server take")
        if not self.stages and self.warm_start is None:
            raise ValueError("there is nothing to train: give a warm start or a stage")
        named = {field.name for field in fields(GrpoConfig)} - _OWN_FIELDS
        if unknown := sorted(self.grpo.keys() - named):
            raise ValueError(f"grpo: there is no setting {unknown[0]!r}; choose from {', '.join(sorted(named))}")
        try:
            for plan in self.stages:
                self.trainer(plan)
        except (ConfigError, TypeError) as error:
            raise ValueError(f"grpo: {error}") from error
        return self


def load_loop_config(name_or_path: str | Path) -> LoopConfig:
    """Read a loop's settings by the name of packaged ones (`packaged_loops`) or by their file.

    Raises:
        ConfigError: no such settings, or ones that cannot be read: names the field and what is wrong with it.
    """
    path = Path(name_or_path)
    if str(name_or_path) in packaged_loops():
        text = (files("deeprec.training.loop") / f"{path}.yaml").read_text("utf-8")
        return parse_settings(f"loop {name_or_path}", text, LoopConfig)
    if not path.is_file():
        known = ", ".join(packaged_loops())
        raise ConfigError(f"There is no loop {str(name_or_path)[:200]!r}. Name a YAML file, or one of {known}.")
    return parse_settings(str(path), read_settings_text(path), LoopConfig)


def packaged_loops() -> list[str]:
    """The names of the loops that come with the package."""
    folder = files("deeprec.training.loop")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
