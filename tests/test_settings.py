"""One declaration of the agent's settings: each field of `AgentConfig` works wherever settings are given."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deeprec.agent import AgentConfig, TraceStore, make_agent_config
from deeprec.agent.cli.main import app
from deeprec.evals import Suite
from deeprec.training import LoopConfig
from deeprec.trm_tool import ConfigError
from tests.tiny_server import serve_tiny

SETTINGS = [field.name for field in dataclasses.fields(AgentConfig)]
FIXED_IN_LOOPS = ("guided", "temperature", "top_p")


def other_value(name: str) -> Any:
    """A value of a setting that is valid and is not its default."""
    default = getattr(AgentConfig(), name)
    if name == "prompts":
        return "instruct"
    if name == "thinks":
        return False
    if name in ("guided_positions", "own_k", "max_retrieve_k"):
        return 3
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    return default / 2 if default else 0.5


def given(*left_out: str) -> dict[str, Any]:
    return {name: other_value(name) for name in SETTINGS if name not in left_out}


def suite(**agent: Any) -> Suite:
    return Suite.model_validate({"name": "s", "baseline": "trm", "systems": ["trm"], "agent": agent})


def loop(**agent: Any) -> LoopConfig:
    stage = {"stage": "interaction", "steps": 1, "users": 2, "group_size": 2}
    return LoopConfig.model_validate(
        {"name": "l", "artifact": "a", "stages": [stage], "validation": {"users": 2, "every": 1}, "agent": agent}
    )


def test_every_setting_is_an_option_of_recommend_and_is_logged_with_the_run(
    tmp_path: Path, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [
        f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
        + ("" if isinstance(value, bool) else f"={value}")
        for name, value in given("guided").items()
    ]
    with serve_tiny() as server:
        start = [
            "recommend",
            "--history",
            "900",
            "--artifact",
            str(artifact_folder),
            "--base-url",
            server.base_url,
            "--json",
        ]
        options += ["--exclude", "893,886", "--where", '{"price": {"max": 20}}']
        result = CliRunner().invoke(app, [*start, *options, "--free", "--store", "traces.db"])
        assert result.exit_code == 0, result.output
        with TraceStore("traces.db") as store:
            logged = store.run(json.loads(result.stdout)["run_id"]).run
    assert (logged.config["exclude"], logged.config["where"]) == (["893", "886"], {"price": {"max": 20}})
    assert {name: logged.config[name] for name in SETTINGS} == given("guided") | {"guided": False}


def test_every_setting_is_a_key_of_a_suites_agent_block() -> None:
    block = given("k", "guided")
    made = suite(**block).agent_config(guided=True)
    assert {name: getattr(made, name) for name in block} == block
    assert (made.k, made.guided) == (10, True)
    for name in ("k", "guided"):
        with pytest.raises(ValueError, match=f"{name} cannot be set in this block"):
            suite(**{name: other_value(name)})


def test_every_setting_is_a_key_of_a_loops_agent_block() -> None:
    block = given(*FIXED_IN_LOOPS)
    made = loop(**block).agent_config(guided=True)
    assert {name: getattr(made, name) for name in block} == block
    assert (made.temperature, made.top_p, made.guided) == (1.0, 1.0, True)
    for name in FIXED_IN_LOOPS:
        with pytest.raises(ValueError, match=f"{name} cannot be set in this block"):
            loop(**{name: other_value(name)})


def test_suites_loops_and_commands_have_the_defaults_of_the_agent() -> None:
    patient = AgentConfig(max_seconds=7_200)
    assert suite().agent_config() == patient
    assert loop().agent_config(guided=False) == patient
    assert make_agent_config({}) == AgentConfig()


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in FIXED_IN_LOOPS])
def test_a_setting_changes_the_identity_of_a_loop_only_where_it_is_not_the_default(name: str) -> None:
    assert loop(**{name: getattr(loop().agent_config(guided=False), name)}).course() == loop().course()
    assert loop(**{name: other_value(name)}).course() != loop().course()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_refuses_another_type(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"AgentConfig\.{name} is 'nonsense'; it should be (a valid|'trained')"):
        AgentConfig(**{name: "nonsense"})


def test_fewer_retrievals_than_a_guided_model_makes_by_default_lower_that_number() -> None:
    assert make_agent_config({"max_retrievals": 1}).min_retrievals == 1
    with pytest.raises(ConfigError, match="min_retrievals is 2, above max_retrievals"):
        make_agent_config({"max_retrievals": 1, "min_retrievals": 2})


def test_an_unknown_setting_names_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'colour'\. Choose from guided, guided_by_message"):
        make_agent_config({"colour": "red"})
