from collections import Counter

import numpy as np
import pytest
import torch

from deeprec.trm_tool import (
    Catalogue,
    ConfigError,
    HashingEncoder,
    Item,
    PreferenceConfig,
    PreferencePool,
    encode_preferences,
    write_preferences,
)
from deeprec.trm_tool.trm.training.preferences import NAMED
from tests.counting_encoder import CountingEncoder


def split(text: str) -> list[str]:
    return text.split("; ")


def test_texts_are_parts_of_what_is_true_of_the_item(catalogue: Catalogue) -> None:
    texts = write_preferences(catalogue, PreferenceConfig(noisy=0), seed=1)
    assert len(texts) == len(catalogue)
    for item_id, own in zip(catalogue.ids, texts, strict=True):
        true = set(catalogue.phrases_of(item_id))
        assert len(own) == PreferenceConfig().variants
        assert set(split(own[0])) == true  # the first one says all
        for text in own:
            phrases = split(text)
            assert set(phrases) <= true
            assert len(set(phrases)) == len(phrases)
    lengths = {len(split(text)) for own in texts for text in own}
    assert len(lengths) > 1


def test_a_noisy_text_holds_one_phrase_that_is_not_true(catalogue: Catalogue) -> None:
    texts = write_preferences(catalogue, PreferenceConfig(noisy=1, variants=4), seed=1)
    wrong = Counter(
        len(set(split(text)) - set(catalogue.phrases_of(item_id)))
        for item_id, own in zip(catalogue.ids, texts, strict=True)
        for text in own[1:]
    )
    assert set(wrong) == {0, 1}  # 0: the borrowed phrase happened to be true
    assert wrong[1] > wrong[0]


def test_a_title_is_never_in_a_preference() -> None:
    """Titles that are also tags of other items, so that only care keeps them out."""
    tags = ("drama", "heat", "alien")
    items = [
        Item(id="a", title="Drama", text="", attributes={"genre": ("drama", "heat")}),
        Item(id="b", title="Heat ", text="", attributes={"genre": ("heat", "alien")}),
        *(Item(id=f"c{n}", title=f"Film {n}", text="", attributes={"genre": tags}) for n in range(20)),
    ]
    catalogue = Catalogue(items, {"genre": "tags"})
    for seed in range(20):
        texts = write_preferences(catalogue, PreferenceConfig(noisy=1, variants=16), seed=seed)
        assert not any("drama" in split(text) for text in texts[0])
        assert not any("heat" in split(text) for text in texts[1])


def test_a_huge_catalogue_gets_fewer_texts_for_each_set_of_phrases(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Item(id=str(n), title=f"T{n}", text="", attributes={"tag": (f"tag {n}", f"other {n}")}) for n in range(30)]
    catalogue = Catalogue(items, {"tag": "tags"})
    assert {len(own) for own in write_preferences(catalogue, PreferenceConfig(variants=8), 0)} == {8}
    monkeypatch.setattr("deeprec.trm_tool.trm.training.preferences.MAX_TEXTS", 90)
    assert {len(own) for own in write_preferences(catalogue, PreferenceConfig(variants=8), 0)} == {3}
    monkeypatch.setattr("deeprec.trm_tool.trm.training.preferences.MAX_TEXTS", 3)
    assert {len(own) for own in write_preferences(catalogue, PreferenceConfig(variants=8), 0)} == {2}


def test_texts_depend_on_the_seed_alone(catalogue: Catalogue) -> None:
    first = write_preferences(catalogue, PreferenceConfig(), seed=1)
    assert first == write_preferences(catalogue, PreferenceConfig(), seed=1)
    assert first != write_preferences(catalogue, PreferenceConfig(), seed=2)


