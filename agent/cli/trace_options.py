"""What commands that read a trace store share: the filter of runs, where titles come from, results as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args
from uuid import UUID

import typer

from deeprec.agent.traces.records import RunTrace, Status
from deeprec.trm_tool.cli.options import DEFAULT_ARTIFACT
from deeprec.trm_tool.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from deeprec.agent.traces import RunFilter
    from deeprec.trm_tool.catalogue.catalogue import Catalogue

DEFAULT_STORE = ".deeprec/traces.db"

StoreOption = Annotated[
    str, typer.Option("--store", envvar="DEEPREC_STORE", help="The trace store: a SQLite file or a database URL.")
]


def store_is_there(store: str) -> str:
    """Return the address of a store that is read; the callback of its option, before the command imports much.

    Raises:
        TraceStoreError: no store is there.
    """
    from deeprec.agent.traces.store.database import check_stored

    check_stored(store)
    return store


StoredRunsOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="DEEPREC_STORE",
        help="The trace store: a SQLite file or a database URL.",
        callback=store_is_there,
    ),
]
STATUSES = (*get_args(Status), "incomplete")
"""The values of `--status`."""
StatusOption = Annotated[str | None, typer.Option(help=f"Only runs of this status: {', '.join(STATUSES)}.")]
TenantOption = Annotated[str | None, typer.Option(help="Only runs of this tenant, a shop for instance.")]
ThreadOption = Annotated[str | None, typer.Option(help="Only runs of this thread of the calling program.")]
TagOption = Annotated[str | None, typer.Option(help="Only runs with this tag of the calling program's config.")]
UserOption = Annotated[str | None, typer.Option(help="Only runs for this user.")]
SplitOption = Annotated[str | None, typer.Option(help="Only runs of this split: train, valid or test.")]
SuiteOption = Annotated[
    str | None, typer.Option(help="Only runs of this suite: its name, or NAME@… for one version of it.")
]
SystemOption = Annotated[str | None, typer.Option(help="Only runs of this system of a suite.")]
ModelOption = Annotated[str | None, typer.Option(help="Only runs of this policy model.")]
AdapterVersionOption = Annotated[str | None, typer.Option(help="Only runs of this adapter version.")]
SinceOption = Annotated[
    datetime | None, typer.Option(help="Only runs that started then or later, by the machine's clock.")
]
UntilOption = Annotated[datetime | None, typer.Option(help="Only runs that started before then.")]
ArtifactOption = Annotated[
    Path | None,
    typer.Option(
        "--artifact",
        help="A TRM artifact whose catalogue has the titles.",
        show_default="the default artifact, where the runs were made with it",
    ),
]


def known_status(status: str | None) -> str | None:
    """Return `status`, if runs can have it.

    Raises:
        ConfigError: runs cannot have this status.
    """
    if status is not None and status not in STATUSES:
        raise ConfigError(f"--status {status!r} is not a status of a run. Choose one of {', '.join(STATUSES)}.")
    return status


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Which runs of a store a command reads: all that match every option that is given."""

    status: StatusOption = None
    tenant: TenantOption = None
    user: UserOption = None
    thread: ThreadOption = None
    tag: TagOption = None
    suite: SuiteOption = None
    system: SystemOption = None
    split: SplitOption = None
    model: ModelOption = None
    adapter_version: AdapterVersionOption = None
    since: SinceOption = None
    until: UntilOption = None

    def filter(self) -> RunFilter:
        """The filter that the options mean.

        Raises:
            ConfigError: runs cannot have this status.
        """
        from deeprec.agent.traces import RunFilter

        return RunFilter(
            status=known_status(self.status),
            tenant=self.tenant,
            user_id=self.user,
            thread_id=self.thread,
            tag=self.tag,
            suite=self.suite,
            system=self.system,
            split=self.split,
            policy_model=self.model,
            adapter_version=self.adapter_version,
            since=self.since,
            until=self.until,
        )


def titles_for(artifact: Path | None, *traces: RunTrace) -> Catalogue | None:
    """Load the catalogue of the artifact that was named, or of the default one if all the runs were made with it."""
    from deeprec.trm_tool.catalogue.catalogue import Catalogue
    from deeprec.trm_tool.trm.artifact import load_artifact

    if artifact is not None:
        return Catalogue.from_parquet(artifact / "items.parquet")
    try:
        found = load_artifact(DEFAULT_ARTIFACT)
    except ArtifactError:
        return None
    return found.catalogue if {trace.run.trm_fingerprint for trace in traces} == {found.fingerprint} else None


def echo(as_json: bool, data: Any, text: str) -> None:
    """Print a result: JSON for machines, or text for people."""
    typer.echo(json.dumps(data, indent=2, allow_nan=False) if as_json else text)


def to_json(value: Any) -> Any:
    """Turn a record into strict JSON: NaN is null, ids and times are text."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
