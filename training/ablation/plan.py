"""The plan of an ablation: a small YAML file of a base loop, a test and rows, read strictly.

    name: requests
    loop: {artifact: .deeprec/trm/ml-100k-holdout3, requests: made, start: shipped, stages: […], validation: {…}}
    test: {users: 300, version: last}
    rows:
      full: {piece: The full method}
      recommender: {piece: The whole method, policy: none, system: trm}
      no-stage-1: {piece: The first stage, change: {stages: {interaction: null}}}
    sizes:
      gpu: {loop: {base: Qwen/Qwen2.5-7B-Instruct}, test: {users: all}}

A size is a change of loop and test that all rows have; it may choose among the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os.path import abspath
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deeprec.agent.serving.shipped_adapter import SHIPPED_ADAPTER_FOLDER
from deeprec.evals.requests.request_cases import MADE_TEST
from deeprec.evals.settings_file import FileSettings, first_fault, packaged_settings, read_settings
from deeprec.evals.suites.suite import Name
from deeprec.training.ablation.row_settings import (
    RECOMMENDER,
    AblationRow,
    AblationTest,
    RowSettings,
    changed_loop,
    file_id,
    make_row,
    named_files,
)
from deeprec.training.loop.config import LoopConfig
from deeprec.trm_tool.data.folder import EMBEDDED
from deeprec.trm_tool.errors import ConfigError

FULL, ALONE = "full", "recommender"
"""The rows that every other row is compared with."""
DEFAULT_SIZE = "cpu"
"""The size of the plan as it stands, on a machine without a GPU."""
SHIPPED = "shipped"
"""The `start` of a loop that begins with the adapter that comes with the package."""
_PACKAGE = "deeprec.training.ablation"
_NAME_ROOM = 24
"""Characters of a plan's name: those of its loops, which may have 40, have the part behind it."""


