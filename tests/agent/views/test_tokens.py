import math
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from deeprec.agent.views import read_tokenizer, run_html
from deeprec.agent.views.tokens import level
from deeprec.trm_tool import ConfigError
from tests.inspected_runs import made_run, made_turn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(BPE(vocab={letter: i for i, letter in enumerate(ByteLevel.alphabet())}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_each_id_has_its_own_text(folder: Path) -> None:
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a <b>\né<|im_end|>").ids
    texts = read_tokenizer(folder)([*ids, 9999])
    assert texts == ["a", " ", "<", "b", ">", "\n", "�", "�", "<|im_end|>", "⟨9999⟩"]


def test_a_page_shows_the_texts_with_their_probabilities(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    turn = made_turn(
        0, prompt_ids=tuple(tokenizer.encode("Hi").ids), completion_ids=tuple(tokenizer.encode("<b\n").ids)
    )
    page = run_html(made_run(turns=(turn,)), None, read_tokenizer(folder))
    assert '<span class="given">Hi</span>' in page
    assert '<span class="t k0" title="-0.010, 99%">&lt;</span>' in page
    assert '<span class="t k1" title="-0.700, 50%">b</span>' not in page  # e^-0.7 is below one half
    assert '<span class="t k2" title="-0.700, 50%">b</span>' in page
    assert '<span class="t k4" title="-4.000, 1.8%">↵\n</span>' in page
    assert "The 3 least likely of the 3 tokens written" in page


def test_without_a_tokenizer_the_ids_are_shown() -> None:
    page = run_html(made_run())
    assert '<span class="given">0 1 2 3 </span>' in page
    assert 'title="-0.010, 99%">100 </span>' in page
    assert "Positions 7 to 13 of the run's tokens" in page


def test_tokens_without_logprobs_have_no_colour() -> None:
    page = run_html(made_run(turns=(made_turn(0, logprobs=(-0.1,)), made_turn(1, logprobs=(), completion_ids=()))))
    assert page.count('<span class="t">') == 2
    assert "Tokens: 4 put before the model, 0 written" in page


def test_a_guided_run_says_that_tokens_may_be_forced() -> None:
    assert "may have been the only one allowed" in run_html(made_run({"guided": True}))
    assert "may have been the only one allowed" not in run_html(made_run())


@pytest.mark.parametrize(
    ("probability", "expected"), [(1.0, 0), (0.9, 0), (0.89, 1), (0.5, 1), (0.2, 2), (0.05, 3), (0.049, 4), (1e-30, 4)]
)
def test_colours_follow_the_probability(probability: float, expected: int) -> None:
    assert level(math.log(probability) + 1e-12) == expected


def test_odd_logprobs_have_a_colour_or_none() -> None:
    assert level(math.nan) is None
    assert level(-math.inf) == 4
    assert level(0.3) == 0


def test_a_tokenizer_that_drops_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 texts for 3 token ids"):
        run_html(made_run(), None, lambda ids: ["one"])


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_a_folder_without_a_tokenizer_is_one_clear_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match="no tokenizer that can be read") as caught:
        read_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="is not a folder"):
        read_tokenizer(tmp_path / "nowhere")
