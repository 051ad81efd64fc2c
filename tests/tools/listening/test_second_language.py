"""The German requests say what the English ones say."""

import pytest

from deeprec.trm_tool import Dataset, read_atomic_files
from deeprec.trm_tool.data import TEST_WORDS, MadeRequestConfig, RequestMaker, ShopConfig, generate_shop
from tools.listening.german_words import GERMAN_WORDS


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "small-synthetic"
    generate_shop(folder, ShopConfig(products=300, people=40))
    return read_atomic_files(folder)


def test_german_has_a_way_to_say_all_that_english_says(shop: Dataset) -> None:
    assert GERMAN_WORDS.values.keys() == TEST_WORDS.values.keys()
    assert GERMAN_WORDS.bounds.keys() == TEST_WORDS.bounds.keys()
    assert GERMAN_WORDS.voices.keys() == TEST_WORDS.voices.keys()
    config = MadeRequestConfig(words="test", split="test", bounds=0.8, second_wishes=0.0)
    english = {each.person: each for each in RequestMaker(shop, config).make()}
    german = {each.person: each for each in RequestMaker(shop, config, GERMAN_WORDS).make()}
    same = [who for who in english.keys() & german.keys() if english[who].said == german[who].said]
    assert len(same) > 0.8 * len(english)
    assert all(" and " not in german[who].message for who in same)
    assert all(german[who].message != english[who].message for who in same)
