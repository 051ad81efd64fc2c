"""A suite: which systems are run, for whom, on which data, with which settings. A small YAML file, read strictly.

    name: weekend
    data: shop            # a folder beside this file, or ml-100k
    users: 200
    k: 10
    agent: {max_history: 10, max_retrievals: 3}
    baseline: trm
    systems:
      - trm
      - deeprec-guided
      - {system: deeprec-guided, name: tuned, model: rec-v61}
      - {system: deeprec-guided, name: own-list, signals: true, agent: {own_k: 30}}
      - own_systems.py:newest   # def newest(setting: Setting) -> System: …

With `requests`, the cases are those of a file of requests, or of requests that are made in test words (`made`): one
case for each request and target, and every system gets the request's message.

`agent` takes the settings of `AgentConfig`; what it leaves out has the default there. That of a row replaces them for
the row alone. Suites from before this block
named the settings of the agent at the top level: see `Suite`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from deeprec.agent.graph.config import AgentConfig, make_agent_config
from deeprec.evals.requests.cases import Case, make_cases
from deeprec.evals.requests.request_cases import MADE_TEST, RequestCases, made_request_cases, read_request_cases
from deeprec.evals.settings_file import FileSettings, check_agent_block, packaged_settings, read_settings
from deeprec.trm_tool.data.dataset import Dataset
from deeprec.trm_tool.data.folder import EMBEDDED
from deeprec.trm_tool.recommender import CatalogueView

MAX_RUN_SECONDS = 7_200.0
"""`max_seconds` of suites and loops: many agents wait for one slow server, and their time is not what is compared."""
MAX_REQUEST_SECONDS = 900.0
"""`timeout_s` of their clients, for the same reason: a request that is sent again begins anew."""
_PACKAGE = "deeprec.evals.suites"
_LABELLED = ("retrieve_k", "max_history", "max_retrievals", "temperature", "max_turn_tokens")
"""Settings of the agent that count in every label, as in those of older runs; others count where not the default."""
_TOP_LEVEL = (*_LABELLED, "trust")
"""Settings of the agent that suites named at the top level before they had a block `agent`."""
_FORMER_DEFAULTS = {"max_retrievals": 3}
"""What such suites meant where they left a setting out, and `AgentConfig` has another default."""
_FIXED = {
    "guided": "every system is guided or free by what it is; choose deeprec-guided or deeprec-free",
    "k": "give k at the top level, where it counts for every system",
}
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._ +-]*$")]


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is named twice, and would draw the same runs again; name each once")
    return seeds


Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=10**9)], ...], AfterValidator(_each_once)]


class Entry(BaseModel):
    """One system of a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    """A name of `SYSTEMS`, or a function of your own that makes the system from a `Setting`: `module:function` or
    `path.py:function`, seen from the suite's file."""
    name: Name
    """The name of its row; the name of the system or the function unless given."""
    model: str | None = None
    """A model or a LoRA adapter of the server, by the name that it has there; None is the server's only model."""
    seeds: Seeds = ()
    """Seeds of the sampling, one run of every user for each; empty takes the suite's."""
    protocol: Literal["tagged", "tools"] = "tagged"
    """How the model of an agent calls the recommender."""
    asked: bool = False
    """Whether each user also says what they look for: a message made from the target's attributes, in words that no
    training uses (`RequestMaker`). Such rows know something of the target; they are compared with each other alone."""
    words: Literal["own", "other", "none"] = "own"
    """The words that the system gets in a suite of requests: the request's own, those of another conversation, or none.
    With another person's words, or none, a system should lose no more than its recommender does."""
    agent: Mapping[str, Any] = {}
    """Settings of `AgentConfig` for this row's agent alone, in place of those of the suite."""
    signals: bool = False
    """Whether this row's agent has the recommender with complementary signals, as `trm-signals` has."""

    @field_validator("agent")
    @classmethod
    def _known_settings(cls, agent: Mapping[str, Any]) -> dict[str, Any]:
        return check_agent_block(agent, fixed=_FIXED)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"system": value}
        if not isinstance(value, dict) or not isinstance(value.get("system"), str):
            return value
        return {"name": value["system"].rpartition(":")[2], **value}