class AblationSize(BaseModel):
    """Another size of the same plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loop: Mapping[str, Any] = {}
    """A change of the base loop, as that of a row."""
    test: Mapping[str, Any] = {}
    rows: tuple[str, ...] = ()
    """The rows of this size, `full` and `recommender` among them; empty takes all."""
    policy: Literal["stages", "start", "untrained"] = "stages"
    """What the rows evaluate that would train the stages; with `start` or `untrained` no stage is trained."""
    system: Literal["deeprec-free", "deeprec-guided"] = "deeprec-free"
    """How these rows evaluate it."""


class AblationPlan(FileSettings):
    """The content of a plan's file."""

    name: Annotated[Name, Field(max_length=_NAME_ROOM)]
    loop: Mapping[str, Any]
    """The fields of `LoopConfig` but `name`: the full method. `start: shipped` is the adapter of the package."""
    test: AblationTest = AblationTest()
    rows: Mapping[Name, AblationRow]
    """Name -> row. `full` is the base loop as it is, `recommender` the recommender alone."""
    sizes: Mapping[Name, AblationSize] = {}
    """Name -> another size. The plan as it stands is the size `cpu`."""
    size: str = DEFAULT_SIZE
    """The size that the plan stands for (`sized`); files leave it out."""

    def sized(self, name: str) -> AblationPlan:
        """The same plan in another size.

        Raises:
            ConfigError: there is no such size; the message names those that there are.
        """
        if name == self.size:
            return self
        if name not in self.sizes:
            known = ", ".join((self.size, *self.sizes))
            raise ConfigError(f"The plan {self.name} has no size {name[:60]!r}. Choose one of {known}.")
        return self._sized(name)

    def settings(self) -> dict[str, RowSettings]:
        """The settings of every row, by name, in the plan's order."""
        return {name: self._row(name) for name in self.rows}

    def check_rows(self, names: Iterable[str]) -> None:
        """Raise ConfigError for the first name that is not a row in this size; the message names the rows."""
        for name in names:
            if name not in self.rows:
                known = ", ".join(self.rows)
                raise ConfigError(f"The plan {self.name} has no row {name[:60]!r} in size {self.size}. It has {known}.")

    @property
    def test_requests(self) -> str:
        """The requests that rows are measured on, where the loop has requests: a file, or `made`."""
        return MADE_TEST if self.test.requests is None else self.path_of(self.test.requests)

    def file_ids(self) -> dict[str, str]:
        """Compute the sha256 of the files of requests and rewards that the plan names, by settings (`loop.requests`).

        Data, recommender and models have fingerprints of their own. A file that is not there yet has none.
        """
        settings = self.settings()
        shared = named_files(settings[FULL].config)
        named = {f"loop.{field}": file for field, file in shared.items()}
        for name, own in settings.items():
            changed = named_files(own.config).items() - shared.items()
            named |= {f"rows.{name}.{field}": file for field, file in changed}
        if self.test.requests is not None:
            named["test.requests"] = self.test_requests
        return {setting: file_id(file) for setting, file in named.items() if Path(file).is_file()}

    def named_paths(self) -> list[str]:
        """List the folders and files that the loops of all rows and sizes name."""
        plans = (self, *(self._sized(name) for name in self.sizes))
        found: set[str] = set()
        for plan in plans:
            found.update(filter(None, (plan.test.requests,)))
            for name in plan.rows:
                found.update(plan._row(name).config.named_paths())
        return sorted(found - {str(SHIPPED_ADAPTER_FOLDER)})

    @model_validator(mode="after")
    def _consistent(self) -> AblationPlan:
        for plan in (self, *(self._sized(name) for name in self.sizes)):
            faults = plan._faults()
            if fault := next(faults, None):
                raise ValueError(fault if plan is self else f"size {plan.size}: {fault}")
        return self

    def _faults(self) -> Iterator[str]:
        if "name" in self.loop:
            yield "loop.name: the loops are named after the plan; leave it out"
            return
        if not {FULL, ALONE} <= self.rows.keys():
            yield f"rows: give {FULL} and {ALONE}, which every other row is compared with"
            return
        if self.rows[FULL].change or self.rows[FULL].policy in ("dpo", "none"):
            yield f"rows.{FULL}: it is the base loop as it is; change the loop instead"
            return
        if (self.rows[ALONE].policy, self.rows[ALONE].system) != ("none", RECOMMENDER):
            yield f"rows.{ALONE}: it is the recommender alone; write policy: none and system: {RECOMMENDER}"
            return
        if self.loop.get("requests") not in (None, MADE_TEST) and self.test.requests is None:
            yield "test: loop.requests is a file; name another file as test.requests, to measure on"
            return
        seen: list[tuple[Any, str]] = []
        for name in self.rows:
            try:
                effect = self._row(name).effect()
            except ValidationError as error:
                yield f"rows.{name}: {first_fault(error, LoopConfig)}"
                return
            except ValueError as error:
                yield f"rows.{name}: {error}"
                return
            for other, twin in seen:
                if effect == other:
                    yield f"rows.{name}: it changes nothing of {twin}, and both would measure the same; drop one"
                    return
            seen.append((effect, name))

    def _sized(self, name: str) -> AblationPlan:
        """The plan in another size, unchecked: the whole plan is checked with all its sizes."""
        size = self.sizes[name]
        unknown = [row for row in size.rows if row not in self.rows]
        if unknown:
            raise ValueError(f"sizes.{name}.rows: there is no row {unknown[0]!r}; there are {', '.join(self.rows)}")
        try:
            test = AblationTest.model_validate({**self.test.model_dump(), **size.test})
            loop = changed_loop(self.loop, size.loop)
        except ValidationError as error:
            raise ValueError(f"sizes.{name}.test: {first_fault(error, AblationTest)}") from error
        except ValueError as error:
            raise ValueError(f"sizes.{name}: {error}") from error
        rows = {
            row: own.model_copy(update={"policy": size.policy, "system": size.system})
            if own.policy == "stages"
            else own
            for row, own in self.rows.items()
            if not size.rows or row in size.rows
        }
        return self.model_copy(update={"loop": loop, "test": test, "rows": rows, "sizes": {}, "size": name})

    def _row(self, name: str) -> RowSettings:
        row = self.rows[name]
        return make_row(name, row, self._resolved(changed_loop(self.loop, row.change)))

    def _resolved(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a row's loop, its paths seen from the current folder."""
        loop = {**changed, "name": self.name}
        if loop.get("start") == SHIPPED:
            loop["start"] = str(SHIPPED_ADAPTER_FOLDER)
        for field, kept in (("artifact", ()), ("data", (EMBEDDED,)), ("start", ()), ("base", ())):
            if isinstance(loop.get(field), str) and loop[field] not in kept:
                loop[field] = self._path(loop[field], is_base=field == "base")
        for field in ("requests", "validation_requests"):
            if isinstance(loop.get(field), str) and loop[field] != MADE_TEST:
                loop[field] = self._path(loop[field])
        if isinstance(loop.get("rewards"), list):
            # A part's loop goes on from another current folder too, and refuses rewards of other names.
            # Before the plan's folder is known, names stay as the file has them.
            known = self._paths
            loop["rewards"] = [abspath(known[each]) if each in known else each for each in map(str, loop["rewards"])]
        return loop

    def _path(self, named: str, *, is_base: bool = False) -> str:
        """A path as seen from the current folder; a base model that is no folder is an id of Hugging Face."""
        path = self.path_of(named)
        return named if is_base and not Path(path).exists() else path


def load_ablation_plan(name_or_path: str | Path) -> AblationPlan:
    """Read a plan by the name of a packaged one (`packaged_ablations`) or by its file.

    Raises:
        ConfigError: there is no such plan, or it cannot be read, or one of its rows changes nothing: names the field
            and what is wrong with it.
    """
    return read_settings(name_or_path, AblationPlan, package=_PACKAGE, what="ablation")


def packaged_ablations() -> list[str]:
    """The names of the plans that come with the package."""
    return packaged_settings(_PACKAGE)
