from collections.abc import AsyncIterator
from typing import Any

import pytest

from deeprec.agent import CompletionPolicy, TraceStore
from deeprec.evals import ServerLostError, run_on_server
from tests.tiny_server import MODEL, TinyServer


class Scripted:
    """A graph whose runs end as the test chooses."""

    def __init__(self, statuses: dict[str, str]) -> None:
        self.statuses = statuses

    async def astream(self, request: Any, **_: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"finish": {"status": self.statuses[request["history"][0]], "detail": "too long a prompt"}}


async def outcome(statuses: list[str], server: TinyServer, store: TraceStore) -> list[str]:
    ended: dict[int, str] = {}
    graph: Any = Scripted({str(place): status for place, status in enumerate(statuses)})
    requests: list[Any] = [{"history": [str(place)]} for place in range(len(statuses))]
    async with CompletionPolicy(server.base_url, MODEL) as policy:
        await run_on_server(graph, requests, policy=policy, store=store, max_concurrency=1, on_ended=ended.__setitem__)
    return [ended[place] for place in range(len(statuses))]


async def test_runs_that_fall_back_by_themselves_do_not_stop_a_suite_for_ever(
    server: TinyServer, store: TraceStore
) -> None:
    mixed = ["fallback", "finished"] * 20
    assert await outcome(mixed, server, store) == mixed


async def test_runs_that_fall_back_one_after_another_are_the_servers_fault(
    server: TinyServer, store: TraceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[Any] = []
    monkeypatch.setattr(store, "delete_run", deleted.append)
    graph: Any = Scripted({"0": "fallback"})
    run_id = "00000000-0000-0000-0000-000000000001"
    requests: list[Any] = [{"history": ["0"], "lineage": {"run_id": run_id}}] * 20
    async with CompletionPolicy(server.base_url, MODEL) as policy:
        with pytest.raises(ServerLostError, match="16 runs fell back one after another, the last: too long a prompt"):
            await run_on_server(
                graph, requests, policy=policy, store=store, max_concurrency=1, on_ended=lambda *_: None
            )
    assert len(deleted) >= 16  # those in flight end too
