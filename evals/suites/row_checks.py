"""One row of a suite is one agent: what is stored of it has to be of the same model, settings and recommender."""

from __future__ import annotations

from dataclasses import fields

from deeprec.agent import AgentConfig, CompletionPolicy, TraceStore
from deeprec.agent.traces import RunFilter
from deeprec.evals.suites.result_rows import model_name, models_of
from deeprec.evals.suites.suite import Entry
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.recommender import RecommenderIdentity


def check_model(store: TraceStore, label: str, entry: Entry, policy: CompletionPolicy) -> None:
    """Check that the stored runs of a row were written by the model that goes on with it.

    Raises:
        ConfigError: they were written by another one.
    """
    name = model_name(str(policy.model), policy.adapter)
    others = models_of(store, label, entry.name) - {name}
    if others:
        raise ConfigError(
            f"The stored runs of {entry.name} were written by {', '.join(sorted(others))}, and the server has "
            f"{name}. Serve the same model, or give {name} an entry of its own (`name: …`, `model: {name}`)."
        )


def check_settings(
    store: TraceStore, label: str, entry: Entry, config: AgentConfig, identity: RecommenderIdentity
) -> None:
    """Check that the stored runs of a row have the settings and the recommender that it goes on with.

    Signals are compared by whether there were any: those of the same recommender and data, which are part of the label,
    are fitted again, and differ in the last bits where the number of threads does.

    Args:
        store: With the runs.
        label: The suite's (`suite_label`).
        entry: The row.
        config: The settings of its agent.
        identity: The suite's recommender, without signals.

    Raises:
        ConfigError: they have others, as after `agent` or `signals` of the row were changed under the same name.
    """
    stored = next(iter(store.traces(RunFilter(label=label, system=entry.name))), None)
    if stored is None or stored.redacted_at is not None:  # a redacted run has no settings
        return
    older = {field.name: stored.run.config.get(field.name, field.default) for field in fields(AgentConfig)}
    changed = [name for name, value in older.items() if value != getattr(config, name)]
    had_signals = stored.run.trm_fingerprint != identity.fingerprint
    changed += [] if had_signals == entry.signals else ["signals"]
    if changed:
        raise ConfigError(
            f"The stored runs of {entry.name} have another value of {', '.join(changed)}. Put it back, or give the "
            "changed row another `name`."
        )
