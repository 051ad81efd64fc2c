"""A model server as a child process: started in a process group of its own, watched, and stopped whole."""

import atexit
import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Literal, NoReturn, Self

from deeprec.agent.policy.server_address import is_loopback
from deeprec.agent.serving.process_supervisor import GRACE_S, group_members
from deeprec.trm_tool.errors import ConfigError, DeepRecError

Dtype = Literal["auto", "float32", "bfloat16"]
DEFAULT_PORT = 8000
DEFAULT_BASE_URL = f"http://127.0.0.1:{DEFAULT_PORT}/v1"
"""Where commands look for a model server, and where `deeprec llm serve` starts one."""

_TAIL_LINES = 15
_DEATH_S = 10.0
_POLL_S = 0.25
# Lines that follow an error and do not contain its cause.
_NOISE = re.compile(
    r"nanobind|leaked (type|function|instance)|leaked \S+ objects|skipped remainder|warnings\.warn|ATOMIC_OP"
)
_CAUSE = re.compile(r"(?:\b\w*(?:Error|Exception)|\berror): (?P<cause>\S.*)")
_SECOND_HAND = re.compile(r"[Ss]ee (the )?(root cause|stack trace)|WorkerProc initialization failed|Worker failed with")


class ServerError(DeepRecError):
    """The server did not start, died, or did not become healthy in time.

    The message is one line with the cause from the log. `tail` holds the log's last lines; a traceback shows them.
    """

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail
        if tail:
            self.add_note(tail)


