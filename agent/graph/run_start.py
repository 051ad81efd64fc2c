"""The start of a run: its request, checked, and the record that opens it in the trace."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast
from uuid import NAMESPACE_OID, UUID, uuid5

from deeprec.agent.graph.caller_config import caller_config
from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.messages import read_messages
from deeprec.agent.graph.request import (
    read_earlier,
    read_exclude,
    read_history,
    read_lineage,
    read_message,
    read_settings,
    read_where,
)
from deeprec.agent.graph.request_settings import merge_sources
from deeprec.agent.graph.state import AgentState, Lineage
from deeprec.agent.graph.step_inputs import digest
from deeprec.agent.protocols import AgentProtocol
from deeprec.agent.traces.records import RunRecord
from deeprec.agent.traces.store.recorder import Recorder
from deeprec.agent.traces.store.writes import OtherRequestError
from deeprec.trm_tool import CatalogueView, RecommenderIdentity, UnknownItemError, split_known

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """A request as a caller gave it, checked."""

    run_id: UUID
    parent_id: UUID | None
    history: list[str]
    message: str | None
    where: Mapping[str, Any] | None
    exclude: list[str]
    settings: dict[str, Any]
    """What the request sets for its own run."""
    earlier: list[str]
    """What was said before the message, in a conversation."""
    lineage: Lineage

    @classmethod
    def of(cls, state: AgentState, task: str, sources: Sequence[Mapping[str, Any]] = ()) -> RunStart:
        """Read the request out of a state.

        Args:
            state: With the parts of the input.
            task: Names the present step, from which a run without an id gets one: the same where a killed step runs
                again from its checkpoint.
            sources: What stands for parts and settings that the input leaves out; see `merge_sources`.

        Raises:
            ConfigError: the request has no history, or a part of it has a wrong type.
        """
        given = merge_sources([_parts(source) for source in (*sources, state)])
        message, earlier = read_message(state.get("message")), read_earlier(state.get("earlier"))
        history = given.get("history")
        if messages := state.get("messages"):
            history = [] if history is None else history  # a chat client knows of none
            if message is None:
                message, earlier = read_messages(messages)
        own = read_lineage(state.get("lineage"))
        lineage: Lineage = own if "fork" in own else given["lineage"]  # a fork has left the group of its surroundings
        run_id, parent_id = lineage.get("run_id"), lineage.get("parent_id")
        return cls(
            run_id=uuid5(NAMESPACE_OID, task) if run_id is None else UUID(run_id),
            parent_id=None if parent_id is None else UUID(parent_id),
            history=read_history(history),
            message=message,
            where=given.get("where"),
            exclude=list(dict.fromkeys(given["exclude"])),
            settings=given["settings"],
            earlier=earlier,
            lineage=lineage,
        )

    def known(self, catalogue: CatalogueView, *, is_strict: bool) -> tuple[RunStart, list[str]]:
        """The request without the ids of its history that the catalogue lacks, and these ids.

        Raises:
            UnknownItemError: `is_strict`, and there are such ids.
        """
        known, unknown = split_known(catalogue, self.history)
        if not unknown:
            return self, []
        named = ", ".join(repr(item_id)[:80] for item_id in unknown[:10])
        why = f"{len(unknown)} of the {len(self.history)} ids of the history are not in the catalogue: {named}"
        if is_strict:
            raise UnknownItemError(f"{why}. Give ids of its items, or leave strict_history off, which skips them.")
        _log.warning("Run %s goes on without them: %s", self.run_id, why)
        return replace(self, history=known), unknown

    @property
    def kept_lineage(self) -> Lineage:
        """What a fork keeps: all but the group and the suite, so that their figures stay what they were."""
        kept = {"user_id", "tenant", "target_id", "split"}
        return cast(Lineage, {name: value for name, value in self.lineage.items() if name in kept})

    def fork(self, names: Sequence[str], inputs: str) -> RunStart:
        """The start of this request as a fork of the run that has its id.

        Args:
            names: The parts of the request that differ.
            inputs: A digest of these parts, from which the fork's id follows.
        """
        return replace(
            self,
            run_id=uuid5(self.run_id, inputs),
            parent_id=self.run_id,
            lineage={**self.kept_lineage, **_seeds(self.lineage), "fork": {"turn": 0, "edited": list(names)}},
        )

    def record(self, protocol: AgentProtocol, identity: RecommenderIdentity, config: AgentConfig) -> RunRecord:
        """The record that opens the run in the trace.

        Args:
            protocol: With its part of the lineage: the model, its adapter, how it samples.
            identity: Of the recommender.
            config: The settings of the run, with those that the request sets.
        """
        lineage = self.lineage
        asked = {"exclude": self.exclude, "earlier": self.earlier, "settings": self.settings}
        asked = {name: value for name, value in asked.items() if value}
        # Runs that were logged before the rule was named have none in their settings.
        rule = {} if lineage.get("turn_seeds") == "counted" else {"turn_seeds": "hashed"}
        return RunRecord(
            run_id=self.run_id,
            tenant=lineage.get("tenant"),
            user_id=lineage.get("user_id"),
            history=tuple(self.history),
            message=self.message,
            target_id=lineage.get("target_id"),
            protocol=protocol.name,
            protocol_version=protocol.version,
            prompt_version=protocol.prompt_version,
            guided=protocol.guided,
            k=config.k,
            trm_fingerprint=identity.fingerprint,
            trm_holdout=identity.holdout,
            dataset_fingerprint=identity.dataset_fingerprint,
            config={**asdict(config), "where": self.where, **asked, **rule},
            seed=lineage.get("seed"),
            split=lineage.get("split"),
            suite=lineage.get("suite"),
            system=lineage.get("system"),
            shuffled_of=lineage.get("shuffled_of"),
            group_id=lineage.get("group_id"),
            parent_id=self.parent_id,
            fork=lineage.get("fork"),
            versions=_versions(),
            **protocol.lineage(),
        )


def _parts(source: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that the input, a context and `configurable` may all have."""
    return {
        "history": source.get("history"),
        "where": read_where(source.get("where")),
        "exclude": read_exclude(source.get("exclude")),
        "lineage": read_lineage(source.get("lineage")),
        "settings": read_settings(source.get("settings")),
    }


async def open_run(recorder: Recorder, start: RunStart, *made_with: Any) -> RunStart:
    """Open a run in the trace. Under an id that another request has, it becomes a fork of that request's run.

    Args:
        recorder: Where runs are logged.
        start: The start of the run.
        made_with: What `RunStart.record` takes.

    Returns:
        The start as it was logged.
    """
    try:
        await recorder.start_run(replace(start.record(*made_with), **caller_config()))
    except OtherRequestError as other:
        start = start.fork(other.names, digest(other.values))
        _log.warning(
            "The run id %s is taken by another request: %s differ. This one is run as %s, a fork of it.",
            start.parent_id,
            ", ".join(other.names),
            start.run_id,
        )
        await recorder.start_run(replace(start.record(*made_with), **caller_config()))
    return start


def _seeds(lineage: Lineage) -> Lineage:
    return cast(Lineage, {name: value for name, value in lineage.items() if name in ("seed", "turn_seeds")})


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in ("deeprec-agent", "langgraph", "langchain-core", "openai", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
