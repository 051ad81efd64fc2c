"""Ids of any characters can be named on the command line, and printed commands can be pasted."""

import shlex
from pathlib import Path

import pytest

from deeprec.trm_tool import ConfigError
from deeprec.trm_tool.cli.item_ids import read_ids, show_ids

AWKWARD = (
    "Crème, brûlée 4",
    "SKU 9/A",
    "https://shop.invalid/p?id=2&c=1,2",
    '[3] #tag|"x"',
    "it's",
    "@home",
    "🍮",
    "7",
)


@pytest.mark.parametrize("ids", [AWKWARD, AWKWARD[:1], AWKWARD[3:4], AWKWARD[5:6], ("1", "2"), ("7",), ("a b", "c")])
def test_a_printed_command_names_the_same_ids_again(ids: tuple[str, ...]) -> None:
    option, *words = shlex.split(show_ids("--history", ids))
    values = [word for word in [*words] if word != option]
    assert option == "--history"
    assert read_ids(values) == list(ids)


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (None, []),
        ([""], []),
        (["1, 2,,3"], ["1", "2", "3"]),
        (["a,b"], ["a,b"]),
        (["a,b", "c"], ["a,b", "c"]),
        (['"x, y",z'], ["x, y", "z"]),
    ],
)
def test_ids_are_separated_by_commas_or_given_one_by_one(values: list[str] | None, ids: list[str]) -> None:
    assert read_ids(values, {"a,b"}) == ids


def test_ids_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("\ufeff" + "\r\n".join(AWKWARD) + "\n\n", encoding="utf-8")
    assert read_ids([f"@{file}"]) == list(AWKWARD)
    file.write_bytes(b"\xff\xfe1")
    with pytest.raises(ConfigError, match=r"ids\.txt cannot be read"):
        read_ids([f"@{file}"])
    with pytest.raises(ConfigError, match="the option twice"):
        read_ids(["@home"])
    assert read_ids(["@home"], {"@home"}) == ["@home"]


def test_an_open_quote_is_named() -> None:
    with pytest.raises(ConfigError, match="Give the option again for each id"):
        read_ids(['"a,b'])
