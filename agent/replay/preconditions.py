"""What has to hold before a logged run is run again: it is whole, and it meets what it was made with."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from uuid import UUID

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.protocols import AgentProtocol
from deeprec.agent.protocols.turn import MAX_PREFERENCE_CHARS, read_preference
from deeprec.agent.traces.records import OPEN_STATUSES, RunTrace, TraceStoreError, TurnRecord
from deeprec.agent.traces.store.store import TraceStore
from deeprec.trm_tool import AnyRecommender, ConfigError, neutralise


def load_ended(store: TraceStore, run_id: UUID | str) -> RunTrace:
    """Load a run that ended, with all its steps.

    Raises:
        RunNotFoundError: there is no such run.
        TraceStoreError: the run has not ended, was redacted, or lacks steps.
    """
    trace = store.run(run_id)
    name = f"Run {trace.run.run_id}"
    if trace.redacted_at is not None:
        raise TraceStoreError(f"{name} was redacted: its request is gone. Choose another run.")
    if edited := (trace.run.fork or {}).get("edited"):
        raise TraceStoreError(
            f"{name} is a fork that was edited at a checkpoint ({', '.join(map(str, edited))}), which its steps do not "
            f"show. Choose its parent, run {trace.run.parent_id}."
        )
    if trace.status in OPEN_STATUSES:
        raise TraceStoreError(f"{name} has not ended, or its process was killed. Choose a run that ended.")
    positions = [turn.position for turn in trace.turns]
    if trace.incomplete or positions != list(range(len(positions))):
        raise TraceStoreError(f"{name} is incomplete: the trace store failed while it ran. Choose another run.")
    return trace


_FIRST_SETTINGS = {"guided", "temperature", "top_p", "k", "retrieve_k", "max_history", "min_retrievals"}
_FIRST_SETTINGS |= {"max_retrievals", "max_turns", "max_malformed", "max_turn_tokens", "max_tokens", "max_seconds"}
"""What every agent run has logged since the first version; a setting that came later is missing from older runs."""


def config_of(trace: RunTrace) -> tuple[AgentConfig, dict[str, Any]]:
    """Read the settings that a run was made with, and the parts of its request that are logged beside them.

    Raises:
        TraceStoreError: this version has other settings.
    """
    stored = dict(trace.run.config)
    parts = {name: stored.pop(name, None) for name in ("where", "exclude", "earlier", "settings")}
    stored.pop("turn_seeds", None)
    if "guided_by_message" not in stored:  # a run from before there was a choice of phrases and of texts
        stored |= {"guided_by_message": False, "prompts": "trained"}
    stored.setdefault("hears_words", False)  # no retrieval of an older run had the message
    stored.setdefault("reads_constraints", False)  # the preferences of an older run were text
    stored.setdefault("enforces_words", False)  # only what the model wrote excluded items
    stored.setdefault("weighs_missing", False)  # what the catalogue lacks was only named
    stored.setdefault("weighs_close_refusals", False)  # closeness to the person's words made a refusal hard
    odd = sorted(set(stored) - {field.name for field in fields(AgentConfig)} | _FIRST_SETTINGS - set(stored))
    if odd:
        raise TraceStoreError(
            f"Run {trace.run.run_id} was logged by a version with other settings ({', '.join(odd)[:200]}). It "
            "cannot be run again as it was."
        )
    try:
        return AgentConfig(**stored), parts
    except (ConfigError, TypeError) as error:
        raise TraceStoreError(f"The settings logged of run {trace.run.run_id} make no sense: {error}") from error


def retrieving_turn(trace: RunTrace, turn: int) -> TurnRecord:
    """Find the turn at a position, from 0; it has to be one that retrieved.

    Raises:
        TraceStoreError: the run has no turn there, or the turn did something else. The message counts turns from 1.
    """
    those = sorted(retrieval.turn + 1 for retrieval in trace.retrievals)
    advice = f"Turns that retrieved: {', '.join(map(str, those))}." if those else "None of its turns retrieved."
    if not 0 <= turn < len(trace.turns):
        raise TraceStoreError(f"Run {trace.run.run_id} has {len(trace.turns)} turns, and no turn {turn + 1}. {advice}")
    record = trace.turns[turn]
    if turn + 1 not in those or record.action != "retrieve":
        raise TraceStoreError(f"Turn {turn + 1} of run {trace.run.run_id} did not retrieve ({record.action}). {advice}")
    return record


def checked_preference(text: str) -> str:
    """Read a preference as the protocols would.

    Raises:
        ConfigError: the preference is empty or too long, or could be taken for a tag.
    """
    preference, why = read_preference(" ".join(text.split()))
    if preference is None:
        raise ConfigError(f"This preference cannot be used: {why}. Write a few phrases separated by ';'.")
    if neutralise(preference, MAX_PREFERENCE_CHARS) != preference:
        raise ConfigError(
            "The preference holds a character that tags are made of (<, >, [, ] or |), or one that cannot be seen. "
            "Write a few plain phrases separated by ';'."
        )
    return preference


def refuse_another(
    trace: RunTrace, protocol: AgentProtocol, recommender: AnyRecommender, *, allow_other_model: bool
) -> None:
    """Compare a run with what it is to be run again with.

    Raises:
        ConfigError: the protocol, the prompts or the recommender are not the run's; or the model, the adapter or the
            sampling are not, unless that is allowed.
    """
    run, name = trace.run, f"Run {trace.run.run_id}"
    versions = {
        "protocol": (run.protocol, protocol.name, ""),
        "protocol version": (run.protocol_version, protocol.version, ""),
        "prompt version": (run.prompt_version, protocol.prompt_version, " Pass the run's own texts as `prompts`."),
    }
    for what, (logged, here, remedy) in versions.items():
        if logged != here:
            raise ConfigError(
                f"{name} was made with {what} {_brief(logged)}, and here it is {_brief(here)}: it would be another run."
                f"{remedy}"
            )
    fingerprint = recommender.identity.fingerprint
    if run.trm_fingerprint != fingerprint:
        raise ConfigError(
            f"{name} was made with the recommender {run.trm_fingerprint[:12]}, and this one is "
            f"{fingerprint[:12]}: other items would come back. Name the run's own artifact and signals."
        )
    live = {"adapter": None, "sampling": {}, **protocol.lineage()}
    for what in ("policy_model", "adapter", "sampling"):
        logged = getattr(run, what)
        if logged != live[what] and not allow_other_model:
            raise ConfigError(
                f"{name} was written with {what.replace('_', ' ')} {_brief(logged)}, and here it is "
                f"{_brief(live[what])}. Serve that one, or allow another model."
            )


def _brief(value: object) -> str:
    return "none" if value is None else repr(value)[:120]
