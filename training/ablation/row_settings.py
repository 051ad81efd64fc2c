"""The settings of an ablation's rows: a base loop with a small change of each, and what the change decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from deeprec.agent.policy.weight_fingerprints import fingerprint_adapter
from deeprec.agent.serving.adapter_loading import check_adapter_folder
from deeprec.evals.requests.request_cases import MADE_TEST
from deeprec.evals.suites.suite import Seeds
from deeprec.training.loop.config import LoopConfig
from deeprec.training.trainers.trainer_config import DpoConfig
from deeprec.trm_tool.errors import ConfigError

Policy = Literal["stages", "dpo", "start", "untrained", "none"]
"""What a row evaluates: the policy after the stages, after DPO on groups of the policy that the stages begin with, that
policy itself, the base model without an adapter, or a system without a model."""
FREE, RECOMMENDER = "deeprec-free", "trm"
WARM_START, DPO = "warm-start", "dpo"
_WITHOUT_MODEL = ("trm", "words-history", "words", "closest-phrases", "deep-list", "trm-signals", "popularity")
"""Systems of suites that a row may evaluate in place of a policy."""
_WITH_WORDS = ("words-history", "words", "closest-phrases")
_SHARED = ("name", "base", "artifact", "data", "dtype", "server_args", "agent.k")
"""What all rows have in common: one server, one recommender, one data set, lists of one length."""


class AblationRow(BaseModel):
    """One row: what of the method it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    piece: str
    """The piece of the method that the row is about, which a sentence begins with: "The first stage"."""
    adds: bool = False
    """Whether the row adds the piece, or puts it in the place of another; else the row leaves it out."""
    change: Mapping[str, Any] = {}
    """What the row's loop has that the base loop has not: a setting of `LoopConfig` -> its value; `stages` by their
    names. null takes a setting or a stage away."""
    policy: Policy = "stages"
    system: str = FREE
    """The system of suites that is evaluated: an agent with the policy, or with `policy: none` one without a model."""
    dpo: Mapping[str, Any] = {}
    """Settings of `DpoConfig`, with `policy: dpo`."""

    @model_validator(mode="after")
    def _consistent(self) -> AblationRow:
        agents, alone = (FREE, "deeprec-guided", "own-list"), _WITHOUT_MODEL
        if self.policy == "none" and self.system not in alone:
            raise ValueError(f"with policy none system has to be one of {', '.join(alone)}; found {self.system!r}")
        if self.policy != "none" and self.system not in agents:
            raise ValueError(
                f"the system {self.system!r} is no agent's; choose {', '.join(agents)}, or give policy: none"
            )
        if self.dpo and self.policy != "dpo":
            raise ValueError("dpo has settings, and the policy is not dpo; leave them out, or set policy: dpo")
        try:
            DpoConfig(**self.dpo)
        except (ConfigError, TypeError) as error:
            raise ValueError(f"dpo: {error}") from error
        return self


