import numpy as np
import pytest
import torch

from deeprec.trm_tool import PreferenceAwareTRM, TRMConfig
from deeprec.trm_tool.trm.id_embedding_estimates import FITTED_ON, RIDGE, expected_ids

WIDTH, TEXT_WIDTH = 8, 6


def build(items: int = 200, *, seed: int = 1) -> PreferenceAwareTRM:
    generator = torch.Generator().manual_seed(seed)
    texts = torch.randn(items, TEXT_WIDTH, generator=generator)
    model = PreferenceAwareTRM(TRMConfig(width=WIDTH, inner=8, layers=1, experts=2, max_length=4), texts)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return model.eval().requires_grad_(False)


def new_texts(count: int = 5) -> torch.Tensor:
    return torch.randn(count, TEXT_WIDTH, generator=torch.Generator().manual_seed(7))


def test_it_is_the_ridge_regression_weighted_by_interactions() -> None:
    model, popularity = build(), np.arange(200.0) % 7
    share = torch.from_numpy(popularity / popularity.sum()).unsqueeze(1)
    texts = model.adapt_text(model.text_embeddings).double()
    ids = model.id_embedding.weight.double()
    mean_text, mean_id = (share * texts).sum(0), (share * ids).sum(0)
    penalty = RIDGE * (share * (texts - mean_text) ** 2).sum(0).mean()
    # As least squares over rows of their own for the penalty: another way to the same solution.
    left = torch.cat((share.sqrt() * (texts - mean_text), penalty.sqrt() * torch.eye(WIDTH)))
    right = torch.cat((share.sqrt() * (ids - mean_id), torch.zeros(WIDTH, WIDTH)))
    slope = torch.linalg.lstsq(left, right).solution
    expected = mean_id + (model.adapt_text(new_texts()).double() - mean_text) @ slope
    torch.testing.assert_close(expected_ids(model, popularity, new_texts()), expected.float())


def test_what_texts_tell_of_ids_is_found() -> None:
    model = build()
    truth = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(3))
    model.id_embedding.weight.copy_(model.adapt_text(model.text_embeddings) @ truth + 2.0)
    guessed = expected_ids(model, np.ones(200), new_texts(500))
    wanted = model.adapt_text(new_texts(500)) @ truth + 2.0
    unexplained = (guessed - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
    assert unexplained < 0.15


def test_items_without_interactions_decide_nothing() -> None:
    model, popularity = build(), np.ones(200)
    popularity[50:] = 0
    before = expected_ids(model, popularity, new_texts())
    model.id_embedding.weight[50:] = 100.0
    torch.testing.assert_close(expected_ids(model, popularity, new_texts()), before)


def test_the_popular_items_are_read_where_there_are_too_many() -> None:
    model, popularity = build(FITTED_ON + 50), np.ones(FITTED_ON + 50)
    popularity[:FITTED_ON] = 2.0
    before = expected_ids(model, popularity, new_texts())
    model.id_embedding.weight[FITTED_ON:] = 100.0
    torch.testing.assert_close(expected_ids(model, popularity, new_texts()), before)


def test_texts_that_are_all_alike_tell_nothing_and_break_nothing() -> None:
    model = build()
    model.text_embeddings[:] = 1.0
    guessed = expected_ids(model, np.arange(200.0), new_texts())
    mean = torch.from_numpy(np.arange(200.0) / np.arange(200.0).sum()).float() @ model.id_embedding.weight
    torch.testing.assert_close(guessed, mean.expand(5, -1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 5])
def test_nothing_trained_gives_nothing(count: int) -> None:
    assert torch.equal(expected_ids(build(), np.zeros(200), new_texts(count)), torch.zeros(count, WIDTH))
