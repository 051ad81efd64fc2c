"""The history of a person whom a command names by `--user`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deeprec.trm_tool.errors import ConfigError

if TYPE_CHECKING:
    from deeprec.trm_tool import Dataset, Retriever


def history_of_user(user: str, dataset: Dataset, retriever: Retriever, artifact: Path, *, named: bool) -> Sequence[str]:
    """Look up a user's items. Refuses data that cannot be the recommender's; notes other data that it knows."""
    is_its_own = dataset.fingerprint == retriever.dataset_fingerprint
    if not is_its_own and not named:
        raise ConfigError(
            f"{artifact} was not trained on the embedded {dataset.name} as it is read here. "
            "Name its data with --data (and the options of its training), or give a --history."
        )
    items = dataset.history(user)
    if is_its_own:
        return items
    unknown = [item for item in items if item not in retriever.catalogue]
    if unknown:
        raise ConfigError(
            f"The history has {len(unknown)} items that {artifact} does not know, such as {unknown[0]!r}: it was "
            f"trained on other data than {dataset.name}. Name its own data with --data, or train on this one."
        )
    typer.echo(f"Note: {artifact} was trained on other data than {dataset.name}, but knows these items.", err=True)
    return items
