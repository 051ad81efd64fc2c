import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from transformers import LlamaForCausalLM

from deeprec.training import ScoredRollout
from deeprec.training.rollouts.rollout_filter import (
    FilteredRollouts,
    PolicyWeights,
    check_policy,
    filter_rollouts,
    policy_fault,
    policy_version,
)
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import VOCABULARY, make_rollout


def scored(model: LlamaForCausalLM, seed: int, advantage: float = 1.0, **changes: Any) -> ScoredRollout:
    rollout = replace(make_rollout(model, seed=seed), **changes)
    return ScoredRollout(rollout=rollout, components={}, reward=0.0, advantage=advantage)


def filtered(given: list[ScoredRollout], **changes: Any) -> FilteredRollouts:
    settings: dict[str, Any] = {"vocabulary": VOCABULARY, "context": 100, "version": None, "max_staleness": 4}
    return filter_rollouts(given, **settings | changes)


def test_stale_rollouts_are_left_out_by_name(tiny_model: LlamaForCausalLM) -> None:
    given = [scored(tiny_model, seed, adapter_version=f"rec-v{seed}") for seed in range(8)]
    found = filtered(given, version=7)
    assert [each.rollout.adapter_version for each in found.rollouts] == [f"rec-v{seed}" for seed in range(3, 8)]
    assert found.refused == {"stale": tuple(each.rollout.run_id for each in given[:3])}
    assert found.staleness == (4, 3, 2, 1, 0)
    assert str(found) == f"3 stale (such as {given[0].rollout.run_id})"


def test_the_base_model_is_version_0_and_foreign_names_have_no_age(tiny_model: LlamaForCausalLM) -> None:
    assert policy_version(None) == 0
    assert policy_version("rec-v12") == 12
    assert policy_version("rec-v12-0a1b2c3d") == 12
    assert policy_version("my-lora") is None
    given = [scored(tiny_model, 1, adapter_version=None), scored(tiny_model, 2, adapter_version="my-lora")]
    found = filtered(given, version=5)
    assert found.rollouts == (given[1],)
    assert found.staleness == ()
    assert filtered(given).rollouts == tuple(given)  # nobody knows the version


def test_a_rollout_longer_than_the_context_or_without_an_advantage_is_left_out(tiny_model: LlamaForCausalLM) -> None:
    given = [scored(tiny_model, 1), scored(tiny_model, 2, math.nan), scored(tiny_model, 3, 0.0)]
    size = given[0].rollout.token_ids.size
    found = filtered(given, context=size)
    assert found.rollouts == (given[0], given[2])  # 0 is an advantage: it counts in the means
    assert found.refused == {"no advantage": (given[1].rollout.run_id,)}
    assert set(filtered(given, context=size - 1).refused) == {"too long", "no advantage"}


@pytest.mark.parametrize("token", [VOCABULARY, -1])
def test_a_token_that_the_model_does_not_have_is_an_error(tiny_model: LlamaForCausalLM, token: int) -> None:
    ids = np.array(make_rollout(tiny_model, seed=1).token_ids)
    ids[3] = token
    wrong = scored(tiny_model, 1, token_ids=ids)
    with pytest.raises(ConfigError, match=rf"Run {wrong.rollout.run_id} has the token {token}, .* 0 to 257"):
        filtered([wrong])


def test_a_guided_rollout_is_an_error(tiny_model: LlamaForCausalLM) -> None:
    guided = scored(tiny_model, 1, guided=True)
    with pytest.raises(ConfigError, match=f"Run {guided.rollout.run_id} was sampled under constraints"):
        filtered([scored(tiny_model, 2), guided])


WEIGHTS = PolicyWeights(base="b", adapter="a2", version=2, identity="0a1b2c3d")


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        ({"adapter_version": "rec-v2", "base_fingerprint": "b", "adapter_fingerprint": "a2"}, None),
        ({"adapter_version": "rec-v2"}, None),  # an older run, without fingerprints
        ({"adapter_version": "rec-v1", "base_fingerprint": "b", "adapter_fingerprint": "a1"}, None),
        ({"adapter_version": None, "base_fingerprint": "b"}, None),
        (
            {"adapter_version": "rec-v2", "adapter_fingerprint": "x"},
            "rec-v2 with the weights x.*the weights a2",
        ),
        ({"adapter_version": "rec-v3-0a1b2c3d"}, r"by rec-v3-0a1b2c3d, a later version than .*\(rec-v2\)"),
        ({"adapter_version": "rec-v2", "base_fingerprint": "c"}, r"another base model \(tiny, c\)"),
        ({"adapter_version": "rec-v2", "base_fingerprint": "b-n"}, None),  # of a later kind
        ({"adapter_version": "rec-v2", "base_fingerprint": "org/model@abc"}, None),  # cannot be compared with a digest
        ({"adapter": "mine", "adapter_fingerprint": "x"}, "adapter mine with the weights x"),
        ({"adapter": "mine", "adapter_fingerprint": "a2"}, None),
        ({"adapter_version": "rec-v1-0a1b2c3d", "adapter_fingerprint": "a1"}, None),
        ({"adapter_version": "rec-v1-bbbbbbbb"}, "by rec-v1-bbbbbbbb, an adapter of another training loop"),
        ({"adapter_version": "rec-v2-bbbbbbbb", "adapter_fingerprint": "x"}, "of another training loop"),
        ({"adapter_version": "rec-v9-bbbbbbbb", "adapter_fingerprint": "a2"}, None),  # the same weights
    ],
)
def test_runs_of_other_weights_than_those_that_are_trained_are_refused(
    tiny_model: LlamaForCausalLM, run: dict[str, Any], fault: str | None
) -> None:
    rollout = replace(make_rollout(tiny_model, seed=1), **run)
    if fault is None:
        assert policy_fault(rollout, WEIGHTS) is None
    else:
        with pytest.raises(ConfigError, match=fault):
            check_policy([rollout], WEIGHTS)


def test_a_forgotten_start_is_named(tiny_model: LlamaForCausalLM) -> None:
    base = PolicyWeights(base="b", adapter=None, version=0)
    for run in ({"adapter_version": "rec-v1"}, {"adapter": "mine"}):
        rollout = replace(make_rollout(tiny_model, seed=1), **run)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"without an adapter.*--start"):
            check_policy([rollout], base)


def test_a_rollout_of_another_loop_has_no_age(tiny_model: LlamaForCausalLM) -> None:
    given = [scored(tiny_model, 1, adapter_version=f"rec-v1-{loop}") for loop in ("0a1b2c3d", "bbbbbbbb")]
    found = filtered(given, version=9, identity="0a1b2c3d")
    assert (found.rollouts, found.refused) == ((given[1],), {"stale": (given[0].rollout.run_id,)})
