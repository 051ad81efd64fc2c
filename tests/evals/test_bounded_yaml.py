"""Settings files from elsewhere: a small text may not take the memory or the time of the machine."""

from itertools import pairwise
from pathlib import Path

import pytest

from deeprec.evals import load_suite
from deeprec.trm_tool import ConfigError

START = "name: s\nbaseline: trm\nsystems: [trm]\n"


def laughs(lines: int) -> str:
    names = [f"a{number}" for number in range(lines)]
    parts = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    parts += [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise(names)]
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (laughs(9), r"has [\d,]+ characters where each alias is written out, and may have 1,000,000"),
        ("a: &a [*a]", "has an alias that stands within what it names"),
        ("x: " + "[" * 5_000 + "]" * 5_000, "nests more than 50 mappings and lists"),
        (START + "seed: " + "9" * 5_000, "has a value that cannot be read"),
        (START + "seed: 0x" + "f" * 5_000, "has a number of 20,000 bits, and reads up to 63"),
        (START + "seed: " + ":".join(["59"] * 100), r"has a number of \d+ bits"),
        (START + "day: 2026-02-31", "has a value that cannot be read: day is out of range"),
    ],
    ids=["aliases", "cycle", "depth", "digits", "hex", "sixties", "day"],
)
def test_what_is_beyond_the_bounds_is_refused_by_one_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "shared.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"shared\.yaml {why}"):
        load_suite(tmp_path / "shared.yaml")


def test_an_alias_may_repeat_a_value(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nbaseline: &only trm\nsystems: [*only]\n")
    assert load_suite(tmp_path / "mine.yaml").baseline == "trm"
