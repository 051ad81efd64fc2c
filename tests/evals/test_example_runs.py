from pathlib import Path

import pytest

from deeprec.agent import CompletionPolicy, TraceStore
from deeprec.evals import make_example_runs
from deeprec.trm_tool import Dataset, Retriever
from tests.tiny_server import MODEL, serve_tiny


@pytest.mark.slow
async def test_runs_to_look_at_hold_out_the_last_item_and_come_guided_first(
    retriever: Retriever, dataset: Dataset, tmp_path: Path
) -> None:
    seen: set[int] = set()
    with serve_tiny() as server, TraceStore(tmp_path / "t.db") as store:
        async with CompletionPolicy(server.base_url, MODEL) as policy:
            made = await make_example_runs(
                store, policy, retriever, dataset, guided=2, free=1, on_update=lambda at, *_: seen.add(at)
            )
        traces = [store.run(run_id) for run_id in made]
    assert seen == {0, 1, 2}
    assert [trace.run.guided for trace in traces] == [True, True, False]
    assert len({trace.run.seed for trace in traces}) == 3
    assert len({trace.run.user_id for trace in traces}) == 3
    for trace in traces:
        items = dataset.history(str(trace.run.user_id))
        assert list(trace.run.history) == list(items[:-1])[-10:]
        assert (trace.run.target_id, trace.run.split, trace.run.suite) == (items[-1], "test", "examples")
        assert trace.status != "running"