class Suite(FileSettings):
    """The content of a suite's file.

    A suite without a block `agent` is read as older versions read it: `retrieve_k`, `trust`, `max_history`,
    `max_retrievals` (3 where it is left out), `temperature` and `max_turn_tokens` stand at the top level.
    """

    name: Name
    data: str = EMBEDDED
    """`ml-100k`, the embedded data, or a folder of RecBole files, seen from the suite's file."""
    split: Literal["test", "valid"] = "test"
    requests: str | None = None
    """A file of requests, seen from the suite's file, or `made`: one request of each person, made in test words from
    the target of the split. Without it each person's history is a case, and nobody says anything."""
    users: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """The number of users, drawn with `users_seed`, or all; of conversations, where there are requests."""
    users_seed: int = 0
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    """Items in the list of every system."""
    agent: Mapping[str, Any] = {}
    """Settings of `AgentConfig` for every agent of the suite."""
    seeds: Seeds = (0,)
    """Seeds of the sampling: one run of every user for each."""
    baseline: str
    """The system that every other one is compared with."""
    systems: tuple[Entry, ...]

    @model_validator(mode="before")
    @classmethod
    def _with_agent_block(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        named = {name: value[name] for name in _TOP_LEVEL if name in value}
        if "agent" not in value:
            return {name: value[name] for name in value if name not in named} | {"agent": _FORMER_DEFAULTS | named}
        if named:
            raise ValueError(f"{next(iter(named))} stands beside the block `agent`; move it into the block")
        return value

    @field_validator("agent")
    @classmethod
    def _known_settings(cls, agent: Mapping[str, Any]) -> dict[str, Any]:
        return check_agent_block(agent, fixed=_FIXED)

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
            raise ValueError(f"the baseline {self.baseline!r} is not one of the systems ({', '.join(names)})")
        for entry in self.systems:
            if entry.asked and self.requests is not None:
                raise ValueError(f"{entry.name} has asked: true, and every system gets the words of `requests`")
            if entry.words != "own" and self.requests is None:
                raise ValueError(f"{entry.name} has words: {entry.words}, and the suite has no `requests`")
        return self

    def named_paths(self) -> list[str]:
        """List the folder of the data and the files of systems of one's own."""
        own = [entry.system for entry in self.systems if ".py:" in entry.system]
        own += [] if self.requests in (None, MADE_TEST) else [str(self.requests)]
        return own if self.data == EMBEDDED else [self.data, *own]

    def agent_config(self, **settings: Any) -> AgentConfig:
        """Make the configuration of one of the suite's agents; `settings` replace those of the suite."""
        return make_agent_config({**self.agent, **settings}, k=self.k, max_seconds=MAX_RUN_SECONDS)


def load_suite(name_or_path: str | Path) -> Suite:
    """Read a suite by the name of a packaged one (`packaged_suites`) or by its file.

    Raises:
        ConfigError: there is no such suite, or it cannot be read: names the field and what is wrong with it.
    """
    suite = read_settings(name_or_path, Suite, package=_PACKAGE, what="suite")
    requests = None if suite.requests is None else suite.path_of(suite.requests)
    return suite.model_copy(update={"data": suite.path_of(suite.data), "requests": requests})


def read_named_data(data: str) -> Dataset:
    """Read the data that a suite or a loop names: `ml-100k` or a folder of RecBole files.

    Raises:
        ConfigError: the embedded data is not installed.
        DataError: as `read_atomic_files`.
    """
    from deeprec.trm_tool.data.atomic_files import embedded_ml100k, read_atomic_files

    return read_atomic_files(embedded_ml100k() if data == EMBEDDED else Path(data))


def packaged_suites() -> list[str]:
    """The names of the suites that come with the package."""
    return packaged_settings(_PACKAGE)


def suite_cases(suite: Suite, dataset: Dataset, catalogue: CatalogueView | None = None) -> list[Case]:
    """Choose the cases of a suite: all users, or as many as it asks for, in the order of the data or the requests.

    Args:
        suite: It may name requests.
        dataset: The suite's data.
        catalogue: The recommender's, which decides about the items of requests; None is the data's own.

    Raises:
        DataError: the file of requests is missing, damaged, or of another catalogue.
        ConfigError: it has no case, or no message.
    """
    requests = suite_requests(suite, dataset, catalogue)
    return draw_cases(suite, make_cases(dataset, suite.split) if requests is None else requests.cases)


def draw_cases(suite: Suite, cases: Sequence[Case]) -> list[Case]:
    """Draw as many users, or conversations of requests, as a suite asks for; their cases stay in order."""
    clusters = list(dict.fromkeys(case.cluster for case in cases))
    if suite.users == "all" or suite.users >= len(clusters):
        return list(cases)
    drawn = {clusters[at] for at in random.Random(suite.users_seed).sample(range(len(clusters)), suite.users)}
    return [case for case in cases if case.cluster in drawn]


def suite_requests(suite: Suite, dataset: Dataset, catalogue: CatalogueView | None = None) -> RequestCases | None:
    """Read or make all requests of a suite, before any are drawn; None for a suite of histories. As `suite_cases`."""
    if suite.requests is None:
        return None
    known = dataset.catalogue if catalogue is None else catalogue
    if suite.requests == MADE_TEST:
        return made_request_cases(dataset, known, suite.split)
    return read_request_cases(Path(suite.requests), known)


def suite_label(suite: Suite, dataset: Dataset, artifact_fingerprint: str, cases: Sequence[Case] = ()) -> str:
    """Name what the runs of a suite are stored under: the suite's name and a fingerprint of what makes them comparable.

    The users, the data, the split, the settings and the recommender count, the list of systems does not: a system that
    is added later joins those that ran before. A setting of the agent that came later counts where it is not the
    default. `cases` count for a suite of requests, whose file may change under the same name.
    """
    agent, defaults = suite.agent_config(), suite.model_copy(update={"agent": {}}).agent_config()
    counted = suite.model_dump(mode="json", include={"name", "split", "users", "users_seed", "k"})
    counted |= {name: getattr(agent, name) for name in _LABELLED}
    counted |= {name: value for name, value in suite.agent.items() if value != getattr(defaults, name)}
    counted |= {"data": dataset.fingerprint, "recommender": artifact_fingerprint}
    if suite.requests is not None:
        asked = [(case.key, case.user, case.history, case.message, case.where) for case in cases]
        counted["requests"] = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    digest = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
    return f"{suite.name}@{digest[:8]}"


def entry_seeds(suite: Suite, entry: Entry) -> Sequence[int]:
    """The seeds of one system's sampling: its own, or else the suite's."""
    return entry.seeds or suite.seeds
