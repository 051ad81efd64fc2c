"""The start of a run: its request, checked, and the record that opens it in the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.request import read_history, read_lineage, read_message, read_where
from deeprec.agent.graph.state import AgentState, Lineage
from deeprec.agent.protocols import AgentProtocol
from deeprec.agent.traces.records import RunRecord
from deeprec.trm_tool import RecommenderIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """A request as a caller gave it, checked."""

    run_id: UUID
    parent_id: UUID | None
    history: list[str]
    message: str | None
    where: Mapping[str, Any] | None
    lineage: Lineage

    @classmethod
    def of(cls, state: AgentState, task: str) -> RunStart:
        """Read the request out of a state.

        Args:
            state: With the request.
            task: Names the present step, from which a run without an id gets one: the same where a killed step runs
                again from its checkpoint.

        Raises:
            ConfigError: the request has no history, or a part of it has a wrong type.
        """
        lineage = read_lineage(state.get("lineage"))
        run_id, parent_id = lineage.get("run_id"), lineage.get("parent_id")
        return cls(
            run_id=uuid5(NAMESPACE_OID, task) if run_id is None else UUID(run_id),
            parent_id=None if parent_id is None else UUID(parent_id),
            history=read_history(state.get("history")),
            message=read_message(state.get("message")),
            where=read_where(state.get("where")),
            lineage=lineage,
        )

    def record(self, protocol: AgentProtocol, identity: RecommenderIdentity, config: AgentConfig) -> RunRecord:
        """The record that opens the run in the trace.

        Args:
            protocol: With its part of the lineage: the model, its adapter, how it samples.
            identity: Of the recommender.
            config: The settings of the run.
        """
        lineage = self.lineage
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
            config={**asdict(config), "where": self.where, **rule},
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


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in ("deeprec-agent", "langgraph", "langchain-core", "openai", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