class AblationTest(BaseModel):
    """Whom every row is measured on. The budget of retrievals is that of the loop's `agent`."""

    __test__ = False
    model_config = ConfigDict(extra="forbid", frozen=True)

    users: int | Literal["all"] = "all"
    """People of the split `test`, drawn with `users_seed`, or all."""
    users_seed: int = 0
    requests: str | None = None
    """A file of requests to measure on, seen from the plan's file. Where the loop has `requests: made` it may be left
    out: requests are then made of the test targets, in test words."""
    seeds: Seeds = (0,)
    """Seeds of the sampling: one run of every person for each."""
    temperature: float = 0.0
    version: Literal["best", "last"] = "best"
    """The version of a trained policy that is evaluated: that which the validation of its last stage chose, or the last
    one. The choice keeps an earlier version unless the interval says otherwise; after few steps that is often the
    policy that the stages begin with, and rows would be alike by construction."""

    @field_validator("users")
    @classmethod
    def _some_users(cls, users: int | str) -> int | str:
        if isinstance(users, int) and users < 2:
            raise ValueError("an interval needs 2 people or more")
        return users


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPart:
    """A part of a row's training. Rows whose parts are alike up to here share it."""

    kind: str
    """`warm-start`, the name of a stage, or `dpo`."""
    config: LoopConfig
    """The loop of this part alone. Where another part comes before, `start` is still to be set to its adapter."""
    dpo: Mapping[str, Any]
    after: TrainingPart | None
    """The part before."""

    @property
    def id(self) -> str:
        """The kind, and a fingerprint of all that decides the part's outcome, the parts before it included."""
        dpo = self.dpo_config().identity() if self.kind == DPO else {}
        decisive = [self.kind, _decisive(self.config), dpo, None if self.after is None else self.after.id]
        return f"{self.kind}-{_digest(decisive)}"

    def dpo_config(self) -> DpoConfig:
        """Make the configuration of DPO, with what the loop sets for every trainer."""
        shared = {name: getattr(self.config, name) for name in ("seed", "device", "dtype")}
        return DpoConfig(**{**shared, **self.dpo})


@dataclass(frozen=True)
class RowSettings:
    """A row with its loop."""

    name: str
    row: AblationRow
    config: LoopConfig
    """The base loop with the row's change."""

    @cached_property
    def parts(self) -> tuple[TrainingPart, ...]:
        """The row's training, part by part; empty where nothing is trained."""
        config, row = self.config, self.row
        found: list[TrainingPart] = []

        def add(kind: str, own: LoopConfig, dpo: Mapping[str, Any] | None = None) -> None:
            found.append(TrainingPart(kind=kind, config=own, dpo=dpo or {}, after=found[-1] if found else None))

        if row.policy in ("none", "untrained"):
            return ()
        if config.warm_start is not None:
            add(WARM_START, _alone(config, WARM_START, stages=(), grpo={}))
        without_start = {"warm_start": None} if config.warm_start is not None else {}
        if row.policy == "stages":
            for plan in config.stages:
                add(plan.stage, _alone(config, plan.stage, stages=(plan,), **without_start))
        elif row.policy == "dpo":
            add(DPO, _alone(config, DPO, grpo={}, **without_start), row.dpo)
        return tuple(found)

    def effect(self) -> Any:
        """All that decides the row's figures, as JSON: rows with equal effects are one row."""
        row = self.row
        policy = self.parts[-1].id if self.parts else [row.policy, row.policy == "start" and start_id(self.config)]
        agent = None if row.policy == "none" else self.config.course()["agent"]  # which nothing without a model reads
        return [row.system, policy, agent, self.config.requests is not None]


def make_row(name: str, row: AblationRow, loop: Mapping[str, Any]) -> RowSettings:
    """Make the settings of a row, and check that its loop fits what the row evaluates.

    Args:
        name: the row's name.
        row: what it changes and evaluates.
        loop: the fields of its loop: those of the base loop with the row's change (`changed_loop`).

    Raises:
        ValueError: the row changes what all rows share, or the loop does not fit `LoopConfig` or the row's policy.
    """
    agent = row.change.get("agent", {})
    taken = agent if isinstance(agent, Mapping) else ("k",)  # null takes all settings of the agent away
    named = {*row.change, *(f"agent.{setting}" for setting in taken)}
    if shared := next((field for field in _SHARED if field in named), None):
        raise ValueError(f"it changes {shared}, which all rows share; set it in the plan's loop, or make another plan")
    config = LoopConfig.model_validate(loop)
    if row.system in _WITH_WORDS and config.requests is None:
        raise ValueError(f"the system {row.system} hears what people say, and the loop has no `requests`")
    if row.policy in ("start", "dpo") and not config.begins_with_adapter:
        raise ValueError(f"policy {row.policy} needs a policy to begin with; give the loop a start or a warm_start")
    if row.policy == "dpo" and not config.stages:
        raise ValueError("policy dpo collects as many runs as the stages would, and the loop has no stage; keep one")
    if row.policy == "stages" and not config.stages:
        raise ValueError("the loop has no stage; give `policy: start` for the policy that stages would begin with")
    return RowSettings(name, row, config)


