"""The reports of `train check` and `train score` on a store."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from deeprec.agent.traces import RunFilter, TraceStore, TurnRecord
from deeprec.evals import REWARD_SCHEME
from deeprec.training import (
    StoreReport,
    load_current_policy,
    read_scored,
    report_store,
    save_adapter,
    stage_reward,
)
from deeprec.trm_tool import ConfigError
from tests.command_line import answer_of, refusal_of
from tests.made_runs import made_run, store_runs

STAGE = stage_reward("recommendation", preset="paper")
NAN = math.nan


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "traces.db"


@pytest.fixture
def store(file: Path) -> Iterator[TraceStore]:
    with TraceStore(file) as opened:
        yield opened


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("DEEPREC_STORE", raising=False)


def earned(store: TraceStore, trace: Any, **components: float) -> None:
    scored = {"format": 0.0, "similarity": 1.0, "hit": 0.0, "rank": 0.0} | components
    store.write_rewards(trace.run.run_id, REWARD_SCHEME, scored)


def filled(store: TraceStore) -> TraceStore:
    """Groups of 3, 2 and 1 rollouts of two policies; one guided run, one without tokens, one that still runs."""
    first = store_runs(store, *(made_run(group="a", minute=at, tokens=3 + at, prompt=3) for at in range(3)))
    newer = {"adapter": "rec-v2", "adapter_version": "rec-v2"}
    second = store_runs(store, *(made_run(group="b", minute=minute, run=newer) for minute in (10, 11)))
    [alone] = store_runs(store, made_run(group=None, minute=12, run=newer))
    store_runs(store, made_run(minute=13, run={"guided": True}), made_run(minute=14, turns=()))
    store.start_run(made_run().run)
    for trace, hit in zip(first, (0.0, 1.0, 0.0), strict=True):
        earned(store, trace, hit=hit, rank=2 * hit)
    for trace in (*second, alone):
        earned(store, trace)
    return store


def with_tokens(model: LlamaForCausalLM, *, minute: int, far: float = 0.0) -> Any:
    """A run of one turn with the log-probabilities that the model has, moved by `far`."""
    random = np.random.default_rng(minute)
    prompt, wrote = random.integers(0, 256, 6).tolist(), random.integers(0, 256, 5).tolist()
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + wrote])).logits[0, 5:-1].log_softmax(-1)
    turn = TurnRecord(
        position=0,
        node="rank",
        action="recommend",
        prompt_ids=tuple(prompt),
        completion_ids=tuple(wrote),
        logprobs=tuple(float(row[token]) + far for row, token in zip(logits, wrote, strict=True)),
        chained=True,
        prompt_tokens=6,
        completion_tokens=5,
        latency_ms=1.0,
    )
    return made_run(turns=(turn,), retrievals=(), minute=minute, run={"sampling": {"temperature": 1.0}})


def test_runs_groups_lengths_and_policies_are_counted(store: TraceStore) -> None:
    report = report_store(filled(store))
    assert (report.runs, report.rollouts, report.guided) == (9, 6, 0)
    assert {each.reason: each.runs for each in report.refused} == {"guided": 1, "no tokens": 1, "running": 1}
    assert all(store.run(each.example) for each in report.refused)
    groups = report.groups
    assert groups is not None
    assert (groups.groups, groups.smallest, groups.median, groups.largest) == (3, 1, 2, 3)
    assert (groups.alone, groups.sizes, groups.of_several_policies) == (1, {1: 1, 2: 1, 3: 1}, 0)
    # Two turns, each of `tokens` tokens before and as many by the policy: 3, 4, 5, and three times 3; the first adds 3.
    spreads = {name: (spread.median, spread.largest, spread.n) for name, spread in report.lengths.items()}
    assert spreads == {"prompt": (3, 3, 6), "tool": (3, 5, 6), "policy": (6, 10, 6), "total": (12, 18, 6)}
    assert [(each.version, each.guided, each.runs, each.rollouts) for each in report.policies] == [
        ("rec-v2", False, 3, 3),
        (None, True, 1, 0),
        (None, False, 5, 3),
    ]
    assert report.obstacle is None
    notes = " ".join(report.notes)
    assert "1 of 3 groups have one rollout" in notes
    assert "9 runs of the split train used a recommender of holdout None" in notes


def test_rewards_of_a_stage_are_reported_with_their_variance(store: TraceStore) -> None:
    rewards = report_store(filled(store), stage=STAGE).rewards
    assert rewards is not None
    assert (rewards.unscored, rewards.with_reward, rewards.format_held) == (0, 6, 1)
    assert rewards.mean == pytest.approx((1 + 4 + 1 + 1 + 1 + 1) / 6)
    assert rewards.components == pytest.approx({"format": 0, "similarity": 1, "hit": 1 / 6, "rank": 1 / 3})
    assert (rewards.flat_groups, rewards.flat_example) == (1, "b")
    assert rewards.variance.shares == pytest.approx({"format": 0, "similarity": 0, "hit": 1 / 3, "rank": 2 / 3})


def test_a_filter_chooses_the_runs(store: TraceStore) -> None:
    report = report_store(filled(store), RunFilter(adapter_version="rec-v2"))
    assert (report.runs, report.rollouts, len(report.policies)) == (3, 3, 1)


def test_guided_runs_count_where_they_are_wanted(store: TraceStore) -> None:
    store_runs(store, made_run(run={"guided": True}))
    assert "None of 1 runs can be trained on: 1 guided" in str(report_store(store).obstacle)
    allowed = report_store(store, allow_guided=True)
    assert (allowed.rollouts, allowed.guided, allowed.obstacle) == (1, 1, None)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"run": {"adapter": "rec-v2", "adapter_version": "rec-v2"}}, "1 groups have runs of different policies"),
        ({"prompt": 2}, "1 groups have runs of different prompts"),
    ],
)
def test_groups_that_compare_something_else_than_answers_are_refused(
    store: TraceStore, other: dict[str, Any], why: str
) -> None:
    for hit, trace in enumerate(store_runs(store, made_run(), made_run(minute=1, **other))):
        earned(store, trace, hit=float(hit))
    report = report_store(store, stage=STAGE)
    assert why in str(report.obstacle)
    assert report.groups is not None
    assert report.groups.of_several_policies + report.groups.of_several_prompts == 1
    with pytest.raises(ConfigError, match=why):
        read_scored(store, stage=STAGE)


def test_runs_that_were_sampled_otherwise_are_refused_with_the_remedy(store: TraceStore) -> None:
    at = {"temperature": 0.7, "top_p": 1.0}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 0, "top_p": 1.0}
    store_runs(store, *(made_run(minute=minute, run={"sampling": each}) for minute, each in enumerate(at)))
    report = report_store(store)
    assert {each.reason: each.runs for each in report.refused} == {"temperature": 2, "top-p": 1}
    assert "None of 3 runs can be trained on" in str(report.obstacle)
    assert "sampled at top-p 0.9" in " ".join(report.notes)
    assert "Collect runs with `temperature: 1`" in " ".join(report.notes)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pages(store: TraceStore) -> None:
    store_runs(store, *(made_run(group=str(number % 50), minute=number) for number in range(520)))
    seen: list[int] = []
    report = report_store(store, on_progress=seen.append)
    assert (report.rollouts, seen) == (520, [256, 512, 520])
    assert report.groups is not None
    assert report.groups.sizes == {10: 30, 11: 20}


@pytest.mark.parametrize(
    ("runs", "scored", "why"),
    [
        ([], {}, "The store has no runs"),
        ([{"group": "a"}, {"group": "b"}], {}, "Every group has one rollout"),
        (
            [{}, {"status": "running"}],
            {},
            "under one group id. Runs that have not ended: 1; collect on under the same label",
        ),
        ([{}, {}], {}, "All rewards are equal in each of 1 groups"),
        ([{}, {}], {"hit": NAN}, "None of 2 rollouts has a reward; not computable: hit (in 2)"),
        ([{}, {}], None, "2 of 2 rollouts have not been scored for format, similarity, hit, rank"),
    ],
)
def test_what_keeps_grpo_from_learning_is_said(
    store: TraceStore, runs: list[dict[str, Any]], scored: dict[str, float] | None, why: str
) -> None:
    for trace in store_runs(store, *(made_run(**settings) for settings in runs)):
        if scored is not None:
            earned(store, trace, **scored)
    report = report_store(store, stage=STAGE)
    assert report.obstacle is not None
    assert why in report.obstacle


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # what PEFT 0.21 reads
def test_the_policy_that_sampled_is_at_no_distance_and_another_is(
    store: TraceStore, tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    runs = [with_tokens(tiny_model, minute=minute) for minute in range(4)]
    store_runs(store, *runs)
    own = report_store(store, policy=load_current_policy(tiny_base)).distance
    assert own is not None
    assert (own.gap.rollouts, own.gap.tokens, own.temperatures) == (4, 20, (1.0,))
    assert own.gap.largest < 1e-5
    [moved] = store_runs(store, with_tokens(tiny_model, minute=9, far=1.0))
    far = report_store(store, policy=load_current_policy(tiny_base))
    assert far.distance is not None
    assert far.distance.gap.mean == pytest.approx(5 / 25, abs=1e-5)
    assert far.distance.gap.largest == pytest.approx(1, abs=1e-5)
    assert far.distance.gap.at == moved.run.run_id
    assert any("differ by 0.200 nats" in note for note in far.notes)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM.from_pretrained(tiny_base)
        changed = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    save_adapter(changed, tmp_path / "adapter")
    with_adapter = report_store(store, policy=load_current_policy(tiny_base, tmp_path / "adapter")).distance
    assert with_adapter is not None
    assert with_adapter.gap.mean > far.distance.gap.mean


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ({"base_fingerprint": "another"}, "was sampled by another base model (tiny, another)"),
        ({"adapter": "rec-v2", "adapter_version": "rec-v2"}, "was sampled by rec-v2, a later version than"),
    ],
)
def test_check_names_runs_of_other_weights_than_the_model_s(
    store: TraceStore, tiny_base: Path, run: dict[str, Any], why: str
) -> None:
    store_runs(store, *(made_run(minute=minute, run=run) for minute in range(2)))
    report = report_store(store, policy=load_current_policy(tiny_base))
    assert why in str(report.obstacle)
    assert ("carry no fingerprint" in " ".join(report.notes)) == ("base_fingerprint" not in run)


def test_rollouts_that_do_not_fit_the_model_are_named(
    store: TraceStore, tiny_base: Path, tiny_model: LlamaForCausalLM
) -> None:
    own = with_tokens(tiny_model, minute=0)
    foreign = replace(own.turns[0], completion_ids=(1, 2, 3, 4, 258))
    other = made_run(turns=(foreign,), retrievals=(), minute=1)
    store_runs(store, own, other)
    policy = load_current_policy(tiny_base)
    distance = report_store(store, policy=policy).distance
    assert distance is not None
    assert (distance.foreign_tokens, distance.foreign_example, distance.gap.rollouts) == (1, other.run.run_id, 1)
    notes = " ".join(report_store(store, policy=policy).notes)
    assert f"1 rollouts have tokens that the model does not know (such as run {other.run.run_id})" in notes
    short = report_store(store, policy=replace(policy, context=8)).distance
    assert short is not None
    assert (short.too_long, short.too_long_example) == (1, own.run.run_id)
    assert math.isnan(short.gap.mean)


def test_check_reports_to_both(store: TraceStore, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(store)
    output = answer_of(capsys, "train", "check", file, "--stage", "recommendation")
    for words in (
        "9 runs, 6 of them rollouts",
        "Policies, oldest first",
        "rec-v2",
        "3 groups",
        "66.7%",
        "GRPO can learn",
    ):
        assert words in output
    report = json.loads(answer_of(capsys, "train", "check", file, "--stage", "recommendation", "--json"))
    assert set(report) == set(StoreReport.__dataclass_fields__)
    assert report["groups"]["sizes"] == {"1": 1, "2": 1, "3": 1}
    weighted = json.loads(
        answer_of(capsys, "train", "check", file, "--stage", "recommendation", "--weight", "hit=0", "--json")
    )
    assert weighted["rewards"]["variance"]["shares"]["rank"] == pytest.approx(1)


def test_check_shows_the_newest_policies(store: TraceStore, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    versions = [f"rec-v{number}" for number in range(1, 16)]
    store_runs(
        store,
        *(made_run(minute=at, run={"adapter": name, "adapter_version": name}) for at, name in enumerate(versions)),
    )
    output = answer_of(capsys, "train", "check", file)
    assert "Policies, oldest first; 3 older ones are left out" in output
    assert [version for version in versions if f" {version} " in output] == versions[3:]
    assert len(json.loads(answer_of(capsys, "train", "check", file, "--json"))["policies"]) == 15


def test_check_of_nothing_says_so(store: TraceStore, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "The store has no runs" in answer_of(capsys, "train", "check", file)
    filled(store)
    assert "No run matches split test, suite s." in answer_of(
        capsys, "train", "check", file, "--split", "test", "--suite", "s"
    )
    assert "since 2026-12-01" in answer_of(capsys, "train", "check", file, "--since", "2026-12-01")


def test_score_writes_what_check_then_reads(
    store: TraceStore, file: Path, artifact_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_runs(store, made_run(), made_run(("893", "886", "879"), minute=1))
    (tmp_path / "own.py").write_text("def short(trace):\n    return -len(trace.turns)\n", encoding="utf-8")
    unscored = answer_of(capsys, "train", "check", file, "--guided", "--stage", "recommendation")
    assert "2 rollouts have not been scored" in unscored
    assert "train score --stage recommendation" in unscored
    arguments = (file, "--artifact", artifact_folder, "--reward", "own.py:short", "--weight", "short=0.5")
    output = answer_of(capsys, "train", "score", *arguments)
    assert "2 runs: 2 lacked a component and were scored, of 2 the reward" in output
    assert "2 runs used another recommender" in output
    assert "--artifact ARTIFACT --again" in output
    assert "stays; --again" in answer_of(capsys, "train", "score", *arguments)
    again = json.loads(answer_of(capsys, "train", "score", *arguments, "--json"))
    assert (again["runs"], again["scored"], again["composed"], again["unreadable"]) == (2, 0, 0, [])
    report = json.loads(
        answer_of(capsys, "train", "check", file, "--stage", "recommendation", "--weight", "short=0.5", "--json")
    )
    assert report["obstacle"] is None
    assert report["rewards"]["components"]["short"] == -2
    assert report["rewards"]["components"]["hit"] == 0.5


def test_mistakes_are_one_line(
    store: TraceStore, file: Path, tiny_base: Path, artifact_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (("check", "absent.db"), "absent.db"),
        (("check", file, "--stage", "outcome"), "no stage 'outcome'"),
        (("check", file, "--weight", "hit=2"), "Name the stage with --stage"),
        (("check", file, "--stage", "interaction", "--weight", "hit"), "not of the form NAME=WEIGHT"),
        (("check", file, "--adapter", tiny_base), "Name it with --base"),
        (("check", file, "--base", "absent"), "There is no model at absent"),
        (("check", file, "--base", tiny_base, "--adapter", tiny_base), "is not a LoRA adapter"),
        (("check", file, "--status", "done"), "is not a status of a run"),
        (("score", file, "--artifact", "absent"), "absent"),
        (("score", file, "--artifact", artifact_folder, "--reward", "absent.py:f"), "There is no file absent.py"),
    ):
        output = refusal_of(capsys, "train", *arguments)
        assert words in output
        assert "Traceback" not in output
        assert len(output.splitlines()) == 1
