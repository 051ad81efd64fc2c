"""The server's process: a small stand-in that listens and has a child of its own, so that a test takes a second."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deeprec.agent import ServerError, VllmServer
from deeprec.agent.serving.model_server import make_server as choose_server
from deeprec.agent.serving.process_supervisor import group_members
from deeprec.agent.serving.servers import TransformersServer
from deeprec.trm_tool import ConfigError

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see which processes are left")

# Takes the place of the server environment's interpreter: answers the question for vLLM's build, or serves /health.
STAND_IN = """\
    #!{python}
    import http.server, json, os, signal, subprocess, sys, time
    if sys.argv[1] == "-c":
        print(json.dumps([{found}, "0.32.0", {cpu}]))
        sys.exit()
    print("INFO non-default args:", sys.argv, os.environ.get("VLLM_API_KEY"), flush=True)
    if "--die" in sys.argv:
        print("(EngineCore pid=7) ERROR 11-21 ValueError: No room for the cache")
        print("RuntimeError: Engine core initialization failed. See root cause above.")
        print('nanobind: leaked 514 functions!')
        sys.exit(1)
    worker = subprocess.Popen(["sleep", "600"])  # what stays behind when only the server is killed
    if "--stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--slow" in sys.argv:
        time.sleep(600)
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
        def log_message(self, *args): ...
    time.sleep(0.6)  # long enough to be seen on the way
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""

SUPERVISOR = b"process_supervisor"


def write_stand_in(folder: Path, *, found: bool = True, cpu: bool = True) -> Path:
    path = folder / "python"
    path.write_text(textwrap.dedent(STAND_IN).format(python=sys.executable, found=found, cpu=cpu), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VllmServer]:
    made = make_server(tmp_path)
    yield made
    made.stop()


def make_server(folder: Path, *extra: str, port: int | None = None) -> VllmServer:
    python = write_stand_in(folder)
    return VllmServer("org/model", log=folder / "logs/vllm.log", python=python, port=port, extra_args=extra)


