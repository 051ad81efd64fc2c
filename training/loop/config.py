"""The settings of a training loop: a small YAML file, read strictly. `LoopConfig` lists what it may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from deeprec.agent.graph.config import AgentConfig, make_agent_config
from deeprec.agent.serving.server_process import Dtype
from deeprec.evals.requests.request_cases import MADE_TEST
from deeprec.evals.settings_file import FileSettings, check_agent_block, packaged_settings, read_settings
from deeprec.evals.suites.suite import MAX_RUN_SECONDS, Name
from deeprec.training.loop.validation_power import DEVIATION, people_needed
from deeprec.training.rewards.stages import DEFAULT_PRESET, RewardPreset, Stage, StageReward, stage_reward
from deeprec.training.trainers.trainer_config import Device, GrpoConfig
from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.data.folder import EMBEDDED

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
    """People of the first stage; each has `group_size` guided runs."""
    group_size: _Count
    best: _Count
    """Runs that are trained on: those with the highest reward of the stage `recommendation`."""
    lists: Literal["written", "fused"] = "written"
    """Whether the lists are the model's own, or those that plain fusion makes of its retrievals (`with_fused_list`)."""
    epochs: _Count = 1
    batch_size: _Count = 16
    """Runs in one optimizer step. Few runs need a small batch, or they are few steps."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None


class StagePlan(_Strict):
    """One stage of GRPO."""

    stage: Stage
    steps: _Count
    users: _Count
    """People of one step; the runs of each are a group."""
    group_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    preset: RewardPreset | None = None
    """The weights of the reward to begin with (`REWARD_PRESETS`); None is `outcome`, or what a begun loop has."""
    weights: Mapping[str, float] = {}
    """Component of the reward -> its weight, where it is not that of the preset."""

    def reward(self, own: Sequence[str] = ()) -> StageReward:
        """Make the reward of the stage; `own` are the names of rewards that are not deeprec's."""
        weights = {**dict.fromkeys(own, 1.0), **self.weights}
        return stage_reward(self.stage, weights, preset=self.preset or DEFAULT_PRESET)


class ValidationPlan(_Strict):
    """When and for how many people the policy is measured. The best adapter is kept."""

    users: _Count | None = None
    """People; None takes as many as show `difference` four times out of five."""
    difference: Annotated[float, Field(gt=0, le=1)] = 0.02
    """The smallest difference of NDCG between two versions that the choice of the best is to see."""
    every: _Count
    """Steps between two validations; the last step of each stage is validated in any case."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Temperature of the sampling in validation. Two validations of one policy agree at 0, where most people would use
    it."""

    @property
    def people(self) -> int:
        """The people of one validation, where the data has as many."""
        return people_needed(self.difference, DEVIATION) if self.users is None else self.users


