import numpy as np
import torch
from hypothesis import given, strategies as st
from transformers import LlamaForCausalLM

from deeprec.training import ScoredRollout
from deeprec.training.trainers.micro_batches import grpo_batch, micro_batches, padding_of, sft_labels
from tests.training.tiny_policy import make_rollout


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200), st.integers(1, 5))
def test_every_sequence_is_in_one_batch_that_keeps_the_bound(lengths: list[int], bound: int, processes: int) -> None:
    batches = micro_batches(lengths, bound, processes)
    assert len(batches) % processes == 0 or all(len(batch) == 1 for batch in batches)
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= bound
    padding = padding_of(lengths, batches)
    assert padding.tokens == sum(lengths)
    assert 0 <= padding.waste < 1


def test_similar_lengths_go_together_and_the_longest_first() -> None:
    lengths = [10, 100, 12, 90, 11]
    assert micro_batches(lengths, 200) == [[1, 3], [2, 4, 0]]
    assert padding_of(lengths, [[1, 3], [2, 4, 0]]) == (223, 236)
    assert micro_batches(lengths, 200, processes=3) == [[1], [3], [2, 4, 0]]


def test_a_batch_holds_the_logged_tokens_as_they_are(tiny_model: LlamaForCausalLM) -> None:
    long = make_rollout(tiny_model, seed=1, turns=((3, 2), (2, 2)))
    short = make_rollout(tiny_model, seed=2, turns=((2, 3),))
    scored = [ScoredRollout(rollout=each, components={}, reward=1.0, advantage=0.5) for each in (long, short)]
    batch = grpo_batch(scored, step_tokens=7, weight=0.25)
    rows = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    assert rows.tolist() == [long.token_ids.tolist(), [*short.token_ids.tolist(), 0, 0, 0, 0]]
    assert batch["completion_mask"].tolist() == [[1] * 8, [1, 1, 1, 1, 0, 0, 0, 0]]
    assert batch["tool_mask"].tolist() == [[0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 1, 1, 0, 0, 0, 0]]
    own = batch["tool_mask"].bool()
    logged = np.concatenate([each.logprobs[each.env_mask == 1] for each in (long, short)])
    assert batch["old_per_token_logps"][own].numpy().tobytes() == logged.tobytes()
    assert not batch["old_per_token_logps"][~own].any()
    assert batch["advantages"].tolist() == [0.5, 0.5]
    assert (batch["num_items_in_batch"].item(), batch["weight"].item()) == (7, 0.25)


def test_labels_are_the_policys_own_tokens(tiny_model: LlamaForCausalLM) -> None:
    rollout = make_rollout(tiny_model, seed=1, turns=((3, 2), (2, 1)))
    ids = rollout.token_ids.tolist()
    assert sft_labels(rollout) == [-100, -100, -100, ids[3], ids[4], -100, -100, ids[7]]