def gone(group: int, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while group_members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not group_members(group)


def test_a_server_starts_tells_its_stage_and_stops_whole(server: VllmServer) -> None:
    stages: list[str] = []
    with server:
        group = server.process_group
        assert group is not None
        server.wait_healthy(30, stages.append)
        assert server.is_healthy()
        assert len(group_members(group)) == 3  # supervisor, server, worker
        assert os.getpgrp() != group
    assert "reading the settings" in stages
    assert group_members(group) == []
    assert not server.is_healthy()
    server.stop()  # once more does nothing


def test_the_flags_are_those_that_training_needs(server: VllmServer) -> None:
    with server:
        server.wait_healthy(30)
    logged = server.log.read_text(encoding="utf-8")
    for flag in ("--enable-lora", "'--logprobs-mode', 'processed_logprobs'", "--no-enable-chunked-prefill", "float32"):
        assert flag in logged


def test_a_server_computes_in_what_it_is_told_to(tmp_path: Path) -> None:
    python = write_stand_in(tmp_path)
    with VllmServer("org/model", log=tmp_path / "log", python=python, dtype="bfloat16") as server:
        server.wait_healthy(30)
    logged = server.log.read_text(encoding="utf-8")
    assert "'--dtype', 'bfloat16'" in logged
    assert "float32" not in logged


def test_a_gpu_build_gets_no_cpu_flags_and_the_key_stays_off_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPREC_API_KEY", "secret-key")
    python = write_stand_in(tmp_path, cpu=False)
    with VllmServer("org/model", log=tmp_path / "log", python=python, max_model_len=512, lora=False) as server:
        server.wait_healthy(30)
        command = Path(f"/proc/{group_members(server.process_group or 0)[1]}/cmdline").read_bytes()
    logged = server.log.read_text(encoding="utf-8")
    assert "float32" not in logged
    assert "chunked" not in logged
    assert "--enable-lora" not in logged
    assert "'--max-model-len', '512'" in logged
    assert "'--dtype', 'auto'" in logged
    assert "secret-key" in logged  # the stand-in prints its environment's
    assert b"secret-key" not in command


def test_a_taken_port_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {port} on 127.0.0.1 is taken"), make_server(tmp_path, port=port):
            pass
    with pytest.raises(ConfigError, match="70000"):
        make_server(tmp_path, port=70000)


def test_a_server_that_dies_tells_the_cause_and_the_log(tmp_path: Path) -> None:
    with make_server(tmp_path, "--die") as server, pytest.raises(ServerError) as caught:
        server.wait_healthy(30)
    said = str(caught.value)
    assert "No room for the cache" in said
    assert "exit code 1" in said
    assert str(server.log) in said
    assert "\n" not in said
    assert "See root cause above" in caught.value.tail
    assert "nanobind" not in caught.value.tail


def test_a_server_killed_while_it_serves_is_told_and_leaves_nothing(server: VllmServer) -> None:
    with server:
        group = server.process_group or 0
        server.wait_healthy(30)
        [served] = [
            pid
            for pid in group_members(group)
            if b"--port" in cmdline(pid) and b"process_supervisor" not in cmdline(pid)
        ]
        os.kill(served, signal.SIGKILL)
        with pytest.raises(ServerError, match="ended by itself"):
            server.wait()
        assert not server.is_healthy()
    assert group_members(group) == []


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with make_server(tmp_path, "--slow") as server:
        group = server.process_group or 0
        with pytest.raises(ServerError, match=r"not healthy within 0\.5 s"):
            server.wait_healthy(0.5)
        assert group_members(group) == []


@pytest.mark.slow
def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.agent.serving.server_process.GRACE_S", -7.5)  # and 8 s on top in stop()
    with make_server(tmp_path, "--stubborn") as server:
        group = server.process_group or 0
        server.wait_healthy(30)
    assert group_members(group) == []


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_dies_takes_its_server_along(tmp_path: Path, ending: signal.Signals) -> None:
    python = write_stand_in(tmp_path)
    script = f"""
        import signal
        import time
        from pathlib import Path
        from deeprec.agent import VllmServer
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background start with it ignored
        with VllmServer("org/model", log=Path({str(tmp_path / "log")!r}), python=Path({str(python)!r})) as server:
            server.wait_healthy(30)
            print(server.process_group, flush=True)
            time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    assert len(group_members(group)) == 3
    parent.send_signal(ending)
    parent.communicate(timeout=120)
    assert gone(group)


def test_what_cannot_be_a_model_or_an_interpreter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no model folder"):
        VllmServer(tmp_path / "missing", log=tmp_path / "log")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        VllmServer(tmp_path, log=tmp_path / "log")
    monkeypatch.setenv("DEEPREC_SERVER_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="nowhere"):
        VllmServer("org/model", log=tmp_path / "log").start()
    monkeypatch.setenv("DEEPREC_SERVER_PYTHON", str(write_stand_in(tmp_path, found=False)))
    with pytest.raises(ConfigError, match="has no vLLM"):
        VllmServer("org/model", log=tmp_path / "log").start()


@pytest.mark.parametrize("script", ["#!/bin/sh\n", "#!/bin/sh\necho 1\n", "#!/bin/sh\nexit 3\n", "no program\n"])
def test_a_program_that_is_no_interpreter_has_no_vllm(tmp_path: Path, script: str) -> None:
    program = tmp_path / "python"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(ConfigError, match="has no vLLM"):
        VllmServer("org/model", log=tmp_path / "log", python=program).start()


def test_an_interpreter_that_is_a_folder_or_never_answers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="is not an interpreter that can be run"):
        VllmServer("org/model", log=tmp_path / "log", python=tmp_path).start()
    monkeypatch.setattr("deeprec.agent.serving.servers._DEVICE_TIMEOUT_S", 0.2)
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(ConfigError, match=r"did not answer within 0\.2 s"):
        VllmServer("org/model", log=tmp_path / "log", python=program).start()


def test_the_current_folder_does_not_choose_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was downloaded may hold any program; the one of `make setup` lies beside the package."""
    program = tmp_path / ".venv-server" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/it-ran\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.delenv("DEEPREC_SERVER_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    choose_server("org/model", log=tmp_path / "log")
    assert not (tmp_path / "it-ran").exists()
    monkeypatch.setenv("DEEPREC_SERVER_PYTHON", str(program))
    with pytest.raises(ConfigError, match="has no vLLM"):
        VllmServer("org/model", log=tmp_path / "log").start()
    assert (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "gpu-host"])
@pytest.mark.parametrize("key", [None, ""])
def test_a_server_beyond_this_machine_needs_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, key: str | None
) -> None:
    monkeypatch.delenv("DEEPREC_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("DEEPREC_API_KEY", key)
    for engine in (VllmServer, TransformersServer):
        with pytest.raises(ConfigError, match="without a key"):
            engine("org/model", log=tmp_path / "log", host=host)
        engine("org/model", log=tmp_path / "log", host=host, api_key="secret")
        engine("org/model", log=tmp_path / "log", host="127.0.0.1")
        engine("org/model", log=tmp_path / "log", host="::1")


def test_a_log_or_a_host_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    python = write_stand_in(tmp_path)
    with pytest.raises(ConfigError, match=r"log .* cannot be written: Not a directory"):
        VllmServer("org/model", log=python / "deep" / "log", python=python).start()
    with pytest.raises(ConfigError, match=r"log .* cannot be written: Is a directory"):
        VllmServer("org/model", log=tmp_path, python=python).start()
    for host in ("[", "a..b"):
        with pytest.raises(ConfigError, match=r"host|listen"):
            VllmServer("org/model", log=tmp_path / "log", python=python, host=host, api_key="key").start()


def test_waiting_for_a_server_that_was_not_started_is_refused(server: VllmServer) -> None:
    with pytest.raises(ConfigError, match="was not started"):
        server.wait_healthy(1)


@pytest.mark.slow
def test_llm_serve_prints_its_address_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    main = "from deeprec.agent.cli.main import main; main()"
    command = [sys.executable, "-c", main, "llm", "serve", "--model", "org/model"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"DEEPREC_SERVER_PYTHON": str(write_stand_in(tmp_path)), "COLUMNS": "200"}
    serving = subprocess.Popen(
        [*command, "--port", str(port), "--log", str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    assert serving.stdout is not None
    lines = iter(serving.stdout.readline, "")
    assert any(f"Serving org/model at http://127.0.0.1:{port}/v1" in line for line in lines)
    again = subprocess.run([*command, "--port", str(port)], capture_output=True, text=True, env=environment)
    assert again.returncode == 2
    assert f"Port {port} on 127.0.0.1 is taken" in again.stderr
    assert len(again.stderr.splitlines()) == 1
    serving.send_signal(signal.SIGINT)
    printed, _ = serving.communicate(timeout=30)
    assert serving.returncode == 0
    assert "Stopping." in printed
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again
