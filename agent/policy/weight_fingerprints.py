"""Fingerprints of weights: they distinguish two models or adapters of one name, wherever these lie."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""The files of a LoRA adapter, as PEFT saves it."""


def fingerprint_base(base: Path | str, config: Any = None) -> str:
    """Compute an identity of a base model without reading all of its weights.

    Args:
        base: A folder, or a Hugging Face id.
        config: The loaded configuration, which has the commit of an id.

    Returns:
        for a folder 16 hex digits over its configuration and the size and 16 samples of 64 KiB of each file of weights;
        for an id the id and its commit.
    """
    folder = Path(base)
    if not folder.is_dir():
        return f"{base}@{getattr(config, '_commit_hash', None)}"
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as opened:
            for part in range(16):
                opened.seek(size * part // 16)
                digest.update(opened.read(65_536))
    return digest.hexdigest()[:16]


def fingerprint_adapter(folder: Path) -> str:
    """Compute 16 hex digits over an adapter's configuration and weights."""
    digest = hashlib.sha256()
    for name in ADAPTER_FILES:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]


def fingerprint_served(root: str | None, *, is_adapter: bool) -> str | None:
    """Compute the fingerprint of what a server serves from a folder.

    Args:
        root: the folder as the server names it.
        is_adapter: whether it is an adapter, not a base model.

    Returns:
        its fingerprint; None where the folder is not one of this machine, or cannot be read.
    """
    folder = Path(root or "")
    try:  # the name is the server's: also to look whether there is such a folder may fail
        if not folder.is_absolute() or not folder.is_dir():
            return None
        return fingerprint_adapter(folder) if is_adapter else fingerprint_base(folder)
    except (OSError, ValueError):
        return None
