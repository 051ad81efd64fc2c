"""Groups of examples in one sequence: each example is learned as if it stood alone, and the adapter is PEFT's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from tests.tiny_server import encode, tiny_llama
from tools.listening.examples import Example
from tools.listening.packed_training import add_adapter, loss_of, pack, save_adapter

SHARED = encode("The catalogue knows: calm; loud")
FIRST = Example(encode("no noise please"), encode("calm!"))
SECOND = Example(encode("drums"), encode("loud!"))


def test_an_example_of_a_group_has_the_loss_that_it_has_alone() -> None:
    model: Any = tiny_llama()
    with torch.no_grad():
        together, tokens = loss_of(model, [(SHARED, [FIRST, SECOND])])
        alone = [loss_of(model, [(SHARED, [each])]) for each in (FIRST, SECOND)]
        logits = model(torch.tensor([[*SHARED, *SECOND.rest, *SECOND.written]])).logits[0].log_softmax(-1)
    assert tokens == sum(count for _, count in alone) == 10
    assert float(together) == pytest.approx(float(sum(loss for loss, _ in alone)), rel=2e-3)
    of_written = logits[-len(SECOND.written) - 1 : -1]
    expected = -float(of_written.gather(1, torch.tensor(SECOND.written)[:, None]).sum())
    assert float(alone[1][0]) == pytest.approx(expected, rel=2e-3)


def test_a_token_sees_the_shared_part_and_its_own_example_and_nothing_of_the_padding() -> None:
    packed = pack([(SHARED, [FIRST, SECOND]), (SHARED, [SECOND])])
    sees = packed.mask[0, 0] == 0
    end_of_first = len(SHARED) + len(FIRST.rest) + len(FIRST.written)
    assert sees[end_of_first, : len(SHARED)].all()
    assert not sees[end_of_first:, len(SHARED) : end_of_first].any()
    assert packed.positions[0, end_of_first] == len(SHARED)
    short = len(SHARED) + len(SECOND.rest) + len(SECOND.written)
    assert (packed.labels[1, short:] == -100).all()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
def test_the_saved_adapter_computes_what_was_trained(tmp_path: Path) -> None:
    model: Any = tiny_llama()
    added = add_adapter(model, rank=2, layers=1)
    assert set(added) == {
        *(f"model.layers.1.self_attn.{name}_proj" for name in "qkvo"),
        *(f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up", "down")),
    }
    torch.manual_seed(3)
    for layer in added.values():
        layer.up.data.normal_()
    save_adapter(added, tmp_path, base="tiny")
    base: Any = PeftModel.from_pretrained(tiny_llama(), tmp_path)
    ids = torch.tensor([SHARED])
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, base(ids).logits, atol=0.05)
        assert not torch.allclose(model(ids).logits, tiny_llama()(ids).logits, atol=0.05)
