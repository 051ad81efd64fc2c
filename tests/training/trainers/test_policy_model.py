import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch
from transformers import LlamaForCausalLM

from deeprec.agent import fingerprint_base
from deeprec.training import AdapterConfig, GrpoConfig, SftConfig, save_adapter
from deeprec.training.trainers.policy_model import load_policy, read_base_fingerprint, require_trl
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import write_tiny_base


def test_a_new_adapter_changes_nothing_and_follows_the_seed(tiny_base: Path, tiny_model: LlamaForCausalLM) -> None:
    state = torch.random.get_rng_state()
    policies = [load_policy(tiny_base, lora=AdapterConfig(), device="cpu", seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        assert torch.equal(policies[0].model(ids).logits, tiny_model(ids).logits)
    weights = [dict(policy.model.named_parameters()) for policy in policies]
    name = next(name for name in weights[0] if "lora_A" in name)
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    assert (policies[0].vocabulary, policies[0].context) == (258, 16_384)


def test_models_have_different_fingerprints(tiny_base: Path, tmp_path: Path) -> None:
    assert fingerprint_base(tiny_base) == fingerprint_base(write_tiny_base(tmp_path / "same"))
    assert fingerprint_base(tiny_base) != fingerprint_base(write_tiny_base(tmp_path / "other", seed=1))
    assert fingerprint_base("Qwen/Qwen2.5-7B-Instruct").startswith("Qwen/Qwen2.5-7B-Instruct@")


def test_what_an_earlier_version_began_goes_on_under_the_fingerprint_of_then(tiny_base: Path) -> None:
    own = fingerprint_base(tiny_base)
    earlier = own.split("-")[0]
    assert read_base_fingerprint(tiny_base, begun=earlier) == earlier
    assert read_base_fingerprint(tiny_base, begun=own) == own
    for other in (None, 7, "another", f"{earlier}-another"):
        assert read_base_fingerprint(tiny_base, begun=other) == own


def test_what_was_begun_with_an_id_goes_on_with_that_id_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    commit = "0" * 40
    for name in ("one", "other"):
        write_tiny_base(tmp_path / f"models--org--{name}" / "snapshots" / commit)
        (tmp_path / f"models--org--{name}" / "refs").mkdir()
        (tmp_path / f"models--org--{name}" / "refs" / "main").write_text(commit)
    own = fingerprint_base("org/one", SimpleNamespace(_commit_hash=commit))
    assert "@" not in own
    assert read_base_fingerprint("org/one", begun=f"org/one@{commit}") == f"org/one@{commit}"
    assert read_base_fingerprint("org/other", begun=f"org/one@{commit}") != f"org/one@{commit}"


def test_what_is_no_model_is_named(tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no model at .*nowhere"):
        load_policy(tmp_path / "nowhere", lora=None)
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load_policy(tmp_path, lora=None)
    for file in tiny_base.iterdir():
        if "tokenizer" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="cannot be loaded as a language model"):
        load_policy(tmp_path, lora=None)
    with pytest.raises(ConfigError, match="No adapter fits this model"):
        load_policy(tiny_base, lora=AdapterConfig(target_modules=("nothing",)))


def test_an_adapter_is_replaced_as_a_whole(tiny_base: Path, tmp_path: Path) -> None:
    policy = load_policy(tiny_base, lora=AdapterConfig(rank=4), device="cpu")
    folder = tmp_path / "rec-v1"
    folder.mkdir()
    (folder / "old").write_text("old", encoding="utf-8")
    save_adapter(policy.model, folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        *("README.md", "adapter_config.json", "adapter_model.safetensors")
    ]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_adapter(policy.model, tmp_path / "file" / "adapter")


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ConfigError, match=r"'trl' is missing.*deeprec-agent\[train\]"):
        require_trl()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GrpoConfig(steps=0), r"GrpoConfig\.steps is 0"),
        (lambda: GrpoConfig(loss_type="gspo"), "Choose one of dapo, grpo"),  # type: ignore[arg-type]
        (lambda: GrpoConfig(learning_rate=0.0), r"learning_rate is 0\.0. Set it above 0"),
        (lambda: GrpoConfig(loss_type="cispo"), "largest ratio itself"),
        (lambda: GrpoConfig(max_staleness=-1), r"max_staleness is -1"),
        (lambda: SftConfig(validation=1.0), r"validation is 1\.0"),
        (lambda: SftConfig(batch_size=0), r"SftConfig\.batch_size is 0"),
        (lambda: AdapterConfig(rank=0), r"rank is 0"),
        (lambda: AdapterConfig(target_modules=("q_proj", "lm_head")), "not the output head"),
    ],
)
def test_settings_that_cannot_work_are_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
