"""Databases that are full, gone, damaged, or written by two at once: runs go on, and nothing untrue is trained on."""

import asyncio
import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID, uuid4

import pytest

from deeprec.agent import AgentConfig, CompletionPolicy, SqlRecorder, TraceStore, build_graph
from deeprec.agent.traces import (
    NullRecorder,
    RetrievalRecord,
    RunFilter,
    RunOutcome,
    StepConflictError,
    TraceStoreError,
)
from deeprec.training import RolloutError, read_rollouts, rollout_from_run
from deeprec.trm_tool import Retriever
from tests.model_scripts import LIST, SEARCH
from tests.postgres_server import PostgresServer
from tests.tiny_server import TinyServer

SCRIPT = [SEARCH.format("comedy"), SEARCH.format("drama"), LIST.format("2\n1\n3")]


async def run_agent(
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    store: TraceStore,
    between: dict[int, Callable[[], None]],
) -> tuple[UUID, dict[str, Any]]:
    """One run: prepare, (reason, retrieve) twice, reason, rank, finish. `between` has what comes after a step."""
    server.script = list(SCRIPT)
    run_id, steps, last = uuid4(), 0, {}
    graph = build_graph(policy, retriever, config=AgentConfig(k=3, retrieve_k=4), recorder=SqlRecorder(store))
    request = {"history": list(retriever.catalogue.ids[:4]), "lineage": {"run_id": str(run_id)}}
    async for update in graph.astream(request, stream_mode="updates"):
        steps += 1
        between.get(steps, lambda: None)()
        last = update
    return run_id, last["finish"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mount") is None, reason="needs the command `mount`")
@pytest.mark.parametrize("full", ["to the end", "for a while"])
async def test_a_disk_that_fills_costs_the_trace_and_not_the_list(
    small_disk: Path, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, full: str
) -> None:
    with TraceStore(small_disk / "traces.db") as store:
        before, _ = await run_agent(server, policy, retriever, store, {})
        between = {2: lambda: fill(small_disk)}
        if full == "for a while":
            between[5] = (small_disk / "filler").unlink
        run_id, output = await run_agent(server, policy, retriever, store, between)
        assert (output["status"], len(output["recommendations"])) == ("finished", 3)
        (small_disk / "filler").unlink(missing_ok=True)
        trace = store.run(run_id)
        assert len(trace.turns) < 3
        if full == "for a while":
            assert (trace.status, trace.incomplete) == ("finished", True)
        else:
            assert trace.status == "running"
        with pytest.raises(RolloutError) as caught:
            rollout_from_run(trace)
        assert caught.value.reason == ("incomplete" if full == "for a while" else "running")
        after, _ = await run_agent(server, policy, retriever, store, {})
        kept = {rollout.run_id for rollout in read_rollouts(store, on_refused=lambda error: None)}
        assert kept == {before, after}
    connection = sqlite3.connect(small_disk / "traces.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def restart(postgres: PostgresServer) -> None:
    postgres.stop("immediate")
    postgres.start()


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("back", ["before the next step", "before the end", "after the end"])
async def test_a_server_that_goes_away_in_mid_run(
    postgres: PostgresServer, server: TinyServer, policy: CompletionPolicy, retriever: Retriever, back: str
) -> None:
    with TraceStore(postgres.database()) as store:
        between: dict[int, Callable[[], None]] = {2: lambda: postgres.stop("immediate"), 4: postgres.start}
        if back == "before the next step":
            between = {2: lambda: restart(postgres)}
        elif back == "after the end":
            del between[4]
        try:
            run_id, output = await run_agent(server, policy, retriever, store, between)
        finally:
            if back == "after the end":
                postgres.start()
        assert (output["status"], len(output["recommendations"])) == ("finished", 3)
        trace = store.run(run_id)  # the pool connects again
        if back == "before the next step":  # nobody noticed
            assert (trace.status, trace.incomplete, len(trace.turns)) == ("finished", False, 3)
            assert rollout_from_run(trace).token_ids.size
            return
        assert trace.status == ("finished" if back == "before the end" else "running")
        assert trace.incomplete == (back == "before the end")
        with pytest.raises(RolloutError):
            rollout_from_run(trace)
        whole, _ = await run_agent(server, policy, retriever, store, {})
        assert rollout_from_run(store.run(whole)).token_ids.size


class HangingProxy:
    """A way to a PostgreSQL server that passes nothing on, in either direction, while `hangs` is set."""

    def __init__(self, folder: str) -> None:
        self.hangs, self._folder = threading.Event(), folder
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{self._folder}/.s.PGSQL.5432")
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.hangs.is_set():
                    sleep(0.01)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.slow
@pytest.mark.postgres
async def test_a_server_that_hangs_holds_a_run_for_one_write(
    postgres: PostgresServer,
    server: TinyServer,
    policy: CompletionPolicy,
    retriever: Retriever,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deeprec.agent.traces.store.recorder.WRITE_TIMEOUT_S", 1.0)
    name, folder = postgres.database().removeprefix("postgresql://postgres@/").split("?host=")
    proxy = HangingProxy(folder)
    server.script = [*SCRIPT, *SCRIPT]
    try:
        proxied = TraceStore(f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}")
        direct = TraceStore(f"postgresql://postgres@/{name}?host={folder}")
        with direct as store, proxied, SqlRecorder(proxied) as recorder:
            graph = build_graph(
                policy, retriever, config=AgentConfig(k=3, retrieve_k=4, max_seconds=20), recorder=recorder
            )
            history, begun = list(retriever.catalogue.ids[:4]), monotonic()
            async for update in graph.astream({"history": history}, stream_mode="updates"):
                if "prepare" in update:
                    proxy.hangs.set()
                last = update
            output = last["finish"]
            assert (output["status"], len(output["recommendations"])) == ("finished", 3)
            assert monotonic() - begun < 15
            proxy.hangs.clear()
            while not next(iter(store.traces())).turns:  # the write that hung
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)  # its call returns a moment after its commit
            await graph.ainvoke({"history": history})
            found = [(trace.status, trace.incomplete) for trace in store.traces()]
            kept = list(read_rollouts(store, on_refused=lambda error: None))
    finally:
        proxy.hangs.clear()
        proxy.close()
    assert found == [("finished", True), ("finished", False)]
    assert len(kept) == 1


class SlowRecorder(NullRecorder):
    """A log that takes a second for the first retrieval."""

    latency_ms = 0.0

    async def record_retrieval(self, run_id: UUID, retrieval: RetrievalRecord) -> None:
        if retrieval.position == 0:
            await asyncio.sleep(1)

    async def finish_run(self, run_id: UUID, outcome: RunOutcome) -> None:
        self.latency_ms = outcome.latency_ms


@pytest.mark.slow
async def test_the_time_of_the_log_is_not_the_runs(
    server: TinyServer, policy: CompletionPolicy, retriever: Retriever
) -> None:
    server.script, recorder = list(SCRIPT), SlowRecorder()
    graph = build_graph(policy, retriever, config=AgentConfig(k=3, retrieve_k=4, max_seconds=1), recorder=recorder)
    begun = monotonic()
    output = await graph.ainvoke({"history": list(retriever.catalogue.ids[:4])})
    took_ms = (monotonic() - begun) * 1000
    assert (output["status"], output["detail"]) == ("finished", None)
    assert 0 < recorder.latency_ms <= took_ms - 1000


def test_two_writers_of_one_step_at_once(any_store: TraceStore, make: Any) -> None:
    """Of two contents one is kept; whoever brings the other is told, and whoever brings the same is not."""
    for _ in range(5):
        any_store.start_run(run := make.run())
        turns = [make.turn(0, text=f"text {number % 2}") for number in range(8)]

        def write(turn: Any, run_id: UUID = run.run_id) -> str | None:
            try:
                any_store.record_turn(run_id, turn)
            except StepConflictError:
                return None
            return str(turn.text)

        with ThreadPoolExecutor(8) as pool:
            accepted = list(pool.map(write, turns))
        kept = any_store.run(run.run_id).turns[0].text
        assert accepted == [turn.text if turn.text == kept else None for turn in turns]


def test_two_endings_at_once_leave_one(any_store: TraceStore, make: Any) -> None:
    run_id = make.run().run_id
    any_store.start_run(make.run(run_id))

    def finish(number: int) -> bool:
        try:
            any_store.finish_run(run_id, make.outcome(status=("budget", "finished")[number % 2]))
        except StepConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        accepted = list(pool.map(finish, range(6)))
    status = any_store.run(run_id).status
    assert accepted == [(("budget", "finished")[number % 2]) == status for number in range(6)]
    assert len(any_store.run(run_id).recommended) == 2


def fresh(path: Path, make: Any, runs: int = 40) -> list[UUID]:
    with TraceStore(path) as store:
        return [make.write(store, make.run(message="x" * 300)) for _ in range(runs)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_half_a_file_says_so_and_is_left_as_it_is(tmp_path: Path, make: Any, share: float) -> None:
    path = tmp_path / "traces.db"
    fresh(path, make)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(TraceStoreError, match=r"cannot be (opened|read): .*malformed"), TraceStore(path) as store:
        list(store.traces())
    assert path.read_bytes() == data[: int(len(data) * share)]


def test_what_is_whole_in_a_damaged_file_can_still_be_read(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "traces.db"
    ids = fresh(path, make)
    connection = sqlite3.connect(path)
    pages = connection.execute("SELECT pageno FROM dbstat WHERE name = 'turns' AND pagetype = 'leaf'").fetchall()
    connection.close()
    with path.open("r+b") as file:
        file.seek(2048 * (pages[len(pages) // 2][0] - 1))
        file.write(os.urandom(2048))
    with TraceStore(path) as store:
        whole, said = 0, set()
        for run_id in ids:
            try:
                whole += len(store.run(run_id).turns) == 3
            except TraceStoreError as error:
                said.add(str(error).split(":")[0])
        assert said <= {"The trace store cannot be read"}
        assert 30 <= whole < 40
        assert store.run(make.write(store)).status == "finished"  # and it takes new runs


def test_a_log_that_was_cut_off_ends_at_its_last_whole_commit(tmp_path: Path, make: Any) -> None:
    path, copy = tmp_path / "traces.db", tmp_path / "copy.db"
    with TraceStore(path) as store:
        ids = [make.write(store) for _ in range(10)]
        wal = path.with_name("traces.db-wal")
        assert wal.stat().st_size > 0
        for share in (0.3, 0.7, 0.99):
            shutil.copy(path, copy)
            copy.with_name("copy.db-wal").write_bytes(wal.read_bytes()[: int(wal.stat().st_size * share)])
            copy.with_name("copy.db-shm").unlink(missing_ok=True)
            with TraceStore(copy) as half:
                found = [trace.run.run_id for trace in half.traces()]
                assert found == ids[: len(found)]
                assert all(
                    [turn.position for turn in trace.turns] == list(range(len(trace.turns))) for trace in half.traces()
                )
                assert len(half.runs(None, RunFilter(status="finished"))) >= len(found) - 1
