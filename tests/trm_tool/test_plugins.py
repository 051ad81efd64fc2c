"""Code of a user's own, by `module:function` or `path.py:function`."""

from pathlib import Path

import pytest

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.plugins import load_function


def load(name: str) -> object:
    return load_function(name, role="scorer", takes="two numbers")(2, 3)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "beside_plugin.py").write_text("FACTOR = 10\n")
    file = tmp_path / "plugin_of_a_test.py"
    file.write_text("from beside_plugin import FACTOR\ndef add(a, b):\n    return FACTOR * (a + b)\nsize = 3\n")
    (tmp_path / "plugin_that_fails.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    return file


def test_a_function_is_found_by_its_file_and_by_its_module(own: Path) -> None:
    assert load(f"{own}:add") == 50
    assert load("plugin_of_a_test:add") == 50


def test_code_that_a_shared_file_names_is_announced_before_it_runs(
    own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "plugin_that_fails.py").write_text("import a_module_that_nobody_has\n")
    for name in ("plugin_that_fails.py:add", "plugin_that_fails:add"):
        caplog.clear()
        with pytest.raises(ConfigError, match="cannot be imported"):
            load_function(name, role="reward", takes="a trace", named_in="The loop shared")
        place = name.removesuffix(":add")
        assert caplog.messages == [f"The loop shared names the reward {name}: the code of {place} runs now."]
    caplog.clear()
    load(f"{own}:add")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("add", "'add' names no scorer. Write module:function or path.py:function."),
        (":add", "names no scorer"),
        ("plugin_of_a_test:", "names no scorer"),
        ("plugin_of_a_tset:add", "There is no module 'plugin_of_a_tset'"),
        ("absent.py:add", "There is no file absent.py"),
        ("plugin_of_a_test:sub", "has no function 'sub'. It has add. Name one that takes two numbers."),
        ("plugin_of_a_test:size", "is a int and not a function. Name one that takes two numbers."),
        ("plugin_that_fails:add", "plugin_that_fails cannot be imported: .*a_module_that_nobody_has"),
        ("plugin_that_fails.py:add", "plugin_that_fails.py cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_loaded_says_why_in_one_line(own: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        load(name)
    assert "\n" not in str(error.value)
