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