def test_a_preference_is_its_text_and_the_phrases_that_it_names(catalogue: Catalogue) -> None:
    encoder = HashingEncoder()
    sentence, listed, nothing = "a COMEDY from the 90s, please", "comedy; 1990s", ""
    vectors = encode_preferences(encoder, catalogue, [sentence, listed, nothing])
    text, phrases = encoder.encode([sentence, listed])
    both = text + NAMED * phrases
    np.testing.assert_allclose(vectors[0], both / np.linalg.norm(both), rtol=1e-5)
    np.testing.assert_allclose(vectors[1], phrases, rtol=1e-5)
    assert not vectors[2].any()


def test_each_text_is_encoded_once(catalogue: Catalogue) -> None:
    encoder = CountingEncoder()
    texts = write_preferences(catalogue, PreferenceConfig(), seed=1)
    pool = PreferencePool(texts, encoder, catalogue, PreferenceConfig())
    assert len(encoder.encoded) == len(set(encoder.encoded))
    assert set(encoder.encoded) >= set(pool.texts)
    np.testing.assert_array_equal(pool.embeddings.numpy(), encode_preferences(HashingEncoder(), catalogue, pool.texts))


def test_draws_keep_the_shares(catalogue: Catalogue) -> None:
    config = PreferenceConfig(empty=0.4, wrong=0.25, noisy=0)
    texts = write_preferences(catalogue, config, seed=1)
    pool = PreferencePool(texts, HashingEncoder(), catalogue, config)
    targets = torch.arange(len(catalogue)).repeat(200)
    index, has = pool.draw(targets, torch.Generator().manual_seed(3))
    assert has.float().mean().item() == pytest.approx(0.6, abs=0.02)
    own = torch.tensor(
        [
            pool.texts[chosen] in texts[row]
            for chosen, row in zip(index[has].tolist(), targets[has].tolist(), strict=True)
        ]
    )
    assert 0.75 <= own.float().mean().item() < 0.85  # another item's text may fit by chance
    again, has_again = pool.draw(targets, torch.Generator().manual_seed(3))
    assert torch.equal(index, again)
    assert torch.equal(has, has_again)


@pytest.mark.parametrize(("empty", "expected"), [(1.0, False), (0.0, True)])
def test_empty_can_be_always_or_never(catalogue: Catalogue, empty: float, expected: bool) -> None:
    config = PreferenceConfig(empty=empty)
    pool = PreferencePool(write_preferences(catalogue, config, 0), HashingEncoder(), catalogue, config)
    _, has = pool.draw(torch.arange(50), torch.Generator().manual_seed(0))
    assert has.unique().tolist() == [expected]


def test_an_item_without_attributes_has_no_preference() -> None:
    catalogue = Catalogue(
        [Item(id="a", title="A", text=""), Item(id="b", title="B", text="", attributes={"tag": ("x",)})],
        {"tag": "tags"},
    )
    config = PreferenceConfig(empty=0, wrong=0)
    texts = write_preferences(catalogue, config, 0)
    assert texts[0] == ()
    pool = PreferencePool(texts, HashingEncoder(), catalogue, config)
    _, has = pool.draw(torch.tensor([0, 1, 0, 1]), torch.Generator().manual_seed(0))
    assert has.tolist() == [False, True, False, True]
    assert pool.all_phrases(torch.tensor([0, 1]))[1].tolist() == [False, True]


def test_a_catalogue_without_any_attributes_trains_without_preferences() -> None:
    catalogue = Catalogue([Item(id="a", title="A", text=""), Item(id="b", title="B", text="")], {})
    pool = PreferencePool(
        write_preferences(catalogue, PreferenceConfig(), 0), HashingEncoder(), catalogue, PreferenceConfig()
    )
    _, has = pool.draw(torch.tensor([0, 1]), torch.Generator().manual_seed(0))
    assert not has.any()


@pytest.mark.parametrize(
    ("setting", "value"), [("empty", -0.1), ("wrong", 1.5), ("noisy", float("nan")), ("variants", 0)]
)
def test_a_share_that_cannot_be_is_named(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        PreferenceConfig(**{setting: value})  # type: ignore[arg-type]
