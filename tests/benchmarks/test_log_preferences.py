"""From a model that writes preferences to a training and a report on them, over a real HTTP server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.log_preferences import log_preferences
from deeprec.agent import CompletionPolicy, TraceStore
from deeprec.agent.traces import RunFilter, export_preferences
from deeprec.evals import evaluate_written
from deeprec.trm_tool import (
    ConfigError,
    Dataset,
    Retriever,
    collect_training_texts,
    load_artifact,
    read_preference_file,
)
from tests.tiny_server import serve_tiny


@pytest.fixture
async def policy() -> AsyncIterator[CompletionPolicy]:
    with serve_tiny() as server:
        policy = CompletionPolicy(server.base_url)
        yield policy
        await policy.aclose()


@pytest.mark.slow
async def test_what_runs_write_can_be_reported_on_and_trained_on(
    policy: CompletionPolicy, artifact_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    artifact = load_artifact(artifact_folder)
    test, train = Retriever(artifact), Retriever(replace(artifact, config={**artifact.config, "holdout": 3}))
    file = tmp_path / "written.parquet"
    with TraceStore(tmp_path / "traces.db") as store:
        assert await log_preferences(policy, test, dataset, store, before=1, users=2) == {"finished": 2}
        assert await log_preferences(policy, train, dataset, store, before=3, users=2) == {"finished": 2}
        assert export_preferences(store, file).preferences == 12
        trained = {run.user_id for run in store.runs(None, RunFilter(split="train"))}
        tested = {run.user_id for run in store.runs(None, RunFilter(split="test"))}
    assert len(trained) == len(tested) == 2
    assert not trained & tested
    found = collect_training_texts(dataset, 2, read_preference_file(file))
    assert (found.used, found.refused) == (6, {"a run of the test or validation split": 6})
    assert set(found.texts) == {(user, len(dataset.sequences[user]) - 3) for user in trained}
    report = evaluate_written(artifact, dataset, read_preference_file(file))
    assert (report.cases, report.used) == (2, 6)
    assert list(report.policies) == ["tiny, guided"]


@pytest.mark.slow
async def test_the_same_call_again_runs_nothing_twice(
    policy: CompletionPolicy, retriever: Retriever, dataset: Dataset, tmp_path: Path
) -> None:
    with TraceStore(tmp_path / "traces.db") as store:
        await log_preferences(policy, retriever, dataset, store, before=1, users=2)
        first = list(store.traces())
        assert await log_preferences(policy, retriever, dataset, store, before=1, users=2) == {"finished": 2}
        assert list(store.traces()) == first


async def test_a_recommender_that_knows_the_targets_is_refused(
    policy: CompletionPolicy, retriever: Retriever, dataset: Dataset, tmp_path: Path
) -> None:
    with TraceStore(tmp_path / "traces.db") as store:
        with pytest.raises(ConfigError, match=r"holdout 2; item 3 from the end .* `--holdout 3`"):
            await log_preferences(policy, retriever, dataset, store, before=3, users=2)
        with pytest.raises(ConfigError, match="on other data"):
            await log_preferences(policy, retriever, dataset.without_last(1), store, before=1, users=2)
        assert store.runs() == []
