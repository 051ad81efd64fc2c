"""Rewards of stored runs: what is written back, what is not computed twice, rewards of one's own."""

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deeprec.agent import redact_person
from deeprec.agent.traces import RunFilter, TraceStore
from deeprec.evals import REWARD_SCHEME, make_rewards, score_run
from deeprec.training import (
    GroupFaults,
    RolloutError,
    ScoringReport,
    load_rewards,
    read_rewarded,
    read_scored,
    score_stored_runs,
    stage_reward,
)
from deeprec.training.rewards.stages import KNOWN_COMPONENTS
from deeprec.trm_tool import Artifact, ConfigError, HashingEncoder
from tests.made_runs import made_run, store_runs

STAGE = stage_reward("recommendation", preset="paper")
OWN = """
import math
import sqlite3
def short(trace):
    return -float(len(trace.turns))
def fails(trace):
    return 1 / 0
def says(trace):
    return "good"
def endless(trace):
    return math.inf
def hit(trace):
    return 0.0
number = 3
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN, encoding="utf-8")
    return file


def score(store: TraceStore, artifact: Artifact, **settings: object) -> ScoringReport:
    own = settings.pop("own", {})
    rewards = {**make_rewards(artifact, HashingEncoder()), **own}  # type: ignore[dict-item]
    return score_stored_runs(store, rewards=rewards, **{"stage": STAGE} | settings)  # type: ignore[arg-type]


def test_components_and_the_stages_reward_are_written_back(store: TraceStore, artifact: Artifact) -> None:
    hit, miss = store_runs(store, made_run(), made_run(("893", "886", "879"), minute=1))
    [broken] = store_runs(store, made_run(("900",), minute=2))
    report = score(store, artifact)
    assert (report.runs, report.scored, report.composed, report.without_reward) == (3, 3, 3, 0)
    rewards = make_rewards(artifact, HashingEncoder())
    for trace in (hit, miss, broken):
        run_id = trace.run.run_id
        expected = score_run(trace, rewards)
        assert store.rewards([run_id], REWARD_SCHEME)[run_id] == pytest.approx(expected)
        stored = store.rewards([run_id], "stage-recommendation")[run_id]
        assert stored == {"reward": pytest.approx(STAGE.compose(expected))}
    assert store.rewards([broken.run.run_id], "stage-recommendation")[broken.run.run_id] == {"reward": -1.0}


def test_what_is_scored_is_not_computed_again(store: TraceStore, artifact: Artifact) -> None:
    first, second = store_runs(store, made_run(), made_run(minute=1))
    made_up = dict.fromkeys(KNOWN_COMPONENTS, 0.0) | {"hit": 0.5}
    store.write_rewards(first.run.run_id, REWARD_SCHEME, made_up)
    report = score(store, artifact)
    assert (report.runs, report.scored, report.composed) == (2, 1, 2)
    assert store.rewards([first.run.run_id], REWARD_SCHEME)[first.run.run_id] == made_up
    assert store.rewards([first.run.run_id], STAGE.scheme)[first.run.run_id] == {"reward": 0.5}
    again = score(store, artifact)
    assert (again.runs, again.scored, again.composed) == (2, 0, 0)
    heavier = score(store, artifact, stage=stage_reward("recommendation", {"hit": 4.0}, preset="paper"))
    assert (heavier.scored, heavier.composed) == (0, 2)
    assert store.rewards([first.run.run_id], STAGE.scheme)[first.run.run_id] == {"reward": 2.0}
    again = score(store, artifact, again=True)
    assert (again.scored, again.composed) == (2, 2)
    assert store.rewards([first.run.run_id], REWARD_SCHEME) != {first.run.run_id: made_up}
    assert store.rewards([second.run.run_id], REWARD_SCHEME)[second.run.run_id]["hit"] == 1.0


def test_a_run_without_a_target_gets_nan_and_is_counted(store: TraceStore, artifact: Artifact) -> None:
    [run] = store_runs(store, made_run(target=None))
    assert score(store, artifact).without_reward == 1
    assert math.isnan(store.rewards([run.run.run_id], STAGE.scheme)[run.run.run_id]["reward"])
    assert score(store, artifact).composed == 0  # NaN is stored and compared as such


def test_runs_that_have_not_ended_or_are_redacted_or_no_models_or_not_asked_for_are_left_alone(
    store: TraceStore, artifact: Artifact
) -> None:
    running = made_run(run={"user_id": "u2"})
    store.start_run(running.run)
    store_runs(store, made_run(run={"user_id": "gone"}), made_run(run={"split": "test"}))
    redact_person(store, "gone", dry_run=False)
    [baseline] = store_runs(store, made_run(run={"protocol": "none", "kind": "scored"}, turns=()))
    assert score(store, artifact, where=RunFilter(split="train")).runs == 0
    assert score(store, artifact).runs == 1
    assert store.rewards([running.run.run_id, baseline.run.run_id], REWARD_SCHEME) == {}


@pytest.mark.slow
def test_more_runs_than_a_page_are_each_scored_once(store: TraceStore, artifact: Artifact) -> None:
    store_runs(store, *(made_run(minute=minute // 7) for minute in range(300)))  # several start in the same minute
    looked_at: list[int] = []
    report = score(store, artifact, on_progress=looked_at.append)
    assert (report.runs, report.scored, looked_at) == (300, 300, [256, 300])


def test_tokens_are_read_only_for_rewards_that_may_use_them(
    store: TraceStore, tmp_path: Path, artifact: Artifact, own_file: Path
) -> None:
    bad, _ = store_runs(store, made_run(), made_run(minute=1))
    with closing(sqlite3.connect(tmp_path / "traces.db")) as connection, connection:
        connection.execute("UPDATE turns SET logprobs = x'010203' WHERE run_id = ?", [bad.run.run_id.bytes])
    report = score(store, artifact)
    assert (report.unreadable, report.runs) == ((), 2)
    report = score(store, artifact, own=load_rewards([f"{own_file}:short"]))
    assert (report.unreadable, report.runs) == ((bad.run.run_id,), 1)


def test_a_reward_of_ones_own_is_a_component_with_a_weight(
    store: TraceStore, artifact: Artifact, own_file: Path
) -> None:
    [trace] = store_runs(store, made_run(("893", "886", "879"), searches=("Comedy", "Drama")))
    score(store, artifact)
    before = store.rewards([trace.run.run_id], REWARD_SCHEME)[trace.run.run_id]
    reward = stage_reward("recommendation", {"short": 0.5}, preset="paper")
    report = score(store, artifact, stage=reward, own=load_rewards([f"{own_file}:short"]))
    assert (report.scored, report.composed) == (1, 1)
    after = store.rewards([trace.run.run_id], REWARD_SCHEME)[trace.run.run_id]
    assert after == before | {"short": -3.0}
    assert store.rewards([trace.run.run_id], reward.scheme)[trace.run.run_id]["reward"] == pytest.approx(
        STAGE.compose(before) - 1.5
    )


def test_a_weight_of_a_component_that_nothing_computes_is_refused(store: TraceStore, artifact: Artifact) -> None:
    with pytest.raises(ConfigError, match="'shrot', which nothing computes"):
        score(store, artifact, stage=stage_reward("recommendation", {"shrot": 1.0}, preset="paper"))


@pytest.mark.parametrize(
    ("function", "why"),
    [("fails", "failed on run .*ZeroDivisionError"), ("says", "returned 'good', a str"), ("endless", "returned 'inf'")],
)
def test_a_reward_of_ones_own_that_breaks_is_named_with_the_run(
    store: TraceStore, artifact: Artifact, own_file: Path, function: str, why: str
) -> None:
    [trace] = store_runs(store, made_run())
    with pytest.raises(ConfigError, match=why) as caught:
        score(store, artifact, own=load_rewards([f"{own_file}:{function}"]))
    assert str(trace.run.run_id) in str(caught.value)


def test_a_reward_that_is_not_there_is_refused(own_file: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_here\n", encoding="utf-8")
    (tmp_path / "wrong.py").write_text("def f(:\n", encoding="utf-8")
    for name, why in (
        ("own", "names no reward"),
        ("own.py:", "names no reward"),
        (f"{own_file}:shrot", r"no function 'shrot'. It has short"),
        (f"{own_file}:number", "is a int and not a function"),
        (f"{own_file}:hit", "name of a component of deeprec's"),
        (f"{tmp_path / 'absent.py'}:f", "There is no file"),
        (f"{tmp_path / 'broken.py'}:f", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        (f"{tmp_path / 'wrong.py'}:f", "SyntaxError"),
        ("no_such_module_here:f", "no module 'no_such_module_here'"),
        ("no_such_module_here.part:f", "no module 'no_such_module_here.part'"),
    ):
        with pytest.raises(ConfigError, match=why):
            load_rewards([name])
    with pytest.raises(ConfigError, match="another reward of yours"):
        load_rewards([f"{own_file}:short"] * 2)


def test_a_reward_is_found_by_its_module(own_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_file.rename(own_file.with_name("my_own_rewards.py"))
    monkeypatch.chdir(own_file.parent)
    [reward] = load_rewards(["my_own_rewards:short"]).values()
    assert reward(replace(made_run(), turns=())) == 0.0
    assert math.isfinite(reward(made_run(run={"run_id": uuid4()})))


def scored_store(store: TraceStore, artifact: Artifact) -> TraceStore:
    """Two groups: one of a hit, a miss and a format error, one of a single run; a guided run; one without a target."""
    store_runs(
        store,
        made_run(("900", "893", "886"), group="a"),
        made_run(("893", "886", "879"), group="b", minute=1),
        made_run(("893", "886", "879"), group="a", minute=2),
        made_run(("900",), group="a", minute=3),
        made_run(group="a", minute=4, run={"guided": True}),
        made_run(group="a", minute=5, target=None),
    )
    score(store, artifact)
    return store


def test_rollouts_are_read_with_their_rewards_and_advantages(store: TraceStore, artifact: Artifact) -> None:
    refused: list[RolloutError] = []
    faults: list[GroupFaults] = []
    scored = read_scored(
        scored_store(store, artifact), stage=STAGE, strict=True, on_refused=refused.append, on_faults=faults.append
    )
    assert [each.rollout.group_id for each in scored] == ["a", "a", "a", "b"]
    rewards = [each.reward for each in scored]
    assert rewards[2] == -1
    assert rewards[0] > rewards[1] > -1
    assert rewards[0] == pytest.approx(STAGE.compose(scored[0].components))
    assert scored[0].components["hit"] == 1
    mean = sum(rewards[:3]) / 3  # of the real group: neither the guided run nor that without a target
    assert [each.advantage for each in scored] == pytest.approx([reward - mean for reward in rewards[:3]] + [0])
    assert [error.reason for error in refused] == ["guided"]
    assert (len(faults[0].without_reward), faults[0].alone, faults[0].flat) == (1, ("b",), ())


def test_rollouts_that_nobody_scored_are_refused(store: TraceStore, artifact: Artifact) -> None:
    scored_store(store, artifact)
    [late] = store_runs(store, made_run(minute=9))
    with pytest.raises(ConfigError, match=r"1 of 6 rollouts have not been scored.*train score --stage rec") as caught:
        read_scored(store, stage=STAGE)
    assert str(late.run.run_id) in str(caught.value)
    [*first, last] = read_rewarded(store, stage=STAGE)
    assert last.rollout.run_id == late.run.run_id
    assert math.isnan(last.reward)
    assert len(first) == 5


@pytest.mark.parametrize(
    ("runs", "where", "why"),
    [
        ([], None, "The store has no runs"),
        ([{}], RunFilter(split="test", suite="s"), "No run matches split test, suite s"),
        ([{"run": {"guided": True}}, {"run": {"guided": True}}], None, "None of 2 runs can be trained on: 2 guided"),
        ([{"target": None}] * 2, None, r"None of 2 rollouts has a reward; not computable: similarity \(in 2\), hit"),
        ([{"group": "a"}, {"group": "b"}, {"group": None}], None, r"Every group has one rollout \(3 in all\)"),
        ([{"group": "a"}, {"group": "a", "target": None}], None, r"Every group has one rollout \(2 in all\)"),
        ([{"group": "a"}] * 2 + [{"group": "b"}] * 2, None, "All rewards are equal in each of 2 groups"),
    ],
)
def test_what_nothing_can_be_learned_from_says_why(
    store: TraceStore, artifact: Artifact, runs: list[dict[str, Any]], where: RunFilter | None, why: str
) -> None:
    store_runs(store, *(made_run(minute=minute, **settings) for minute, settings in enumerate(runs)))
    score(store, artifact)
    with pytest.raises(ConfigError, match=why):
        read_scored(store, where, stage=STAGE, strict=True)
    assert not any(each.advantage for each in read_scored(store, where, stage=STAGE))


def test_a_file_of_rewards_may_hold_dataclasses_and_import_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "words_beside.py").write_text("LONG = 3\n")
    file = tmp_path / "rewards.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom words_beside import LONG\n"
        "@dataclass\nclass Limit:\n    turns: int\n"
        "def short(trace):\n    return float(len(trace.turns) < Limit(LONG).turns)\n"
    )
    [reward] = load_rewards([f"{file}:short"]).values()
    assert reward(replace(made_run(), turns=())) == 1.0
