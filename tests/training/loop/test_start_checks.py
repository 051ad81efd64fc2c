"""What a server may have loaded already when a loop begins or goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deeprec.training.loop.start_checks import check_server
from deeprec.training.loop.versions import PolicyVersions
from deeprec.trm_tool import ConfigError
from tests.tiny_server import serve_tiny


@pytest.mark.parametrize("identity", ["", "1a2b3c4d"])
def test_versions_whose_folders_a_loop_has_deleted_are_its_own_and_later_ones_are_not(
    tmp_path: Path, identity: str
) -> None:
    versions = PolicyVersions(out=tmp_path, base="tiny", fingerprints={"base_fingerprint": "f"}, identity=identity)
    with serve_tiny() as server:
        server.adapters = dict.fromkeys(versions.served_name(number) for number in (2, 3, 4))
        asyncio.run(check_server(server.base_url, versions, newest=4))
        with pytest.raises(ConfigError, match=r"has rec-v4\S* of another loop loaded"):
            asyncio.run(check_server(server.base_url, versions, newest=3))
