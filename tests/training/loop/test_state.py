"""Files of a loop and of a checkpoint are read within bounds."""

from pathlib import Path

import pytest

from deeprec.training.loop.state import STATE_FILE, read_state
from deeprec.trm_tool import ConfigError


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version": ' + "9" * 5_000 + "}"])
def test_a_hostile_state_of_a_loop_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"loop.json cannot be read .*(nested too deeply|5,000 digits)"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("text", "field"), [('{"steps": 5}', "steps"), ('{"identity": []}', "identity"), ("[]", "the file")]
)
def test_a_state_of_another_shape_names_the_field(text: str, field: str, tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(ConfigError, match=rf"loop.json: {field}: .*Restore it") as raised:
        read_state(tmp_path)
    assert "\n" not in str(raised.value)
