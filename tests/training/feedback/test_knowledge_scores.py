"""Scores of knowledge: what a ranking gains by it, by hand, and that no held-out target is ever scored."""

from __future__ import annotations

import math
from uuid import UUID, uuid4

import pytest

from deeprec.agent import TraceStore
from deeprec.agent.traces import RunFilter, RunOutcome, RunRecord, TurnRecord
from deeprec.evals import make_cases
from deeprec.training import KNOWLEDGE_SCHEME, as_written_preferences, read_knowledge_runs, score_knowledge
from deeprec.trm_tool import Artifact, ConfigError, Dataset, HashingEncoder, Query, Retriever


@pytest.fixture(scope="module")
def retriever(artifact: Artifact) -> Retriever:
    return Retriever(artifact, HashingEncoder())


def log_knowledge(
    store: TraceStore, dataset: Dataset, user: str, knowledge: str | None, split: str = "train", label: str = "k"
) -> UUID:
    """Log a knowledge run as a policy's would be; None is an answer without knowledge."""
    [case] = [case for case in make_cases(dataset, split) if case.user == user]
    run_id = uuid4()
    store.start_run(
        RunRecord(
            run_id=run_id,
            user_id=user,
            history=case.history,
            target_id=case.target,
            protocol="knowledge",
            protocol_version="1",
            prompt_version="1",
            guided=True,
            k=0,
            policy_model="tiny",
            trm_fingerprint="none",
            dataset_fingerprint=dataset.fingerprint,
            split=split,
            suite=label,
            kind="knowledge",
            group_id=f"{label}/{user}",
        )
    )
    action = "malformed" if knowledge is None else "knowledge"
    store.record_turn(run_id, TurnRecord(position=0, node="reason", action=action, preference=knowledge, latency_ms=1))
    status = "malformed" if knowledge is None else "finished"
    store.finish_run(run_id, RunOutcome(status=status, latency_ms=1))
    return run_id


def test_a_score_is_the_rank_that_the_knowledge_leads_to(
    store: TraceStore, dataset: Dataset, retriever: Retriever
) -> None:
    ids = [log_knowledge(store, dataset, "u0", text) for text in ("comedy; 1990s", "horror", None)]
    report = score_knowledge(store, recommender=retriever, dataset=dataset)
    assert (report.runs, report.scored, report.malformed) == (3, 3, 1)
    stored = store.rewards(ids, KNOWLEDGE_SCHEME)
    history, target = dataset.history("u0", 3), dataset.target("u0", 3)
    plain = retriever.rank_of(target, Query(history=history))
    for run_id, text in zip(ids[:2], ("comedy; 1990s", "horror"), strict=True):
        rank = retriever.rank_of(target, Query(history=history, preference=text))
        score = (1 / math.log2(rank + 1) + 1 / rank) / 2
        assert stored[run_id]["map"] == pytest.approx(1 / rank)
        assert stored[run_id]["score"] == pytest.approx(score)
        assert stored[run_id]["gain"] == pytest.approx(score - (1 / math.log2(plain + 1) + 1 / plain) / 2)
    assert stored[ids[2]]["score"] == -1  # an error of format, as in the stages of GRPO
    assert math.isnan(stored[ids[2]]["gain"])
    assert score_knowledge(store, recommender=retriever, dataset=dataset).scored == 0


@pytest.mark.parametrize("split", ["valid", "test"])
def test_held_out_targets_are_never_scored(
    store: TraceStore, dataset: Dataset, retriever: Retriever, split: str
) -> None:
    run_id = log_knowledge(store, dataset, "u1", "comedy", split)
    with pytest.raises(ConfigError, match="would train on what is measured"):
        score_knowledge(store, recommender=retriever, dataset=dataset)
    assert not store.rewards([run_id], KNOWLEDGE_SCHEME)


def test_a_recommender_that_learned_the_target_is_refused(
    store: TraceStore, dataset: Dataset, artifact_folder: object
) -> None:
    log_knowledge(store, dataset, "u1", "comedy")
    with pytest.raises(ConfigError, match="trained with holdout 2"):
        score_knowledge(store, recommender=Retriever.load(str(artifact_folder), HashingEncoder()), dataset=dataset)


def test_knowledge_is_read_as_preferences_to_train_on(store: TraceStore, dataset: Dataset) -> None:
    log_knowledge(store, dataset, "u2", "comedy; 1990s")
    log_knowledge(store, dataset, "u3", None)
    [row] = as_written_preferences(store, dataset, RunFilter(suite="k"))
    assert (row.user_id, row.preference, row.history_length) == ("u2", "comedy; 1990s", len(dataset.history("u2", 3)))
    assert {run.user for run in read_knowledge_runs(store)} == {"u2", "u3"}
