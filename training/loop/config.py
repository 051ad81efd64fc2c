"""What a training loop is made of: a small YAML file, read strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from deeprec.agent.graph.config import AgentConfig, make_agent_config
from deeprec.agent.serving.server_process import Dtype
from deeprec.evals.settings_file import FileSettings, check_agent_block, packaged_settings, read_settings
from deeprec.evals.suites.suite import EMBEDDED, MAX_RUN_SECONDS, Name
from deeprec.training.rewards.stages import Stage, StageReward, stage_reward
from deeprec.training.trainers.trainer_config import Device, GrpoConfig
from deeprec.trm_tool import ConfigError

_Count = Annotated[int, Field(ge=1)]
_PACKAGE = "deeprec.training.loop"
_OWN_FIELDS = {"steps", "learning_rate", "seed", "device", "dtype", "lora"}
"""Fields of `GrpoConfig` that a stage or the loop sets, or, for the adapter, the slots of the server."""
_IN_COURSE = ("k", "retrieve_k", "max_history", "max_retrievals", "max_turn_tokens")
"""Settings of the agent that stand in every course, as in those of older loops; others do where not the default."""
_FIXED = {
    "guided": "the warm start is guided, and the stages are free",
    "temperature": "runs that are trained on are drawn at 1; `validation` has a temperature of its own",
    "top_p": "runs that are trained on are drawn from all tokens",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class LoopConfig(FileSettings):
    """The content of a loop's file."""

    name: Annotated[Name, Field(max_length=40)]
    """The name of the loop; its runs are stored under it and a fingerprint of these settings."""
    data: str = EMBEDDED
    """`ml-100k`, the embedded data, or a folder of RecBole files."""
    artifact: str
    """The folder of a recommender that was trained with `--holdout 3`."""
    base: str | None = None
    """The language model: a folder or a Hugging Face id; None is the embedded one."""
    seed: int = 0
    agent: Mapping[str, Any] = {}
    """Settings of `AgentConfig`, in collection and in validation alike."""
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

    def named_paths(self) -> list[str]:
        """List the folders of recommender, data, base model and first adapter, and the files of own rewards."""
        named = [self.artifact, *(name for name in self.rewards if ".py:" in name)]
        named += [] if self.data == EMBEDDED else [self.data]
        return named + [str(each) for each in (self.base, self.start) if each is not None]

    def path_of(self, named: str | Path) -> str:
        """Resolve what the settings name by a path; a base model that is not a folder is an id of Hugging Face."""
        path = super().path_of(named)
        return str(named) if named == self.base and not Path(path).exists() else path

    def continued(self, agent: Mapping[str, Any]) -> LoopConfig:
        """These settings for a loop that was begun with `agent`: what they leave out of the agent's stays as it was."""
        return self.model_copy(update={"agent": {**agent, **self.agent}})

    def agent_config(self, *, guided: bool) -> AgentConfig:
        """Make the configuration of the graph, at temperature 1, which is what training compares with."""
        return make_agent_config({**self.agent, "guided": guided}, max_seconds=MAX_RUN_SECONDS)

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
        """The settings that decide the outcome of the loop, as JSON; not those of the machine that it runs on.

        The weights of `start` decide, not the folder that they were in. Paths stand as the file names them.
        """
        left_out = {"concurrency", "server_args", "device", "start", "agent"}
        course = self.model_dump(mode="json", exclude=left_out, exclude_none=True)
        agent, defaults = self.agent_config(guided=False), make_agent_config({}, max_seconds=MAX_RUN_SECONDS)
        course["agent"] = {name: getattr(agent, name) for name in _IN_COURSE}
        course["agent"] |= {name: value for name, value in self.agent.items() if value != getattr(defaults, name)}
        return course

    @field_validator("agent")
    @classmethod
    def _known_settings(cls, agent: Mapping[str, Any]) -> dict[str, Any]:
        return check_agent_block(agent, fixed=_FIXED)

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
    config = read_settings(name_or_path, LoopConfig, package=_PACKAGE, what="loop")
    start = None if config.start is None else Path(config.path_of(config.start))
    return config.model_copy(update={"start": start})


def packaged_loops() -> list[str]:
    """The names of the loops that come with the package."""
    return packaged_settings(_PACKAGE)
