from typing import Any

import pytest

from deeprec.agent.traces import (
    PlaceOutline,
    RetrievalOutline,
    RunFilter,
    RunOutline,
    TraceStore,
    TurnOutline,
    read_outlines,
)


def test_an_outline_is_a_run_without_tokens_and_texts(any_store: TraceStore, make: Any) -> None:
    run = make.run(fork={"turn": None})
    make.write(any_store, run, turns=2)
    [outline] = read_outlines(any_store)
    asked = {"preference": "sci-fi; 1980s", "completion_tokens": 3, "latency_ms": 120.5}
    assert outline == RunOutline(
        run_id=run.run_id,
        system=run.system,
        target_id="1",
        k=3,
        status="finished",
        incomplete=False,
        is_fork=True,
        detail=None,
        ungrounded=1,
        latency_ms=900.0,
        turns=(
            TurnOutline(position=0, action="retrieve", prompt_tokens=5, **asked),
            TurnOutline(position=1, action="recommend", prompt_tokens=13, **asked),
        ),
        retrievals=(RetrievalOutline(position=0, turn=0, items=("9", "20", "1")),),
        written=tuple(PlaceOutline(item_id=item, source="written") for item in ("9", "9", "77")),
        recommended=(PlaceOutline(item_id="9", source="written"), PlaceOutline(item_id="1", source="filled")),
    )


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_every_run_comes_once_whatever_the_batch(any_store: TraceStore, make: Any, batch: int) -> None:
    runs = [make.write(any_store, make.run(suite="a" if number else "b")) for number in range(4)]
    assert [outline.run_id for outline in read_outlines(any_store, batch=batch)] == runs
    assert [outline.run_id for outline in read_outlines(any_store, RunFilter(suite="a"), batch=batch)] == runs[1:]
    assert all(len(outline.retrievals) == 2 for outline in read_outlines(any_store, batch=batch))
    assert not any(outline.is_fork for outline in read_outlines(any_store, batch=batch))
