"""What suites run on: an artifact, a real store, a tiny server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deeprec.agent import TraceStore
from tests.tiny_server import TinyServer, serve_tiny


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    with TraceStore(tmp_path / "traces.db") as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serve_tiny() as running:
        yield running
