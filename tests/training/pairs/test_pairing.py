"""Pairs of scored groups: the best and the worst of each, and what gives no pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deeprec.agent import TraceStore
from deeprec.agent.traces import RunFilter, read_pairs, redact_person
from deeprec.training import PairingReport, RolloutError, StoredReward, make_pairs, read_rollout_pairs, stage_reward
from deeprec.training.pairs.rollout_pairs import check_pairs
from deeprec.trm_tool import ConfigError, Dataset
from tests.made_runs import made_run, store_runs
from tests.training.pairs.answers import answered

HIT = StoredReward(scheme="deeprec", component="hit")


@pytest.fixture
def store(tmp_path: Path) -> TraceStore:
    return TraceStore(tmp_path / "traces.db")


def group(store: TraceStore, name: str, *rewards: float, **changes: Any) -> list[UUID]:
    """A group of runs with these rewards, each with a text of its own."""
    ids = []
    for number, reward in enumerate(rewards):
        [trace] = store_runs(store, answered(name, (50 + number, 60), text=f"answer {number}", **changes))
        store.write_rewards(trace.run.run_id, "deeprec", {"format": 0.0, "hit": reward})
        ids.append(trace.run.run_id)
    return ids


def test_the_best_and_the_worst_of_each_group_are_a_pair(store: TraceStore) -> None:
    first, second = group(store, "a", 0.2, 1.0, -0.5, math.nan), group(store, "b", 3.0, 1.0)
    done: list[int] = []
    report = make_pairs(store, reward=HIT, name="words", on_progress=done.append)
    by_chosen = {pair.chosen_id: pair for pair in read_pairs(store, "words")}
    assert set(by_chosen) == {first[1], second[0]}
    best = by_chosen[first[1]]
    assert (best.rejected_id, best.chosen_reward, best.rejected_reward, best.runs) == (first[2], 1.0, -0.5, 3)
    assert (best.reward, best.margin) == ("deeprec.hit", 0.0)
    assert report == PairingReport(
        name="words", reward="deeprec.hit", margin=0.0, runs=6, refused={}, without_reward=1, groups=2, pairs=2,
        left_out={}, gap=1.75,
    )  # fmt: skip
    assert done == [6]
    pairs = read_rollout_pairs(store, "words")
    check_pairs(pairs)
    chosen = {pair.chosen.run_id: pair for pair in pairs}[first[1]].chosen
    assert chosen.token_ids[chosen.env_mask == 1].tolist() == [51, 60]


def test_a_stages_reward_is_composed_with_its_weights(store: TraceStore) -> None:
    ids = group(store, "a", 1.0, 0.0)
    store.write_rewards(ids[1], "deeprec", {"format": -1.0, "hit": 5.0})
    stage = stage_reward("recommendation", {"similarity": 0.0, "rank": 0.0, "hit": 2.0})
    make_pairs(store, reward=stage)
    [pair] = read_pairs(store, "pairs")
    assert (pair.chosen_id, pair.chosen_reward, pair.rejected_reward) == (ids[0], 2.0, -1.0)
    assert pair.reward == "stage-recommendation.reward"


def test_groups_that_give_no_pair_are_counted_by_reason(store: TraceStore) -> None:
    group(store, "good", 1.0, 0.0)
    group(store, "alone", 1.0)
    group(store, "ties", 1.0, 1.0, 1.0)
    group(store, "close", 1.0, 0.95)
    group(store, "policies", 1.0, 0.0)
    group(store, "policies", 3.0, run={"adapter_version": "rec-v2"})
    group(store, "prompts", 1.0, 0.0)
    group(store, "prompts", 3.0, prompt=(1, 2, 4))
    for reward in (1.0, 0.0):
        [trace] = store_runs(store, answered("same", (50, int(60 + reward)), text="one text"))
        store.write_rewards(trace.run.run_id, "deeprec", {"hit": reward})
    [running] = store_runs(store, answered("good", (70, 71), text="no list yet", status="aborted"))
    report = make_pairs(store, reward=HIT, margin=0.1)
    assert report.pairs == 1
    assert report.left_out == dict.fromkeys(
        ("one run", "equal rewards", "gap below the margin", "several policies", "several prompts", "same text"), 1
    )
    assert report.refused == {"aborted": 1}
    assert running.run.run_id not in {pair.chosen_id for pair in read_pairs(store, "pairs")}


@pytest.mark.parametrize(
    ("rewards", "margin", "message"),
    [
        ((1.0,), 0.0, "None of 1 groups gives a pair at a margin of 0: 1 one run. Run the agent several times"),
        ((0.5, 0.5), 0.0, "1 equal rewards. Sample at a temperature above 0"),
        ((0.5, 0.4), 0.2, "at a margin of 0.2: 1 gap below the margin. Lower the margin"),
        ((math.nan, math.nan), 0.0, r"No run with a reward can be paired \(2 without a finite reward\)"),
        ((1.0, 0.0), -1.0, "The margin of pairs is -1.0"),
        ((1.0, 0.0), math.nan, "The margin of pairs is nan"),
    ],
)
def test_where_no_pair_can_be_made_the_earlier_set_stays(
    store: TraceStore, rewards: tuple[float, ...], margin: float, message: str
) -> None:
    group(store, "before", 1.0, 0.0, run={"suite": "before"})
    make_pairs(store, reward=HIT)
    kept = read_pairs(store, "pairs")
    group(store, "a", *rewards, run={"suite": "new"})
    with pytest.raises(ConfigError, match=message):
        make_pairs(store, RunFilter(suite="new"), reward=HIT, margin=margin)
    assert read_pairs(store, "pairs") == kept


def test_runs_that_were_not_scored_or_are_held_out_are_refused_by_name(store: TraceStore) -> None:
    group(store, "a", 1.0, 0.0)
    with pytest.raises(ConfigError, match=r"2 of 2 rollouts have no reward 'feedback.ndcg' \(such as run"):
        make_pairs(store, reward=StoredReward(scheme="feedback", component="ndcg"))
    with pytest.raises(ConfigError, match="train score --stage interaction"):
        make_pairs(store, reward=stage_reward("interaction"))
    group(store, "t", 1.0, 0.0, run={"split": "test"})
    with pytest.raises(ConfigError, match="of the split test"):
        make_pairs(store, reward=HIT)
    assert make_pairs(store, reward=HIT, allow_leaks=True).pairs == 2
    with pytest.raises(ConfigError, match="of the split test"):
        read_rollout_pairs(store, "pairs")
    with pytest.raises(ConfigError, match=r"no pairs named 'none'\. There are: pairs"):
        read_rollout_pairs(store, "none")


def test_the_targets_of_pairs_are_looked_up_in_the_data_whatever_their_runs_say(
    store: TraceStore, dataset: Dataset
) -> None:
    about = {"user_id": "u11", "target_id": dataset.sequences["u11"][-1], "dataset_fingerprint": dataset.fingerprint}
    group(store, "a", 1.0, 0.0, run={"split": "train", **about})
    with pytest.raises(ConfigError, match="about targets of the splits valid or test"):
        make_pairs(store, reward=HIT, dataset=dataset)
    make_pairs(store, reward=HIT, allow_leaks=True)
    with pytest.raises(ConfigError, match="about targets of the splits valid or test"):
        read_rollout_pairs(store, "pairs", dataset=dataset)
    assert len(read_rollout_pairs(store, "pairs", dataset=dataset, allow_leaks=True)) == 1
    group(store, "b", 1.0, 0.0, run={"split": None, "suite": "unlabelled", **about})
    make_pairs(store, RunFilter(suite="unlabelled"), reward=HIT, name="unlabelled", allow_leaks=True)
    with pytest.raises(ConfigError, match=r"2 runs .* have a target and no split"):
        read_rollout_pairs(store, "unlabelled")


@pytest.mark.parametrize(
    ("of_runs", "pairs"), [(("A", "B"), 0), ((None, "A", "A"), 1), ((None, None), 1), (("A", None), 1)]
)
def test_other_weights_under_one_name_are_another_policy(
    store: TraceStore, of_runs: tuple[str | None, ...], pairs: int
) -> None:
    group(store, "always", 1.0, 0.0)
    for number, fingerprint in enumerate(of_runs):
        weights = {"adapter": "x", "adapter_version": "x", "adapter_fingerprint": fingerprint}
        [trace] = store_runs(store, answered("a", (50 + number, 60), text=f"answer {number}", run=weights))
        store.write_rewards(trace.run.run_id, "deeprec", {"hit": float(number)})
    report = make_pairs(store, reward=HIT)
    assert report.pairs == 1 + pairs
    assert report.left_out == ({} if pairs else {"several policies": 1})


def test_a_person_who_was_removed_is_not_learned_from(store: TraceStore) -> None:
    group(store, "a", 1.0, 0.0)
    make_pairs(store, reward=HIT)
    redact_person(store, "u1", dry_run=False)
    with pytest.raises(RolloutError, match="redacted"):
        read_rollout_pairs(store, "pairs", allow_leaks=True)


def test_any_kind_of_run_with_tokens_is_paired_guided_ones_included(store: TraceStore) -> None:
    ids = group(store, "k", 0.2, 0.1, run={"kind": "scored", "guided": True})
    assert make_pairs(store, reward=HIT).pairs == 1
    assert [pair.chosen_id for pair in read_pairs(store, "pairs")] == ids[:1]


def test_the_order_of_the_store_does_not_decide_between_equal_rewards(store: TraceStore) -> None:
    traces = [answered("g", (50 + n,), text=str(n), minute=3 - n, run={"run_id": UUID(int=n)}) for n in range(4)]
    for trace, reward in zip(store_runs(store, *traces), (1.0, 1.0, 0.0, 0.0), strict=True):
        store.write_rewards(trace.run.run_id, "deeprec", {"hit": reward})
    make_pairs(store, reward=HIT)
    [pair] = read_pairs(store, "pairs")
    assert (pair.chosen_id, pair.rejected_id) == (UUID(int=0), UUID(int=2))


def test_a_run_of_several_turns_is_compared_by_what_the_policy_wrote(store: TraceStore) -> None:
    for reward in (1.0, 0.0):  # equal tokens and equal, empty texts
        [trace] = store_runs(store, made_run(group="m", run={"trm_holdout": 3}))
        store.write_rewards(trace.run.run_id, "deeprec", {"hit": reward})
    with pytest.raises(ConfigError, match="1 same text"):
        make_pairs(store, reward=HIT)
