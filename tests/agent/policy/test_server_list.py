"""Servers behind one list of addresses have to serve the same weights, and each run stays on one of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, PolicyUnavailableError, SamplingConfig, build_graph
from deeprec.agent.policy.completion import ServedModel
from deeprec.agent.policy.server_address import server_addresses, split_base_url
from deeprec.agent.policy.server_list import asking_for, same_model
from deeprec.trm_tool import ConfigError, Retriever
from tests.tiny_server import TinyServer, serve_tiny

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
    of_either = replace(ONE, base_fingerprint="org/m@c")
    with pytest.raises(ConfigError, match=r"http://one/v1 and http://three/v1 differ: the base fingerprint"):
        same_model([ONE, of_either, other], [*PLACES, "http://three/v1"])


def test_a_list_is_split_between_addresses_alone() -> None:
    assert server_addresses("http://one:8000/v1 , https://me:a,b@two") == ["http://one:8000/v1", "https://me:a,b@two"]
    with pytest.raises(ConfigError, match="stands twice"):
        server_addresses("http://one/v1,http://one")
    with pytest.raises(ConfigError, match="The server's address is"):
        split_base_url("http://one/v1,http://two/v1")  # where one server is asked for


@pytest.fixture
def second() -> Iterator[TinyServer]:
    with serve_tiny() as running:
        yield running


@pytest.fixture
async def both(server: TinyServer, second: TinyServer) -> AsyncIterator[CompletionPolicy]:
    urls = f"{server.base_url},{second.base_url}"
    async with CompletionPolicy(urls, timeout_s=20, max_retries=1, retry_wait_s=0.01) as policy:
        await policy.connect()
        yield policy


def prompts(server: TinyServer) -> list[list[int]]:
    return [request["prompt"] for request in server.requests if request["path"] == "/v1/completions"]


async def ask(policy: CompletionPolicy, run: int, turns: int = 1, timeout_s: float | None = None) -> None:
    with asking_for(str(run)):
        for turn in range(turns):
            sampling = SamplingConfig(max_tokens=1)
            await policy.complete([run, *range(100, 101 + turn)], sampling=sampling, timeout_s=timeout_s)


async def test_the_turns_of_a_run_go_to_one_server_and_runs_to_all(
    server: TinyServer, second: TinyServer, both: CompletionPolicy
) -> None:
    await asyncio.gather(*(ask(both, run, turns=3) for run in range(8)))
    for run in range(8):
        counts = sorted(sum(prompt[0] == run for prompt in prompts(each)) for each in (server, second))
        assert counts == [0, 3]
    assert min(len(prompts(each)) for each in (server, second)) >= 6  # two runs at least


async def test_the_graphs_runs_stay_on_their_servers(
    server: TinyServer, second: TinyServer, both: CompletionPolicy, retriever: Retriever
) -> None:
    config = AgentConfig(guided=True, k=3, retrieve_k=4, min_retrievals=1, max_retrievals=2, max_seconds=60)
    graph, ids = build_graph(both, retriever, config=config), retriever.catalogue.ids
    await asyncio.gather(*(graph.ainvoke({"history": list(ids[at : at + 3])}) for at in range(6)))
    openings = 0
    for each in (server, second):
        assert prompts(each)
        for number, prompt in enumerate(prompts(each)):
            is_later = any(prompt[: len(before)] == before for before in prompts(each)[:number])
            openings += not is_later
    assert openings == 6


async def test_runs_leave_a_server_that_is_unavailable_and_do_not_try_it_again_at_once(
    server: TinyServer, second: TinyServer, both: CompletionPolicy
) -> None:
    await asyncio.gather(*(ask(both, run) for run in range(4)))
    second.close()
    await asyncio.gather(*(ask(both, run, turns=2) for run in range(8)))
    assert sum(len(prompt) == 3 for prompt in prompts(server)) == 8
    began = time.monotonic()
    with asking_for("0"):
        assert await both.tokenize("a")
    assert time.monotonic() - began < 5
    server.close()
    with pytest.raises(PolicyUnavailableError, match="cannot be reached"):
        await ask(both, 0)


async def test_a_limit_of_time_is_that_of_all_servers_together(second: TinyServer) -> None:
    left = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        left.set()

    silent = await asyncio.start_server(wait, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    urls = f"http://127.0.0.1:{port},{second.base_url}"
    async with CompletionPolicy(urls, "tiny", timeout_s=20, max_retries=0) as policy:
        with pytest.raises(PolicyUnavailableError, match=r"within 0\.2 s"):
            await ask(policy, 0, timeout_s=0.2)
    assert not prompts(second)
    silent.close()
    await asyncio.wait_for(left.wait(), 20)
