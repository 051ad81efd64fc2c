import socket
from pathlib import Path

import pytest

from deeprec.agent import PolicyUnavailableError, open_model_server
from deeprec.trm_tool import ConfigError
from tests.tiny_server import MODEL, TinyServer


def test_a_server_that_runs_is_used_and_left_alone(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEEPREC_BASE_URL", server.base_url)
    for found in (open_model_server(home=tmp_path), open_model_server(server.base_url, home=tmp_path)):
        assert (found.base_url, found.model_name, found.started) == (server.base_url, MODEL, None)
        found.stop()
    assert not list(tmp_path.iterdir())  # no model was unpacked


def test_a_server_that_was_named_and_is_down_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    with pytest.raises(PolicyUnavailableError):
        open_model_server(url, home=tmp_path)


def test_without_a_server_one_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("DEEPREC_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    monkeypatch.setenv("DEEPREC_SERVER_PYTHON", "/bin/true")
    with pytest.raises(ConfigError, match="has no vLLM"):  # it got as far as looking for vLLM
        open_model_server(home=Path(__file__).parents[3] / ".deeprec")
