"""GRPO from start to end on a tiny model: what is learned, written, refused, and resumed."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from deeprec.training import GrpoConfig, ScoredRollout, StepReport, TrainingError, train_grpo
from deeprec.training.trainers import checkpoints
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import scored_step, write_tiny_base

TIMED = {"wait_seconds", "step_time", "tokens_per_second", "peak_memory_gb"}
ROOT = Path(__file__).parents[3]
Source = Callable[[int], Sequence[ScoredRollout]]


def config(**settings: Any) -> GrpoConfig:
    values: dict[str, Any] = {"steps": 5, "learning_rate": 1e-3, "device": "cpu"}
    return GrpoConfig(**values | settings)


def log_of(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


def steps_of(model: LlamaForCausalLM) -> Source:
    return lambda step: scored_step(model, step)


@pytest.mark.slow
def test_a_training_learns_logs_and_saves(tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    scored = scored_step(tiny_model)
    asked: list[int] = []
    reports: list[StepReport] = []

    def source(step: int) -> list[ScoredRollout]:
        assert len(reports) == step  # the report of the step before came first
        asked.append(step)
        return scored

    out = tmp_path / "out"
    learning = config(learning_rate=0.01, max_logprob_gap=1.0)
    adapter = train_grpo(source, base=tiny_base, out=out, config=learning, on_step=reports.append)
    assert asked == [0, 1, 2, 3, 4]
    assert adapter == out / "adapter"
    assert [report.steps_done for report in reports] == [1, 2, 3, 4, 5]
    assert {report.steps for report in reports} == {5}
    lines = log_of(out)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[-1]["loss"] < lines[0]["loss"] - 1e-3
    first = lines[0]
    assert first["ratio/mean"] == pytest.approx(1, abs=1e-5)
    assert first["logprob_gap"] == pytest.approx(0, abs=1e-5)
    assert first["reward"] == pytest.approx(sum(each.reward for each in scored) / len(scored))
    assert first["rewards/hit/mean"] == first["reward"]
    assert first["rewards/format/mean"] == pytest.approx(-1 / 3)
    assert first["format_valid"] == pytest.approx(2 / 3)
    assert first["entropy"] == pytest.approx(math.log(258), abs=0.05)
    assert first["rollouts"] == 6
    assert first["rollouts/trained"] == 4
    assert lines[-1]["ratio/max"] > 1.02
    raw = json.loads((out / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert 0 <= raw["padding_waste"] < 1
    assert min(raw[name] for name in TIMED) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # what PEFT 0.21 reads
def test_the_adapter_is_what_peft_and_vllm_read(tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    from peft import PeftModel

    snapshots = tmp_path / "rec-v1"

    def keep_first(report: StepReport) -> None:
        if report.steps_done == 1:
            report.save_adapter(snapshots)

    adapter = train_grpo(
        steps_of(tiny_model), base=tiny_base, out=tmp_path / "out", config=config(steps=2), on_step=keep_first
    )
    for folder in (adapter, snapshots):
        assert sorted(file.name for file in folder.iterdir()) == [
            *("README.md", "adapter_config.json", "adapter_model.safetensors")
        ]
        assert not [file for file in folder.iterdir() if str(tmp_path.parents[0]).encode() in file.read_bytes()]
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
        assert folder.stat().st_mode & 0o777 == 0o755
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert (settings["r"], settings["lora_alpha"], settings["peft_type"]) == (16, 32, "LORA")
    assert settings["base_model_name_or_path"] == tiny_base.name
    card = (adapter / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert (front["base_model"], front["library_name"]) == (tiny_base.name, "peft")
    assert '"method": "grpo"' in card
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tiny_base), adapter).eval()
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        assert not torch.allclose(model(ids).logits, tiny_model(ids).logits, atol=1e-5)
    one, two = load_file(snapshots / "adapter_model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    assert any(not torch.equal(one[name], two[name]) for name in one)


def killed_at(source: Source, step: int) -> Source:
    def failing(asked: int) -> Sequence[ScoredRollout]:
        if asked == step:
            raise KeyboardInterrupt
        return source(asked)

    return failing


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_a_resumed_training_has_exactly_the_losses_of_one_that_was_not_stopped(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, lora: bool
) -> None:
    source = steps_of(tiny_model)
    settings = config() if lora else config(lora=None)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = train_grpo(source, base=tiny_base, out=whole, config=settings)
    asked: list[int] = []
    for stop in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            train_grpo(killed_at(source, stop), base=tiny_base, out=cut, config=settings)
    with (cut / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 5, "loss": 99.0}\n{"step": 5, "lo')  # a step beyond the checkpoint, and half a line
    again = train_grpo(
        lambda step: asked.append(step) or source(step),  # type: ignore[func-returns-value]
        base=tiny_base,
        out=cut,
        config=settings,
    )
    assert asked == [4]
    assert log_of(cut) == log_of(whole)
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    assert (again / name).read_bytes() == (result / name).read_bytes()


@pytest.mark.slow
def test_a_training_that_ended_is_not_repeated_and_can_be_made_longer(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    source = steps_of(tiny_model)
    whole = train_grpo(source, base=tiny_base, out=tmp_path / "whole", config=config())
    short = train_grpo(source, base=tiny_base, out=tmp_path / "short", config=config(steps=3))
    before = (short / "adapter_model.safetensors").read_bytes()
    train_grpo(killed_at(source, 0), base=tiny_base, out=tmp_path / "short", config=config(steps=3))
    assert (short / "adapter_model.safetensors").read_bytes() == before
    train_grpo(killed_at(source, 0), base=tiny_base, out=tmp_path / "short", config=config(steps=5))
    assert (short / "adapter_model.safetensors").read_bytes() == (whole / "adapter_model.safetensors").read_bytes()
    assert log_of(tmp_path / "short") == log_of(tmp_path / "whole")


@pytest.mark.slow
def test_a_checkpoint_of_another_training_is_refused(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    source = steps_of(tiny_model)
    train_grpo(source, base=tiny_base, out=tmp_path / "out", config=config(steps=1))
    with pytest.raises(ConfigError, match=r"another training: learning_rate was 0\.001 and is 0\.5"):
        train_grpo(source, base=tiny_base, out=tmp_path / "out", config=config(learning_rate=0.5))
    other = write_tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match="another training: base was '"):
        train_grpo(source, base=other, out=tmp_path / "out", config=config())
    # What does not change the course may differ.
    train_grpo(source, base=tiny_base, out=tmp_path / "out", config=config(steps=2, micro_batch_tokens=30))


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: disk full")])
def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    source = steps_of(tiny_model)
    train_grpo(source, base=tiny_base, out=tmp_path / "whole", config=config())
    out, save = tmp_path / "out", checkpoints.save_file
    writes = 0

    def full(tensors: Any, path: Path) -> None:
        nonlocal writes
        writes += 1
        if writes == 3 * 2 + 2:  # the second of the three files of the third checkpoint
            path.write_bytes(b"half")
            raise error
        save(tensors, path)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_file", full)
        with pytest.raises(ConfigError, match=r"step-000003 cannot be written: .*[Dd](isk full|evice)") as caught:
            train_grpo(source, base=tiny_base, out=out, config=config())
    assert "training resumes from its last checkpoint" in str(caught.value)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000002"]
    train_grpo(source, base=tiny_base, out=out, config=config())
    assert log_of(out) == log_of(tmp_path / "whole")


@pytest.mark.slow
def test_a_full_disk_leaves_the_adapter_as_it_was(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import peft_model

    adapter = tmp_path / "rec-v1"

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    def save_twice(report: StepReport) -> None:
        report.save_adapter(adapter)
        before = (adapter / "adapter_model.safetensors").read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(peft_model, "safe_save_file", full)
            with pytest.raises(ConfigError, match="rec-v1 cannot be written: I/O error: No space left"):
                report.save_adapter(adapter)
        assert (adapter / "adapter_model.safetensors").read_bytes() == before
        assert [path.name for path in tmp_path.glob("*rec-v1*")] == ["rec-v1"]

    train_grpo(steps_of(tiny_model), base=tiny_base, out=tmp_path / "out", config=config(steps=1), on_step=save_twice)


@pytest.mark.slow
def test_nothing_that_is_written_is_a_pickle(tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    train_grpo(steps_of(tiny_model), base=tiny_base, out=tmp_path / "out", config=config(steps=2))
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".json", ".jsonl", ".md", ".safetensors"}
    assert not any(path.read_bytes()[:1] == b"\x80" or path.read_bytes()[:2] == b"PK" for path in written)


@pytest.mark.slow
def test_training_goes_on_from_an_adapter(tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    first = train_grpo(steps_of(tiny_model), base=tiny_base, out=tmp_path / "one", config=config(steps=3))
    reports: list[StepReport] = []
    train_grpo(
        steps_of(tiny_model),
        base=tiny_base,
        start=first,
        out=tmp_path / "two",
        config=config(steps=1),
        version=lambda step: 3,  # the rollouts are the base model's, version 0
        on_step=reports.append,
    )
    assert reports[0].metrics["logprob_gap"] > 1e-4  # the rollouts are the base model's


@pytest.mark.slow
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, tiny_base: Path, tiny_model: LlamaForCausalLM) -> None:
    from transformers import LlamaConfig

    adapter = train_grpo(steps_of(tiny_model), base=tiny_base, out=tmp_path / "one", config=config(steps=1))
    wide = LlamaConfig(vocab_size=258, hidden_size=32, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2)
    other = write_tiny_base(tmp_path / "wide")
    LlamaForCausalLM(wide).save_pretrained(other)
    with pytest.raises(ConfigError, match=r"adapter .* does not fit this base model: .* It was trained on .*tiny"):
        train_grpo(steps_of(tiny_model), base=other, start=adapter, out=tmp_path / "two", config=config())
    with pytest.raises(ConfigError, match=r"is not a LoRA adapter: it has no adapter_config\.json"):
        train_grpo(steps_of(tiny_model), base=tiny_base, start=tmp_path, out=tmp_path / "two", config=config())
    with pytest.raises(ConfigError, match="all weights are to be trained"):
        train_grpo(steps_of(tiny_model), base=tiny_base, start=adapter, out=tmp_path / "two", config=config(lora=None))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "content"), [("adapter_config.json", b"[1"), ("adapter_model.safetensors", b"half")])
def test_a_damaged_adapter_is_named(
    tmp_path: Path, tiny_base: Path, tiny_model: LlamaForCausalLM, name: str, content: bytes
) -> None:
    adapter = train_grpo(steps_of(tiny_model), base=tiny_base, out=tmp_path / "one", config=config(steps=1))
    (adapter / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"The adapter .* is damaged"):
        train_grpo(steps_of(tiny_model), base=tiny_base, start=adapter, out=tmp_path / "two", config=config())


@pytest.mark.slow
def test_a_step_without_anything_to_learn_changes_nothing_and_is_named(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def source(step: int) -> list[ScoredRollout]:
        scored = scored_step(tiny_model, step)
        return {0: scored, 1: [], 2: [replace(each, advantage=0.0) for each in scored]}[step]

    saved: dict[int, bytes] = {}

    def keep(report: StepReport) -> None:
        folder = tmp_path / f"v{report.steps_done}"
        report.save_adapter(folder)
        saved[report.steps_done] = (folder / "adapter_model.safetensors").read_bytes()

    with caplog.at_level(logging.WARNING):
        train_grpo(source, base=tiny_base, out=tmp_path / "out", config=config(steps=3), on_step=keep)
    assert saved[1] == saved[2] == saved[3]
    assert "Step 2 has 0 rollouts" in caplog.text
    assert "Step 3 has 6 rollouts, none of which has an advantage other than 0" in caplog.text
    assert [line["rollouts/trained"] for line in log_of(tmp_path / "out")] == [4, 0, 0]


@pytest.mark.slow
def test_a_training_that_never_learned_says_so(tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    flat = [replace(each, advantage=0.0) for each in scored_step(tiny_model)]
    with pytest.raises(ConfigError, match=r"Nothing was learned in 2 steps: .* `deeprec train check`"):
        train_grpo(lambda step: flat, base=tiny_base, out=tmp_path / "out", config=config(steps=2))


@pytest.mark.slow
def test_rollouts_that_are_left_out_are_counted_and_named(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scored = scored_step(tiny_model)
    scored[1] = replace(scored[1], advantage=math.nan)
    scored[4] = replace(scored[4], rollout=replace(scored[4].rollout, adapter_version="rec-v3"))
    with caplog.at_level(logging.WARNING):
        train_grpo(
            lambda step: scored, base=tiny_base, out=tmp_path / "out", config=config(steps=1), version=lambda step: 4
        )
    assert f"Step 1 leaves out 1 no advantage (such as {scored[1].rollout.run_id})" in caplog.text
    [line] = log_of(tmp_path / "out")
    assert line["rollouts/refused/no advantage"] == 1
    assert (line["staleness/max"], line["rollouts"]) == (4, 5)


@pytest.mark.slow
def test_a_first_step_whose_rollouts_are_all_stale_is_an_error(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"None of the 6 rollouts of step 1 can be learned from: 6 stale"):
        train_grpo(
            steps_of(tiny_model), base=tiny_base, out=tmp_path / "out", config=config(), version=lambda step: 5 + step
        )


@pytest.mark.slow
def test_rollouts_of_another_policy_are_refused_before_anything_is_learned(tiny_base: Path, tmp_path: Path) -> None:
    other = LlamaForCausalLM.from_pretrained(write_tiny_base(tmp_path / "other", seed=1)).eval()
    wide = [
        replace(each, rollout=replace(each.rollout, logprobs=each.rollout.logprobs + 1)) for each in scored_step(other)
    ]
    with pytest.raises(ConfigError, match=r"step 1 are \d\.\d+ nats per token .* Another policy sampled these runs"):
        train_grpo(lambda step: wide, base=tiny_base, out=tmp_path / "out", config=config())
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.slow
def test_rollouts_of_other_weights_are_refused_before_the_first_step(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    def train(**changes: Any) -> None:
        runs = [replace(each, rollout=replace(each.rollout, **changes)) for each in scored_step(tiny_model)]
        train_grpo(lambda step: runs, base=tiny_base, out=tmp_path / "out", config=config(), version=lambda step: 0)

    with pytest.raises(ConfigError, match=r"by rec-v1, a later version than .*without an adapter.*--start"):
        train(adapter="rec-v1", adapter_version="rec-v1")
    with pytest.raises(ConfigError, match="another base model"):
        train(base_fingerprint="another")
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.slow
def test_a_gap_beyond_rounding_is_refused_in_the_first_step_and_allowed_by_name(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    moved = [
        replace(each, rollout=replace(each.rollout, logprobs=each.rollout.logprobs + 0.06))
        for each in scored_step(tiny_model)
    ]
    with pytest.raises(ConfigError, match=r"are 0\.06 nats per token .* max_first_gap is 0\.05"):
        train_grpo(lambda step: moved, base=tiny_base, out=tmp_path / "out", config=config(steps=1))
    allowed = config(steps=1, max_first_gap=0.1)
    assert train_grpo(lambda step: moved, base=tiny_base, out=tmp_path / "out", config=allowed).is_dir()


@pytest.mark.slow
def test_training_ends_where_the_policy_has_left_its_rollouts(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    scored, reports = scored_step(tiny_model), list[StepReport]()
    adapter = train_grpo(
        lambda step: scored,
        base=tiny_base,
        out=tmp_path / "out",
        config=config(steps=30, learning_rate=0.05, max_logprob_gap=0.1),
        on_step=reports.append,
    )
    assert len(reports) < 30
    assert [report.stopped for report in reports[:-1]] == [None] * (len(reports) - 1)
    assert "The policy has moved away from these runs: collect new ones" in (reports[-1].stopped or "")
    assert log_of(tmp_path / "out")[-1]["stopped"] == reports[-1].stopped
    assert (adapter / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path
) -> None:
    def source(step: int) -> list[ScoredRollout]:
        scored = scored_step(tiny_model, step)
        if step < 2:
            return scored
        return [replace(each, advantage=1e38 * each.advantage) for each in scored]

    with (
        torch.autograd.set_detect_anomaly(True),  # as RecBole leaves it: with it, a gradient of NaN raises
        pytest.raises(TrainingError, match=r"The loss of step 3 is (nan|inf|-inf)"),
    ):
        train_grpo(source, base=tiny_base, out=tmp_path / "out", config=config())
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-000002"]


@pytest.mark.slow
def test_alarms_are_raised_in_the_log_once_and_in_the_file(
    tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def source(step: int) -> list[ScoredRollout]:
        broken = -1.0 if step > 2 else 0.0
        return [replace(each, components={"format": broken}) for each in scored_step(tiny_model, step)]

    reports: list[StepReport] = []
    with caplog.at_level(logging.WARNING):
        train_grpo(source, base=tiny_base, out=tmp_path / "out", config=config(steps=6), on_step=reports.append)
    assert [len(report.alarms) for report in reports] == [0, 0, 0, 1, 1, 1]
    assert [line["alarms"] for line in log_of(tmp_path / "out")] == [0, 0, 0, 1, 1, 1]
    assert "fell from 1.00 to 0.00" in log_of(tmp_path / "out")[-1]["warnings"][0]
    assert sum("keep the format fell" in message for message in caplog.messages) == 1


@pytest.mark.slow
def test_tensorboard_gets_every_figure(tiny_base: Path, tiny_model: LlamaForCausalLM, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    train_grpo(steps_of(tiny_model), base=tiny_base, out=out, config=config(steps=2, report_to=("tensorboard",)))
    [events] = {path.parent for path in out.rglob("events.out.tfevents*")}
    read = EventAccumulator(str(events))
    read.Reload()
    tags = {tag.removeprefix("train/") for tag in read.Tags()["scalars"]}
    assert log_of(out)[0].keys() - {"step"} <= tags
    assert [event.step for event in read.Scalars("train/rewards/hit/mean")] == [1, 2]


SCRIPT = """
import os, sys
from pathlib import Path
import torch
from transformers import LlamaForCausalLM
from deeprec.training import GrpoConfig, train_grpo
from tests.training.tiny_policy import scored_step

torch.set_num_threads(1)
base, out, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
model = LlamaForCausalLM.from_pretrained(base).eval()

def source(step):
    if step == stop:
        os.kill(os.getpid(), 9)
    return scored_step(model, step)

train_grpo(source, base=base, out=out, config=GrpoConfig(steps=5, learning_rate=1e-3, device="cpu"))
"""


@pytest.mark.slow
def test_a_killed_process_resumes_exactly(tiny_base: Path, tmp_path: Path) -> None:
    def run(out: str, stop: int) -> int:
        command = [sys.executable, "-c", SCRIPT, str(tiny_base), str(tmp_path / out), str(stop)]
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=250,
            check=False,
        ).returncode

    assert run("whole", -1) == 0
    assert run("cut", 3) == -9
    assert run("cut", -1) == 0
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")
