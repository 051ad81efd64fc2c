"""`deeprec ui`: the page is served with the recommender of an artifact, and its threads outlive a restart."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from langchain_core.messages import HumanMessage
from rich.console import Console

from deeprec.agent import TraceStore
from deeprec.agent.cli.main import main
from deeprec.agent.cli.shopping_agent import open_shopping_agent, served_model
from deeprec.trm_tool import ConfigError, Retriever
from tests.tiny_server import MODEL, TinyServer


async def test_a_thread_in_a_file_goes_on_with_its_cart_after_a_restart(
    retriever: Retriever, store: TraceStore, tmp_path: Path
) -> None:
    threads = tmp_path / "new" / "threads.db"
    for message in ("a comedy", "add the first to my cart", "what is in my cart?"):
        async with open_shopping_agent(retriever, store, base_url=None, model=None, threads=threads) as agent:
            output = await agent.graph.ainvoke(
                {"messages": [HumanMessage(message)], "person": "ann"}, {"configurable": {"thread_id": "t"}}
            )
    assert agent.model is None
    assert [message.type for message in output["messages"]] == ["human", "ai"] * 3
    assert output["conversation"]["turn"] == 3
    first = output["messages"][1].additional_kwargs["deeprec"]["items"][0]["item_id"]
    assert [card["item_id"] for card in output["reply"]["items"]] == list(agent.cart.items("ann")) == [first]


async def test_a_file_that_keeps_no_threads_is_named(retriever: Retriever, store: TraceStore, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"notes.txt cannot keep conversations .* --threads"):
        async with open_shopping_agent(
            retriever, store, base_url=None, model=None, threads=tmp_path / "notes.txt"
        ) as agent:
            await agent.graph.aget_state({"configurable": {"thread_id": "t"}})


async def test_a_model_searches_where_a_server_has_one(
    retriever: Retriever, store: TraceStore, server: TinyServer
) -> None:
    async with open_shopping_agent(retriever, store, base_url=server.base_url, model=None, threads=None) as agent:
        assert agent.model == MODEL


def test_a_server_is_named_or_started_and_not_both() -> None:
    with pytest.raises(ConfigError, match="Give one of the two"), served_model("http://x", True, Console()):
        pass
    with served_model("http://127.0.0.1:9/v1", False, Console()) as found:
        assert found == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "shop.example"])
def test_beyond_this_machine_it_needs_a_key(
    host: str, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPREC_API_KEY", "")
    with pytest.raises(SystemExit, match="2"):
        main(["ui", "--artifact", str(artifact_folder), "--host", host])
    assert "Set DEEPREC_API_KEY" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(artifact_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match="2"):
            main(["ui", "--artifact", str(artifact_folder), "--port", str(port)])
    assert f"127.0.0.1:{port} (Address already in use). Choose another --port" in capsys.readouterr().err


@contextmanager
def command(folder: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command in a process of its own, and the address that it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPREC_")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from deeprec.agent.cli.main import main; main()", "ui", "--port", "0", *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield process, found[0]
                break
        else:
            raise AssertionError(printed)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_command_serves_a_conversation_and_ends_when_it_is_asked_to(artifact_folder: Path, tmp_path: Path) -> None:
    with (
        command(tmp_path, "--artifact", str(artifact_folder), "--base-url", "") as (process, address),
        httpx.Client(base_url=address, follow_redirects=True) as person,
    ):
        page = person.get("/")
        assert "50 items; " in page.text
        talk = page.url.path
        assert person.post(f"{talk}/turns", json={"message": "a comedy"}).status_code == 202
        assert "The answer is ready." in person.get(f"{talk}/events").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143
