"""Making the systems that the entries of a suite name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from deeprec.evals.suites.suite import Entry, Suite
from deeprec.evals.systems.setting import Setting
from deeprec.evals.systems.suite_systems import AgentSystem, AnySystem, DerivedSystem
from deeprec.trm_tool.errors import ConfigError, DeepRecError
from deeprec.trm_tool.plugins import load_function


def make_entry_systems(
    setting: Setting, systems: Mapping[str, Callable[[Setting], AnySystem]], only: Sequence[str]
) -> list[tuple[Entry, AnySystem]]:
    """Make all systems of a suite, in the suite's order.

    Args:
        setting: What systems are made from.
        systems: What names in the suite mean; `module:function` and `path.py:function` are imported.
        only: Names of the entries that are meant to run.

    Raises:
        ConfigError: `only` names an entry that the suite lacks, an entry names no system, or a derived system has no
            source in the suite; or a system without an agent has settings of one.
    """
    suite = setting.suite
    unknown = [name for name in only if name not in {entry.name for entry in suite.systems}]
    if unknown:
        known = ", ".join(entry.name for entry in suite.systems)
        raise ConfigError(f"The suite {suite.name} has no system {unknown[0]!r}; it has {known}.")
    made = []
    for entry in suite.systems:
        own = setting
        if entry.agent:
            own = replace(setting, suite=suite.model_copy(update={"agent": {**suite.agent, **entry.agent}}))
        if entry.system in systems:
            system = systems[entry.system](own)
        elif ":" in entry.system:
            system = _own_system(suite.path_of(entry.system), own)
        else:
            raise ConfigError(
                f"The suite {suite.name} names the system {entry.system!r}, which is not known. Choose one of "
                f"{', '.join(systems)}, or name a function of your own: module:function or path.py:function."
            )
        if (entry.agent or entry.signals) and not isinstance(system, AgentSystem):
            raise ConfigError(
                f"{entry.name} has {'agent' if entry.agent else 'signals'} in the suite {suite.name}, and the system "
                f"{entry.system} is not an agent. Leave it out; the recommender alone with signals is trm-signals."
            )
        if isinstance(system, DerivedSystem):
            source_entry(suite, entry, system)
        made.append((entry, system))
    return made


def shuffled_entries(made: Sequence[tuple[Entry, AnySystem]]) -> dict[str, str]:
    """Entry whose candidates are shuffled -> the entry that equals it otherwise, its model included."""
    return {
        entry.name: other.name
        for entry, system in made
        if isinstance(system, AgentSystem) and system.is_shuffled
        for other, twin in made
        if twin == replace(system, is_shuffled=False) and (other.model, other.signals) == (entry.model, entry.signals)
    }


def _own_system(name: str, setting: Setting) -> AnySystem:
    """Make a system with a function of a user's own, which is imported."""
    make = load_function(name, role="system", takes="a Setting", named_in=f"The suite {setting.suite.name}")
    try:
        system = make(setting)
    except DeepRecError:
        raise
    except Exception as error:
        raise ConfigError(
            f"The system {name!r} cannot be made: {type(error).__name__}: {error}. Correct the function; it is called "
            "with a Setting."
        ) from error
    if not isinstance(system, AnySystem):
        raise ConfigError(
            f"The system {name!r} is a {type(system).__name__}. Return a System, an AgentSystem or a DerivedSystem."
        )
    return system


def source_entry(suite: Suite, entry: Entry, system: DerivedSystem) -> Entry:
    """The entry whose runs a derived system reads: the one of that name, else the only one of that system.

    Raises:
        ConfigError: the suite has none, or several and none of that name.
    """
    found = [other for other in suite.systems if other.name == system.source]
    found = found or [other for other in suite.systems if other.system == system.source]
    if not found:
        raise ConfigError(
            f"{entry.name} reads the runs of {system.source}, and the suite {suite.name} has no such system. Add it."
        )
    if len(found) > 1:
        names = ", ".join(other.name for other in found)
        raise ConfigError(
            f"{entry.name} reads the runs of {system.source}, and the suite {suite.name} has {len(found)} entries of "
            f"that system ({names}). Give the one that is meant the name {system.source}."
        )
    return found[0]
