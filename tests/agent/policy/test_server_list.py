"""Servers behind one list of addresses have to serve the same weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deeprec.agent.policy.completion import ServedModel
from deeprec.agent.policy.server_address import server_addresses, split_base_url
from deeprec.agent.policy.server_list import same_model
from deeprec.trm_tool import ConfigError

ONE = ServedModel(name="m", max_model_len=8192, models=("m",), adapters=("a", "b"), base_fingerprint="x")
PLACES = ("http://one/v1", "http://two/v1")


def test_servers_that_are_alike_have_what_all_of_them_have() -> None:
    other = replace(ONE, max_model_len=4096, adapters=("b",))
    found = same_model([ONE, other], PLACES)
    assert (found.max_model_len, found.adapters) == (4096, ("b",))
    assert same_model([ONE], PLACES[:1]) == ONE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "n"}, "the name is 'm' and 'n'"),
        ({"base_fingerprint": "y"}, "the base fingerprint is 'x' and 'y'"),
    ],
)
def test_other_weights_are_refused_with_both_addresses(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"http://one/v1 and http://two/v1 differ: {message}"):
        same_model([ONE, replace(ONE, **changes)], PLACES)  # type: ignore[arg-type]


def test_weights_that_a_server_does_not_show_are_unknown_and_not_other_ones() -> None:
    shown, hidden = replace(ONE, adapter_fingerprint="a"), replace(ONE, base_fingerprint=None)
    for found in ([shown, hidden], [hidden, shown]):
        served = same_model(found, PLACES)
        assert (served.base_fingerprint, served.adapter_fingerprint) == (None, None)
    assert same_model([shown, shown], PLACES).adapter_fingerprint == "a"
    assert same_model([ONE, replace(ONE, base_fingerprint="x-z")], PLACES).base_fingerprint == "x"  # of another kind
    other = replace(ONE, base_fingerprint="y")
    with pytest.raises(ConfigError, match=r"http://one/v1 and http://three/v1 differ: the base fingerprint"):
        same_model([ONE, hidden, other], [*PLACES, "http://three/v1"])


def test_a_list_is_split_between_addresses_alone() -> None:
    assert server_addresses("http://one:8000/v1 , https://me:a,b@two") == ["http://one:8000/v1", "https://me:a,b@two"]
    with pytest.raises(ConfigError, match="stands twice"):
        server_addresses("http://one/v1,http://one")
    with pytest.raises(ConfigError, match="The server's address is"):
        split_base_url("http://one/v1,http://two/v1")  # where one server is asked for
