from dataclasses import replace
from itertools import permutations

import pytest
from transformers import LlamaForCausalLM

from deeprec.training.rollouts.group_checks import check_groups
from deeprec.trm_tool import ConfigError
from tests.training.tiny_policy import make_rollout


@pytest.mark.parametrize("part", ["base_fingerprint", "adapter_fingerprint"])
def test_a_run_without_a_fingerprint_hides_no_two_that_differ(tiny_model: LlamaForCausalLM, part: str) -> None:
    for order in permutations([None, "A", "B"]):
        runs = [
            replace(make_rollout(tiny_model, seed=seed), **{part: fingerprint})  # type: ignore[arg-type]
            for seed, fingerprint in enumerate(order)
        ]
        ids = [run.run_id for run in runs if getattr(run, part) is not None]
        with pytest.raises(ConfigError, match=f"different policies .such as g: {ids[0]} and {ids[1]}"):
            check_groups(runs)
        check_groups([run for run in runs if getattr(run, part) != "B"])


def test_fingerprints_of_two_kinds_are_of_one_policy_where_they_agree(tiny_model: LlamaForCausalLM) -> None:
    runs = [
        replace(make_rollout(tiny_model, seed=seed), base_fingerprint=fingerprint)
        for seed, fingerprint in enumerate(["a", "a-b", "b-b"])
    ]
    check_groups(runs[:2])
    with pytest.raises(ConfigError, match="different policies"):
        check_groups(runs)
