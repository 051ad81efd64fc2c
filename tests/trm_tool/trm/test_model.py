import numpy as np
import pytest
import torch

from deeprec.trm_tool import ConfigError, PreferenceAwareTRM, TRMConfig

ITEMS, TEXT_WIDTH = 30, 12


def build(**settings: object) -> PreferenceAwareTRM:
    generator = torch.Generator().manual_seed(5)
    texts = torch.randn(ITEMS, TEXT_WIDTH, generator=generator)
    model = PreferenceAwareTRM(TRMConfig(width=16, inner=32, experts=3, max_length=10, **settings), texts)  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)  # wide enough that differences show
    return model.eval()


@pytest.fixture(scope="module", params=[True, False], ids=["frequency gate", "sum"])
def model(request: pytest.FixtureRequest) -> PreferenceAwareTRM:
    return build(frequency_gate=request.param)


def preference(seed: int = 1, rows: int = 1) -> torch.Tensor:
    return torch.randn(rows, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
def test_a_later_item_changes_no_earlier_position(model: PreferenceAwareTRM) -> None:
    first = torch.arange(10).unsqueeze(0)
    for position in range(10):
        second = first.clone()
        second[0, position] = 25
        before, after = model.encode_sequence(first), model.encode_sequence(second)
        torch.testing.assert_close(before[:, :position], after[:, :position], atol=1e-5, rtol=0)
        assert not torch.allclose(before[:, position:], after[:, position:], atol=1e-3)


def test_no_gradient_reaches_back_from_the_past_to_a_later_item() -> None:
    model = build()
    model.encode_sequence(torch.tensor([[1, 2, 3, 4]]))[0, 1].square().sum().backward()
    gradient = model.id_embedding.weight.grad
    assert gradient is not None
    assert gradient[[1, 2]].abs().sum() > 1e-3
    assert gradient[[3, 4]].abs().max() < 1e-6


@pytest.mark.parametrize("length", [3, 6, 10])
def test_padding_changes_nothing(model: PreferenceAwareTRM, length: int) -> None:
    rows = torch.full((1, length), -1)
    rows[0, :3] = torch.tensor([4, 9, 2])
    torch.testing.assert_close(model.query(rows), model.query(rows[:, :3]), atol=1e-5, rtol=0)


def test_a_row_of_a_batch_is_scored_as_it_is_alone(model: PreferenceAwareTRM) -> None:
    rows = torch.tensor([[1, 2, 3, 4, 5], [6, 7, -1, -1, -1], [-1, -1, -1, -1, -1]])
    together = model.query(rows, preference(rows=3))
    for index in range(3):
        alone = model.query(rows[index : index + 1], preference(rows=3)[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=0)


def test_without_has_preference_a_preference_counts_for_nothing(model: PreferenceAwareTRM) -> None:
    rows = torch.tensor([[1, 2, 3], [4, 5, 6]])
    none, full = model.query(rows), model.query(rows, preference(rows=2))
    half = model.query(rows, preference(rows=2), torch.tensor([False, True]))
    assert not torch.allclose(none, full, atol=1e-3)
    torch.testing.assert_close(half, torch.stack((none[0], full[1])))


@torch.no_grad()
def test_trust_scales_the_preference(model: PreferenceAwareTRM) -> None:
    rows = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(model.query(rows, preference(), trust=0.0), model.query(rows))
    text_alone = model.query(torch.tensor([[-1, -1, -1]]), preference())
    agreement = [
        float((model.query(rows, preference(), trust=trust) * text_alone).sum()) for trust in (0.0, 0.5, 1.0, 4.0)
    ]
    assert agreement == sorted(agreement)
    assert agreement[0] < agreement[-1]


def test_an_empty_history_asks_by_the_text_alone(model: PreferenceAwareTRM) -> None:
    for rows in (torch.full((1, 4), -1), torch.empty(1, 0, dtype=torch.int64)):
        query = model.query(rows, preference())
        assert query.norm().item() == pytest.approx(1.0, abs=1e-5)
        torch.testing.assert_close(query, torch.nn.functional.normalize(model.adapt_preference(preference()), dim=-1))
        assert model.query(rows).abs().max() == 0


def test_scores_are_cosines(model: PreferenceAwareTRM) -> None:
    vectors = model.item_vectors()
    assert vectors.shape == (ITEMS, 16)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(ITEMS))
    scores = model.query(torch.tensor([[1, 2, 3]]), preference()) @ vectors.T
    assert scores.abs().max() <= 1 + 1e-5


def test_order_of_the_history_matters(model: PreferenceAwareTRM) -> None:
    assert not torch.allclose(model.query(torch.tensor([[1, 2, 3]])), model.query(torch.tensor([[3, 2, 1]])), atol=1e-3)


def test_the_frequency_gate_is_a_causal_convolution_of_ids_and_texts() -> None:
    gate = build().frequency_gate
    assert gate is not None
    ids, texts = preference(2, 5).new_tensor(np.random.default_rng(3).normal(size=(2, 1, 5, 16)))
    filtered, fused = torch.zeros(1, 5, 16), torch.zeros(1, 5, 16)
    for position in range(5):
        for lag in range(position + 1):
            filtered[:, position] += gate.kernel[lag] * ids[:, position - lag]
            fused[:, position] += texts[:, lag] * ids[:, position - lag] / len(gate.kernel) ** 0.5
    expected = filtered * gate.id_gate(filtered).sigmoid() + fused * gate.fusion_gate(fused).sigmoid()
    torch.testing.assert_close(gate(ids, texts), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("width", 0), ("width", 65), ("layers", 0), ("dropout", 1.0), ("temperature", 0.0), ("temperature", float("nan"))],
)
def test_a_setting_that_cannot_work_is_named(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        TRMConfig(**{setting: value})  # type: ignore[arg-type]


def test_the_same_weights_serve_other_items(model: PreferenceAwareTRM) -> None:
    more = torch.randn(2, 16, generator=torch.Generator().manual_seed(9))
    other = model.with_items(
        torch.cat((model.id_embedding.weight, more)), torch.cat((model.text_embeddings, preference(2, rows=2)))
    )
    assert (model.item_count, other.item_count) == (ITEMS, ITEMS + 2)
    assert not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())
    torch.testing.assert_close(other.item_vectors()[:ITEMS], model.item_vectors())
    rows = torch.tensor([[3, 1, 4]])
    torch.testing.assert_close(other.query(rows, preference()), model.query(rows, preference()))
    assert not torch.allclose(other.query(torch.tensor([[3, 1, ITEMS]])), model.query(rows), atol=1e-3)
    for name, value in model.state_dict().items():
        assert (other.state_dict()[name].data_ptr() == value.data_ptr()) == (name != "id_embedding.weight")


def test_vectors_of_some_items_are_those_of_all(model: PreferenceAwareTRM) -> None:
    rows = torch.tensor([7, 0, 7])
    torch.testing.assert_close(model.item_vectors(rows), model.item_vectors()[rows])