def changed_loop(loop: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Change some fields of a loop, in depth; stages are named, and None takes a field or a stage away.

    Raises:
        ValueError: a field that stages do not have, or a stage that is not there and is not given whole.
    """
    changed = _merged({name: value for name, value in loop.items() if name != "stages"}, change)
    stages = {str(plan["stage"]): dict(plan) for plan in loop.get("stages", ())}
    named = change.get("stages", {})
    if not isinstance(named, Mapping):
        raise ValueError("stages of a change are named: `stages: {recommendation: {steps: 10}}`")
    for stage, own in named.items():
        if own is None and stage not in stages:
            raise ValueError(f"the loop has no stage {stage!r} to leave out; it has {', '.join(stages) or 'none'}")
        if own is None:
            del stages[stage]
        else:
            stages[stage] = _merged(stages.get(stage, {"stage": stage}), own)
    return {**changed, "stages": list(stages.values())}


def start_id(config: LoopConfig) -> str | None:
    """Fingerprint the adapter that a loop starts from; the path stands for one that is not there (yet)."""
    if config.start is None:
        return None
    return _fingerprint(config.start)


def named_files(config: LoopConfig) -> dict[str, str]:
    """List the files of requests and of own rewards that a loop names: the setting, such as `rewards.FUNCTION` -> file.

    A reward of a module has the module's name in place of a file.
    """
    requests = {name: getattr(config, name) for name in ("requests", "validation_requests")}
    own = {f"rewards.{named.rpartition(':')[2]}": named.rpartition(":")[0] for named in config.rewards}
    return {name: named for name, named in requests.items() if named not in (None, MADE_TEST)} | own


def file_id(named: str) -> str:
    """Compute the sha256 of a file; what is not a file, or not there (yet), stands as it is named."""
    path = Path(named)
    try:
        known = path.stat()
        return _file_digest(path, known.st_mtime_ns, known.st_size)
    except (OSError, ValueError):
        return named


@cache
def _file_digest(path: Path, changed_ns: int, size: int) -> str:
    """The digest of a file as it was at a time: a plan asks for it once for each row and part."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _fingerprint(adapter: Path) -> str:
    try:
        check_adapter_folder(adapter)
        return fingerprint_adapter(adapter)
    except ConfigError:
        return str(adapter)


def _merged(given: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(given)
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = _merged(merged[name], value)
        elif name != "stages":
            merged[name] = value
    return merged


def _alone(config: LoopConfig, kind: str, **changed: Any) -> LoopConfig:
    """The loop of one part."""
    return config.model_copy(update={"name": f"{config.name}-{kind}", **changed})


def _decisive(config: LoopConfig) -> dict[str, Any]:
    """What decides a part's outcome, in one form: defaults and presets are written out, files stand by their content.

    `grpo` is in the identity of each stage's trainer, without what changes no result.
    """
    course = config.course()
    del course["validation"]["every"]  # a loop goes on with another rhythm
    left_out = ("name", "artifact", "data", "base", "grpo", "rewards")
    decisive = {name: value for name, value in course.items() if name not in left_out}
    decisive["start"] = start_id(config)
    decisive |= {name: file_id(named) for name, named in named_files(config).items()}
    own = [named.rpartition(":")[2] for named in config.rewards]
    decisive["stages"] = [
        {
            **plan.model_dump(mode="json", exclude={"preset", "weights"}),
            "weights": {name: weight for name, weight in plan.reward(own).weights.items() if weight},
            "trainer": config.trainer(plan).identity(),
        }
        for plan in config.stages
    ]
    return decisive


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode()).hexdigest()[:8]
