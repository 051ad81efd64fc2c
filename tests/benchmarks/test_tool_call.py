from pathlib import Path

import pytest

from benchmarks.tool_call import EVERYTHING, WHOLE, compare, measure_calls, measure_load, write_shop
from deeprec.trm_tool import HashingEncoder, Retriever
from deeprec.trm_tool.trm import scoring


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "shop"
    write_shop(folder, 400, 0, "hashing-16", 16)
    return folder


def test_the_steps_of_a_call_make_up_the_call(shop: Path) -> None:
    score = scoring.score
    timings = measure_calls(shop, HashingEncoder(16), 9)
    assert scoring.score is score  # nothing is left wrapped
    steps = {timing.step: timing for timing in timings if timing.call == EVERYTHING}
    assert next(iter(steps)) == WHOLE
    assert set(steps) > {"filter", "encode", "read the history", "search", "cut", "diversify", "render", "rest"}
    parts = sum(timing.cpu_median_ms for step, timing in steps.items() if step != WHOLE)
    assert parts == pytest.approx(steps[WHOLE].cpu_median_ms, rel=0.5)
    assert all(timing.median_ms <= timing.p90_ms for timing in timings)
    assert set(compare(timings)) == {"cut", "filter", "clean"}


def test_the_shop_is_one_that_the_retriever_serves(shop: Path) -> None:
    retriever = Retriever.load(shop)
    assert len(retriever.retrieve(["p1", "p2"], "category 3", k=20, where={"price": {"max": 30}})) == 20
    assert retriever.catalogue.item("p3").attributes["category"] == "Category 3"


@pytest.mark.slow
def test_a_load_is_measured_in_a_process_of_its_own(shop: Path) -> None:
    figures = measure_load(shop)
    assert 0 < figures["imports_mb"] <= figures["load_peak_mb"] <= figures["peak_mb"]
    assert figures["load_cpu_s"] > 0
