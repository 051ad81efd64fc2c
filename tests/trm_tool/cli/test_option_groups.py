from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from pydantic import ConfigDict, Field
from typer.testing import CliRunner

from deeprec.trm_tool.cli.option_groups import SettingsOf, option_groups


@dataclass(frozen=True, kw_only=True)
class Where:
    city: Annotated[str | None, typer.Option(help="A city.")] = None
    radius: Annotated[int, typer.Option("--km", min=1, help="Kilometres.")] = 5


@dataclass(frozen=True, kw_only=True)
class Oven:
    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    heat: Annotated[int, Field(ge=1, le=9)] = 4
    """How hot
    it gets."""
    lit: bool = False
    """Whether it burns."""
    rest: Annotated[float, Field(gt=0)] | None = None
    """Minutes of rest."""


NEAR = Where(city="Bonn")


def run(command: Any, *arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}).output


@option_groups
def visit(name: Annotated[str, typer.Argument()], where: Where, loud: bool = False) -> None:
    print(name, where, loud)


@option_groups
def visit_near(where: Where = NEAR) -> None:
    print(where)


@option_groups
def bake(
    minutes: int,
    oven: Annotated[dict[str, Any], SettingsOf(Oven, flags={"lit": "--lit/--cold"}, defaults={"rest": "none at all"})],
) -> None:
    print(minutes, oven)


def test_a_dataclass_of_options_reaches_the_command_as_one() -> None:
    assert run(visit, "Ann", "--city", "Kiel", "--km", "7") == "Ann Where(city='Kiel', radius=7) False\n"
    assert run(visit, "Ann", "--loud") == "Ann Where(city=None, radius=5) True\n"
    assert "'--km': Input should be greater than or equal to 1" in run(visit, "Ann", "--km", "0")


def test_a_command_may_have_defaults_of_its_own() -> None:
    assert run(visit_near) == "Where(city='Bonn', radius=5)\n"


def test_settings_reach_the_command_as_those_that_were_named() -> None:
    assert run(bake, "3", "--heat", "9", "--cold") == "3 {'heat': 9, 'lit': False}\n"
    assert run(bake, "3") == "3 {}\n"


def test_help_and_range_of_a_setting_are_those_of_its_field() -> None:
    help_text = run(bake, "--help")
    for part in ("How hot it gets.", "[default: (4)]", "1<=x<=9", "--lit", "--cold", "[default: (none at all)]"):
        assert part in help_text
    assert "'--heat': Input should be less than or equal to 9" in run(bake, "3", "--heat", "10")


def test_two_options_of_one_name_are_refused() -> None:
    def command(city: str, where: Where) -> None: ...

    with pytest.raises(TypeError, match="two options named 'city'"):
        option_groups(command)