class ServerProcess(ABC):
    """A server of one model in a process group of its own. As a context manager it starts on entry and stops on exit.

    It also stops at the interpreter's exit, on Ctrl-C, and when this process is killed; no process stays behind.

    Args:
        model: a folder, or a Hugging Face id.
        log: the file that takes the server's output; an older one is replaced.
        port: the port to listen on; None takes a free one.
        host: the address to listen on. Whoever reaches it can load adapters from its disk: others need a key.
        max_model_len: most tokens of a prompt and its completion together; None is the model's own limit.
        max_num_seqs: requests that run at once; others wait.
        api_key: the key that requests must carry (vLLM asks for it under `/v1` alone); else the environment's
            DEEPREC_API_KEY, else none.
        dtype: number format of the computation; auto is float32 on a CPU, and what the engine chooses on a GPU.
    Raises:
        ConfigError: a setting that cannot work, or an address beyond this machine without a key.
    """

    engine: ClassVar[str]
    """The name of the engine."""
    stages: ClassVar[Sequence[tuple[re.Pattern[str], str]]]
    """Pattern of a line of the log -> the stage of the start that it shows; the last match counts."""

    def __init__(
        self,
        model: str | Path,
        *,
        log: Path,
        port: int | None = None,
        host: str = "127.0.0.1",
        max_model_len: int | None = None,
        max_num_seqs: int = 32,
        api_key: str | None = None,
        dtype: Dtype = "auto",
    ) -> None:
        if port is not None and not 0 < port < 65536:
            raise ConfigError(f"The port is {port}; choose one from 1 to 65535.")
        self._folder = Path(model) if Path(model).is_dir() else None
        if self._folder is None and (isinstance(model, Path) or str(model).startswith((".", "/", "~"))):
            raise ConfigError(
                f"There is no model folder {model}. Run `deeprec llm pull`, or name a Hugging Face model."
            )
        if self._folder is not None and not (self._folder / "config.json").is_file():
            raise ConfigError(f"The folder {model} holds no config.json, so it is not a model. Name another.")
        self.model_name = self._folder.resolve().name if self._folder else str(model)
        self.log = Path(log)
        self.host = host
        self.port = port
        self.model = model
        self._max_model_len = max_model_len
        self._max_num_seqs = max_num_seqs
        self._dtype = dtype
        self._api_key = api_key or os.environ.get("DEEPREC_API_KEY") or None
        check_key_for(host, self._api_key)
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @abstractmethod
    def _interpreter(self) -> Path:
        """The Python that runs the server. Raises ConfigError where it lacks what it needs."""

    @abstractmethod
    def _flags(self) -> list[str]:
        """Return the arguments of the interpreter."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """Return the environment of the server."""

    @property
    def base_url(self) -> str:
        """Address of the OpenAI routes, as this machine reaches them."""
        if self.port is None:
            raise ConfigError("The server has no port yet. Start it first.")
        return f"http://{_reachable(self.host)}:{self.port}/v1"

    @property
    def process_group(self) -> int | None:
        """The id of the process group, while the server runs."""
        return self._process.pid if self._process is not None else None

    def start(self, on_progress: Callable[[str], None] | None = None) -> None:
        """Start the server without waiting until it is healthy.

        Raises:
            ConfigError: the port is taken, the server is not installed, or the log cannot be written.
        """
        if self._process is not None:
            raise ConfigError(f"The server at {self.base_url} runs already. Stop it before starting it again.")
        python = self._interpreter()
        self.port = _claim_port(self.host, self.port)
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = self.log.open("wb")
        except OSError as error:
            raise ConfigError(f"The log {self.log} cannot be written: {error.strerror}. Name another file.") from None
        if on_progress is not None:
            on_progress(f"starting {self.engine}")
        command = [
            sys.executable,
            "-m",
            "deeprec.agent.serving.process_supervisor",
            str(os.getpid()),
            str(python),
            *self._flags(),
        ]
        with log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process only, and the group can be ended as one
                env=self._environment(),
            )
        self._owner = os.getpid()
        atexit.register(self.stop)

    def wait_healthy(self, timeout_s: float = 600.0, on_progress: Callable[[str], None] | None = None) -> None:
        """Return when the server answers; `on_progress` gets a line for each new stage.

        Raises:
            ConfigError: it was not started.
            ServerError: it died or was not healthy in time; it is stopped then.
        """
        if self._process is None:
            raise ConfigError("The server was not started. Call start(), or use it as a context manager.")
        deadline = time.monotonic() + timeout_s
        shown = ""
        with self.log.open("rb") as log:
            while not self.is_healthy():
                if (code := self._process.poll()) is not None:
                    self.stop()
                    raise self._error(f"died while it started (exit code {code})")
                if time.monotonic() > deadline:
                    self.stop()
                    raise self._error(f"was not healthy within {timeout_s:g} s")
                stage = self._stage(log) or shown
                if stage != shown and on_progress is not None:
                    on_progress(stage)
                shown = stage
                time.sleep(_POLL_S)

    def is_healthy(self) -> bool:
        """Check whether the server runs and answers now."""
        if self._process is None or self._process.poll() is not None:
            return False
        # Straight to this machine, whatever proxy the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.base_url.removesuffix('/v1')}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait(self) -> NoReturn:
        """Wait until the server ends by itself, which it should not.

        Raises:
            ServerError: when it has.
        """
        if self._process is None:
            raise ConfigError("The server was not started. Call start(), or use it as a context manager.")
        code = self._process.wait()
        raise self._error(f"ended by itself (exit code {code})")

    def stop(self) -> None:
        """Stop the server and all its processes. Does nothing when it does not run."""
        process = self._process
        if process is None or os.getpid() != self._owner:
            return
        try:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S + 8)
        finally:  # also when a second Ctrl-C breaks the wait
            if process.poll() is None or group_members(process.pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                deadline = time.monotonic() + _DEATH_S
                while group_members(process.pid) and time.monotonic() < deadline:
                    time.sleep(0.02)  # killed, but not yet gone
            self._process = None
            atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _error(self, what: str) -> ServerError:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        lines_left = [line.rstrip() for line in lines if line.strip() and not _NOISE.search(line)]
        causes = [
            match["cause"] for line in lines_left if (match := _CAUSE.search(line)) and not _SECOND_HAND.search(line)
        ]
        cause = f": {causes[-1][:300]}" if causes else ""
        return ServerError(
            f"The {self.engine} server {what}{cause}. Its log is {self.log}.", "\n".join(lines_left[-_TAIL_LINES:])
        )

    def _stage(self, log: IO[bytes]) -> str | None:
        """The last stage that the log's new lines show; None where they show none."""
        text = log.read().decode(errors="replace")
        found = [stage for line in text.splitlines() for pattern, stage in self.stages if pattern.search(line)]
        return found[-1] if found else None


def check_key_for(host: str, api_key: str | None) -> None:
    """Raise ConfigError where a server would listen beyond this machine without a key."""
    if not api_key and not is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise ConfigError(
            f"The server would listen on {host!r} without a key: whoever reaches it could use it and load adapters "
            "from its disk. Set DEEPREC_API_KEY to a key (an empty one counts as none), or listen on 127.0.0.1."
        )


def _claim_port(host: str, port: int | None) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port or 0))
        except UnicodeError:
            raise ConfigError(f"The host {host!r} is not a name or address of this machine. Choose another.") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"Port {port} on {host} is taken by another process. Choose another with --port, or stop that one."
                ) from None
            raise ConfigError(f"The server cannot listen on {host}:{port} ({error.strerror or error}).") from None
        return int(probe.getsockname()[1])


def _reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
