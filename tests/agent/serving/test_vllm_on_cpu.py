"""The quicker products of LoRA adapters give what a loop over the tokens gives."""

import pytest
import torch

from deeprec.agent.serving.vllm_on_cpu import expand, expand_slice, shrink

SLOTS = {
    "one adapter": [1, 1, 1, 1, 1],
    "two adapters": [0, 1, 1, 0, 1],
    "some without": [-1, 0, -1, 1, 0],
    "all without": [-1, -1, -1, -1, -1],
}


@pytest.fixture(params=SLOTS.values(), ids=SLOTS.keys())
def slots(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.tensor(request.param)


def product(inputs: torch.Tensor, matrices: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """Each token by itself; a token without an adapter gets nothing."""
    rows = []
    for token, slot in zip(inputs, slots.tolist(), strict=True):
        matrix = matrices[slot].reshape(matrices.shape[-2:]) if slot >= 0 else torch.zeros(matrices.shape[-2:])
        rows.append(matrix @ token)
    return torch.stack(rows)


def test_shrink_writes_the_scaled_product(slots: torch.Tensor) -> None:
    inputs, matrices, output = torch.randn(5, 12), torch.randn(2, 1, 4, 12), torch.full((5, 6), 9.0)
    shrink(inputs, matrices, output, slots, 0.5)
    torch.testing.assert_close(output[:, :4], 0.5 * product(inputs, matrices, slots))
    assert (output[:, 4:] == 9).all()


@pytest.mark.parametrize("add", [True, False])
def test_expand_adds_or_writes_the_product(slots: torch.Tensor, add: bool) -> None:
    inputs, matrices, before = torch.randn(5, 4), torch.randn(2, 12, 4), torch.randn(5, 12)
    output = before.clone()
    expand(inputs, matrices, output, slots, add)
    torch.testing.assert_close(output, product(inputs, matrices, slots) + (before if add else 0))


def test_expand_slice_changes_its_columns_alone(slots: torch.Tensor) -> None:
    inputs, matrices, before = torch.randn(5, 4), torch.randn(2, 1, 3, 4), torch.randn(5, 12)
    output = before.clone()
    expand_slice(inputs, matrices, output, slots, 6, 3)
    torch.testing.assert_close(output[:, 6:9], before[:, 6:9] + product(inputs, matrices, slots))
    assert torch.equal(output[:, :6], before[:, :6])
    assert torch.equal(output[:, 9:], before[:, 9:])


def test_products_have_the_number_format_of_the_output() -> None:
    inputs, matrices = torch.randn(3, 12, dtype=torch.bfloat16), torch.randn(1, 4, 12, dtype=torch.bfloat16)
    output = torch.zeros(3, 4)
    shrink(inputs, matrices, output, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(output, inputs.float() @ matrices[0].float().T)
