from pathlib import Path

import numpy as np
import pytest

from benchmarks.eval_report import fill, measure
from benchmarks.made_suite import SYSTEMS
from deeprec.agent import TraceStore
from deeprec.evals import load_results, make_report, render_html


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "suite.db"
    fill(path, 400, seed=0)
    return path


def test_a_made_suite_is_one_that_a_harness_could_have_stored(filled: Path) -> None:
    with TraceStore(filled) as store:
        results = load_results(store, "made")
    assert [system.name for system in results.systems] == list(SYSTEMS)
    assert {len(system.users) for system in results.systems} == {40}
    assert {"reward hit", "seen", "names_target"} <= set(results.system("tuned").measures)
    assert not np.isnan(results.system("trm").measures["ndcg@10 filled"]).any()
    assert results.orders["one-retrieval"].pairs == 40
    page = render_html(make_report(results))
    assert all(name in page for name in SYSTEMS)


@pytest.mark.slow
def test_the_report_is_timed_in_a_process_of_its_own(filled: Path) -> None:
    found = measure(filled)
    assert found["runs"] == 400
    assert set(found["seconds"]) == {"imports", "read", "compare", "page", "json"}
    assert 0 < found["peak_mib"] < 2048
