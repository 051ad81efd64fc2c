"""What is stored of a row goes on only with the same settings and recommender."""

from dataclasses import asdict

import pytest

from deeprec.agent import AgentConfig, TraceStore
from deeprec.evals.suites.row_checks import check_settings
from deeprec.evals.suites.suite import Entry
from deeprec.trm_tool import ConfigError, RecommenderIdentity
from tests.made_runs import made_record, made_trace, store_runs

PLAIN = RecommenderIdentity(fingerprint="ab" * 8)


@pytest.mark.parametrize("fingerprint", ["cd" * 8, "ef" * 8])
def test_a_row_with_signals_goes_on_though_their_fit_differs_in_the_last_bits(
    fingerprint: str, store: TraceStore
) -> None:
    config = AgentConfig(own_k=9)
    for name, of in (("plain", PLAIN.fingerprint), ("shown", fingerprint)):
        run = made_record(suite="demo@1", system=name, trm_fingerprint=of, config=asdict(config))
        store_runs(store, made_trace(run))
    for name, signals in (("plain", False), ("shown", True)):
        entry = Entry(system="deeprec-guided", name=name, signals=signals)
        check_settings(store, "demo@1", entry, config, PLAIN)
        changed = entry.model_copy(update={"signals": not signals})
        with pytest.raises(ConfigError, match=f"runs of {name} have another value of signals. Put it back"):
            check_settings(store, "demo@1", changed, config, PLAIN)
        with pytest.raises(ConfigError, match="another value of own_k"):
            check_settings(store, "demo@1", entry, AgentConfig(), PLAIN)