class LoopConfig(FileSettings):
    """The content of a loop's file."""

    name: Annotated[Name, Field(max_length=40)]
    """The name of the loop; its runs are stored under it and a fingerprint of these settings."""
    data: str = EMBEDDED
    """`ml-100k`, the embedded data, or a folder of RecBole files."""
    artifact: str
    """The folder of a recommender that was trained with `--holdout 3`."""
    requests: str | None = None
    """A file of requests to train on, seen from the settings' file, or `made`: one request of each person, made in
    training words. Without it people say nothing, and their third-last items are the targets."""
    validation_requests: str | None = None
    """A file of requests that the policy is validated on. With `requests: made` it may be left out: requests are then
    made of the validation targets, in test words. No conversation of it, and no pair of person and target, is learned
    from."""
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
    """Rewards of your own, each `module:function` or `path.py:function`; their weight is 1 where a stage names none."""
    grpo: Mapping[str, Any] = {}
    """Further settings of `GrpoConfig`, such as `loss_type`, `micro_batch_tokens` or `report_to`."""
    validation: ValidationPlan
    max_rank: _Count = 100
    """Worst rank of a target in the recommender's own list; people with a lower target are left out as too hard."""
    interaction_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the people who are for the stage `interaction`; the others are for `recommendation`."""
    collect_ahead: bool = False
    """Whether the runs of the next step are collected while a step trains, for a server with a device of its own. They
    are then of the version before the newest; those of a stage's first two steps are of the version it starts from."""
    server_args: tuple[str, ...] = ()
    """Further flags of vLLM, where the loop starts it."""
    concurrency: _Count = 32
    device: Device = "auto"
    dtype: Dtype = "auto"
    """Number format of the trainer (`OptimizerConfig.dtype`), and of the server, where the loop starts it."""

    def named_paths(self) -> list[str]:
        """List the folders of recommender, data, base model and first adapter, and the files of own rewards."""
        named = [self.artifact, *(name for name in self.rewards if ".py:" in name)]
        named += [] if self.data == EMBEDDED else [self.data]
        named += [name for name in (self.requests, self.validation_requests) if name not in (None, MADE_TEST)]
        return named + [str(each) for each in (self.base, self.start) if each is not None]

    def path_of(self, named: str | Path) -> str:
        """Resolve what the settings name by a path; a base model that is not a folder is an id of Hugging Face."""
        path = super().path_of(named)
        return str(named) if named == self.base and not Path(path).exists() else path

    def continued(self, begun: Mapping[str, Any]) -> LoopConfig:
        """Complete the settings for a loop that was begun with the course `begun`; it is empty for a new loop.

        The settings of the agent, the presets of rewards, and the people and the difference of the validation that
        the settings leave out stay as they were. A stage of an older loop, which knew no presets, has that of the
        paper.
        """
        known = {plan["stage"]: plan.get("preset", "paper") for plan in begun.get("stages", ())}
        stages = tuple(
            plan.model_copy(update={"preset": plan.preset or known.get(plan.stage, DEFAULT_PRESET)})
            for plan in self.stages
        )
        own = {name: getattr(self.validation, name) for name in self.validation.model_fields_set}
        kept = {
            name: begun["validation"][name] for name in ("users", "difference") if name in begun.get("validation", {})
        }
        given = {name: value for name, value in own.items() if value is not None}
        validation = self.validation.model_copy(update=kept | given)
        agent = {**begun.get("agent", {}), **self.agent}
        return self.model_copy(update={"agent": agent, "stages": stages, "validation": validation})

    def agent_config(self, *, guided: bool) -> AgentConfig:
        """Make the configuration of the graph, at temperature 1, which is what training compares with."""
        return make_agent_config({**self.agent, "guided": guided}, max_seconds=MAX_RUN_SECONDS)

    @property
    def begins_with_adapter(self) -> bool:
        """Whether there is a version 1 before the stages."""
        return self.start is not None or self.warm_start is not None

    def trainer(self, plan: StagePlan) -> GrpoConfig:
        """Make the configuration of a stage's trainer."""
        further: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.grpo.items()
        }
        return GrpoConfig(
            steps=plan.steps,
            learning_rate=plan.learning_rate,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
            **further,
        )

    def course(self) -> dict[str, Any]:
        """Collect the settings that decide the outcome of the loop, as JSON; not those of the machine that it runs on.

        The weights of `start` decide, not the folder that they were in. Paths stand as the file names them.
        """
        left_out = {"concurrency", "server_args", "device", "start", "agent"}
        course = self.model_dump(mode="json", exclude=left_out, exclude_none=True)
        course["validation"]["users"] = self.validation.people
        if not self.collect_ahead:  # which the courses of older loops do not name
            del course["collect_ahead"]
        for plan in course["stages"]:
            if plan.get("preset") == "paper":  # which the courses of older loops do not name
                del plan["preset"]
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
            raise ValueError(f"the stage {max(names, key=names.count)!r} is named twice; give it all its steps at once")
        if self.start is not None and self.warm_start is not None:
            raise ValueError("both start and warm_start are given; version 1 can be one of them")
        if any(flag.split("=")[0] == "--dtype" for flag in self.server_args):
            raise ValueError(
                "server_args: --dtype sets the server alone; write `dtype: …`, which the trainer and the server take"
            )
        if self.validation_requests is not None and self.requests is None:
            raise ValueError("validation_requests is given and requests is not; name requests to train on, or neither")
        if self.requests not in (None, MADE_TEST) and self.validation_requests is None:
            raise ValueError("requests names a file; name another one as validation_requests, to choose the best by")
        if self.collect_ahead and self.grpo.get("max_staleness", 1) == 0:
            raise ValueError(
                "collect_ahead trains on runs that are one version behind, and grpo.max_staleness is 0; set it to 1 or "
                "more, or collect_ahead to false"
            )
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
        ConfigError: there are no such settings, or they cannot be read: names the field and what is wrong with it.
    """
    config = read_settings(name_or_path, LoopConfig, package=_PACKAGE, what="loop")
    start = None if config.start is None else Path(config.path_of(config.start))
    return config.model_copy(update={"start": start})


def packaged_loops() -> list[str]:
    """The names of the loops that come with the package."""
    return packaged_settings(_PACKAGE)
