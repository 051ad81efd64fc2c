"""Options that are declared once for several commands: one parameter of a command stands for a group of options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SettingsOf:
    """The mark of a parameter `Annotated[dict, SettingsOf(X)]`: it takes the fields of a dataclass that the user named.

    Every field of the dataclass is an option. Its help is the field's docstring, its range the field's (`Ge`, `Le`, or
    pydantic's `Field`), and the default that the help shows is the field's.
    """

    settings: type
    flags: Mapping[str, str] = field(default_factory=dict)
    """Field -> the option's names, where they are not made from the field's."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Field -> the default that the help shows, where the field's own explains too little."""


def option_groups(command: Callable[..., Result]) -> Callable[..., Result]:
    """Turn each parameter of a command that stands for a group of options into those options.

    A parameter stands for a group if its type is a dataclass whose fields are annotated as options (the command is
    called with an instance), or if it is marked with `SettingsOf` (the command is called with a dict of what the user
    named). The default of a dataclass parameter, where there is one, gives the options their defaults.

    Args:
        command: a function for `typer`.
    Returns:
        The function with a signature that `typer` reads. It takes keyword arguments only.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: dict[str, inspect.Parameter] = {}
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        marks = [mark for mark in get_args(hints[name])[1:] if isinstance(mark, SettingsOf)]
        if marks:
            members, make = _settings_options(marks[0]), _named
        elif is_dataclass(hints[name]):
            members, make = _dataclass_options(hints[name], parameter.default), hints[name]
        else:
            members, make = {name: (hints[name], parameter.default)}, None
        if make is not None:
            groups[name] = (make, list(members))
        for member, (annotation, default) in members.items():
            if member in parameters:
                raise TypeError(f"{command.__name__} has two options named {member!r}.")
            parameters[member] = inspect.Parameter(
                member, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )

    @functools.wraps(command)
    def called(**given: Any) -> Result:
        grouped = {
            name: make(**{member: given.pop(member) for member in members}) for name, (make, members) in groups.items()
        }
        return command(**given, **grouped)

    del called.__wrapped__  # typer would read the types of the function's own parameters
    called.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    called.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return called


def _dataclass_options(group: type, default: Any) -> dict[str, tuple[Any, Any]]:
    """Name -> (annotation, default) for each field."""
    hints = get_type_hints(group, include_extras=True)
    given = default is not inspect.Parameter.empty
    return {
        each.name: (hints[each.name], getattr(default, each.name) if given else each.default) for each in fields(group)
    }


def _settings_options(group: SettingsOf) -> dict[str, tuple[Any, Any]]:
    from pydantic import TypeAdapter

    hints = get_type_hints(group.settings)
    schemas = TypeAdapter(group.settings).json_schema()["properties"]
    options = {}
    for each in fields(group.settings):
        schema = schemas[each.name]
        limits = schema.get("anyOf", [schema])[0]
        flags = (group.flags[each.name],) if each.name in group.flags else ()
        shown = group.defaults.get(each.name, False if each.default is None else str(each.default))
        option = typer.Option(
            *flags,
            help=" ".join(schema["description"].split()),
            min=limits.get("minimum"),
            max=limits.get("maximum"),
            show_default=shown,
        )
        options[each.name] = (Annotated[hints[each.name] | None, option], None)
    return options


def _named(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
