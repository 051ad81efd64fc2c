"""A suite: which systems are run, for whom, on which data. A small YAML file, read strictly."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from deeprec.evals.requests.cases import Case, make_cases
from deeprec.evals.settings_file import parse_settings, read_settings_text
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.errors import ConfigError

EMBEDDED = "ml-100k"
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._ +-]*$")]


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands there twice, and would draw the same runs again; name each once")
    return seeds


Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=10**9)], ...], AfterValidator(_each_once)]


class Entry(BaseModel):
    """One system of a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    """What it is: a name of `SYSTEMS`."""
    name: Name
    """What its row is called; the system's own name unless given."""
    model: str | None = None
    """A model or a LoRA adapter of the server, by the name that it has there; None is the server's only model."""
    seeds: Seeds = ()
    """Of the sampling, one run of every user each; empty takes the suite's."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"system": value}
        return {"name": value.get("system"), **value} if isinstance(value, dict) else value


class Suite(BaseModel):
    """What a suite's file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    data: str = EMBEDDED
    """`ml-100k`, the embedded data, or a folder of RecBole files; from the suite's own folder, where relative."""
    split: Literal["test", "valid"] = "test"
    users: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """How many, drawn by `users_seed`, or all."""
    users_seed: int = 0
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    """Items in a list."""
    retrieve_k: Annotated[int, Field(ge=1, le=1000)] = 10
    """Items that one call of the recommender returns to an agent."""
    trust: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of an agent's preferences; without it the recommender's own."""
    max_history: Annotated[int, Field(ge=1)] = 20
    max_retrievals: Annotated[int, Field(ge=1)] = 3
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_turn_tokens: Annotated[int, Field(ge=1)] = 512
    seeds: Seeds = (0,)
    baseline: str
    """The system that every other one is compared with."""
    systems: tuple[Entry, ...]

    @field_validator("seeds")
    @classmethod
    def _some_seed(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds:
            raise ValueError("give at least one seed")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> Suite:
        names = [entry.name for entry in self.systems]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two systems are called {twice[0]!r}; give one of them another `name`")
        if self.baseline not in names:
            raise ValueError(f"the baseline {self.baseline!r} is none of the systems ({', '.join(names)})")
        return self


def load_suite(name_or_path: str | Path) -> Suite:
    """Read a suite by the name of a packaged one (`packaged_suites`) or by its file.

    Raises:
        ConfigError: no such suite, or one that cannot be read: names the field and what is wrong with it.
    """
    path = Path(name_or_path)
    if str(name_or_path) in packaged_suites():
        source, text = f"suite {name_or_path}", (files("deeprec.evals") / "suites" / f"{path}.yaml").read_text("utf-8")
    elif path.is_file():
        source, text = str(path), read_settings_text(path)
    else:
        known = ", ".join(packaged_suites())
        raise ConfigError(f"There is no suite {str(name_or_path)[:200]!r}. Name a YAML file, or one of {known}.")
    suite = parse_settings(source, text, Suite)
    if suite.data == EMBEDDED or Path(suite.data).is_absolute():
        return suite
    return suite.model_copy(update={"data": str(path.parent / suite.data)})


def packaged_suites() -> list[str]:
    """The names of the suites that come with the package."""
    folder = files("deeprec.evals") / "suites"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def suite_cases(suite: Suite, dataset: Dataset) -> list[Case]:
    """Whom the suite is run for: all users, or as many as it says, in the order of the data."""
    cases = make_cases(dataset, suite.split)
    if suite.users == "all" or suite.users >= len(cases):
        return cases
    drawn = set(random.Random(suite.users_seed).sample(range(len(cases)), suite.users))
    return [case for place, case in enumerate(cases) if place in drawn]


def suite_label(suite: Suite, dataset: Dataset, artifact_fingerprint: str) -> str:
    """Under which name the runs are stored: the suite's, and a fingerprint of what makes them comparable.

    The users, the data, the split, the settings and the recommender are in it, the list of systems is not: a system
    added later joins those that ran before.
    """
    told = suite.model_dump(mode="json", exclude={"systems", "baseline", "data", "seeds"}, exclude_none=True)
    told |= {"data": dataset.fingerprint, "recommender": artifact_fingerprint}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"{suite.name}@{digest[:8]}"


def entry_seeds(suite: Suite, entry: Entry) -> Sequence[int]:
    """Of the sampling of one system."""
    return entry.seeds or suite.seeds
