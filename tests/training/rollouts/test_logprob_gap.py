"""Logged log-probabilities beside those of a policy, token by token."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import LlamaForCausalLM

from deeprec.training import importance_ratios, load_current_policy
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import VOCABULARY, make_rollout


def test_a_ratio_is_the_probability_now_over_the_one_that_was_logged(
    tiny_base: Path, tiny_model: LlamaForCausalLM
) -> None:
    policy = load_current_policy(tiny_base)
    rollout = make_rollout(tiny_model, seed=1)
    ratios = importance_ratios(rollout, policy)
    written = rollout.env_mask == 1
    assert np.isnan(ratios).tolist() == (~written).tolist()
    assert ratios[written] == pytest.approx(1, abs=1e-5)
    once_likelier = replace(rollout, logprobs=rollout.logprobs + np.float32(np.log(4)))
    assert importance_ratios(once_likelier, policy)[written] == pytest.approx(0.25, abs=1e-5)


def test_a_rollout_of_another_model_has_no_ratios(tiny_base: Path, tiny_model: LlamaForCausalLM) -> None:
    rollout = make_rollout(tiny_model, seed=1)
    foreign = replace(rollout, token_ids=np.where(rollout.env_mask == 1, VOCABULARY, rollout.token_ids))
    with pytest.raises(ConfigError, match="Name the model that wrote the run"):
        importance_ratios(foreign, load_current_policy(tiny_base))
