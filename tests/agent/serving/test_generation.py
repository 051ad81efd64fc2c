"""Sampling from a transformers model in batches, on a random two-layer Llama with byte tokens."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deeprec.agent.serving.generation import Generated, GenerationError, Generator, Request, SampledRow
from deeprec.trm_tool import ConfigError
from tests.tiny_server import EOS, decode, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
PROMPTS = ([72, 105], [65, 66, 67, 68, 69, 70, 71], list(range(97, 123)))


class ByteTokenizer:
    """As much of a tokenizer as free generation asks for."""

    eos_token_id = EOS

    def decode(self, ids: list[int], **_: Any) -> str:
        return decode(ids)


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_llama()


@pytest.fixture
def generator(llama: Any) -> Generator:
    return Generator(copy.deepcopy(llama), ByteTokenizer(), max_batch=8)


def ask(generator: Generator, *requests: Request) -> list[Generated]:
    return [answer.result(timeout=60) for answer in [generator.submit(request) for request in requests]]


@torch.no_grad()
def logits_of(model: Any, prompt: list[int], done: Generated) -> torch.Tensor:
    """What the model says at each token of a completion, read whole and alone: shape (tokens, vocabulary)."""
    logits: torch.Tensor = model(torch.tensor([[*prompt, *done.token_ids]])).logits[0, len(prompt) - 1 : -1]
    return logits


def picked(logits: torch.Tensor, done: Generated) -> torch.Tensor:
    return logits.log_softmax(-1).gather(1, torch.tensor(done.token_ids)[:, None])[:, 0]


def test_logprobs_are_the_models_own_whoever_else_is_in_the_batch(generator: Generator, llama: Any) -> None:
    """Rows of other lengths pad each other, and rows that end early leave the batch."""
    requests = [
        Request(prompt=prompt, max_tokens=tokens, temperature=temperature, seed=7)
        for prompt, tokens, temperature in zip(PROMPTS, (3, 40, 12), (1.0, 0.7, 1.5), strict=True)
    ]
    for request, done in zip(requests, ask(generator, *requests), strict=True):
        own = picked(logits_of(llama, list(request.prompt), done) / request.temperature, done)
        np.testing.assert_allclose(done.logprobs, own, atol=1e-4)
        assert done.finish_reason == ("stop" if done.token_ids[-1] == EOS else "length")


def test_a_seed_gives_the_same_tokens_alone_and_in_a_batch(generator: Generator) -> None:
    requests = [Request(prompt=prompt, max_tokens=20, seed=seed) for seed, prompt in enumerate(PROMPTS * 2)]
    together = [done.token_ids for done in ask(generator, *requests)]
    alone = [ask(generator, request)[0].token_ids for request in requests]
    assert together == alone
    assert together[0] != together[3]  # one prompt, two seeds


@pytest.mark.slow
def test_tokens_are_drawn_as_often_as_the_model_says(llama: Any) -> None:
    """4,000 draws of one token under top-p .5, and Pearson's statistic, which has one degree a token less one."""
    llama = copy.deepcopy(llama)
    llama.lm_head.weight.data *= 30  # far from uniform
    generator = Generator(copy.deepcopy(llama), ByteTokenizer(), max_batch=1_000)
    prompt, draws = PROMPTS[0], 4_000
    done = ask(generator, *(Request(prompt=prompt, max_tokens=1, top_p=0.5, seed=seed) for seed in range(draws)))
    probabilities = logits_of(llama, prompt, done[0])[0].softmax(-1).double().numpy()
    order = np.argsort(-probabilities)
    kept = order[: int(np.searchsorted(probabilities[order].cumsum(), 0.5)) + 1]
    expected = np.zeros_like(probabilities)
    expected[kept] = probabilities[kept] / probabilities[kept].sum()
    seen = np.bincount([each.token_ids[0] for each in done], minlength=expected.size) / draws
    assert set(np.flatnonzero(seen)) <= set(kept.tolist())
    assert 3 < kept.size < 60
    assert expected.max() > 3 * expected[kept].min()  # a sampler that takes them alike would show
    statistic = draws * float(((seen - expected)[kept] ** 2 / expected[kept]).sum())
    assert statistic < kept.size + 6 * np.sqrt(2 * kept.size)
    for each in done[:50]:
        assert each.logprobs[0] == pytest.approx(np.log(expected[each.token_ids[0]]), abs=1e-4)


def test_temperature_0_takes_the_likeliest(generator: Generator, llama: Any) -> None:
    [done] = ask(generator, Request(prompt=PROMPTS[1], max_tokens=10, temperature=0))
    assert done.token_ids == logits_of(llama, PROMPTS[1], done).argmax(-1).tolist()


def test_a_stop_ends_the_completion_and_stays_in_it(generator: Generator) -> None:
    [free] = ask(generator, Request(prompt=PROMPTS[2], max_tokens=30, seed=1))
    stop = decode(free.token_ids[4:7])
    [done] = ask(generator, Request(prompt=PROMPTS[2], max_tokens=30, seed=1, stop=["never said", stop]))
    assert done.token_ids == free.token_ids[:7]
    assert done.text.endswith(stop)
    assert done.finish_reason == "stop"


def test_an_adapter_answers_for_itself_alone_and_comes_back_after_it_was_put_out(
    generator: Generator, llama: Any, tmp_path: Path
) -> None:
    models = {f"rec-v{number}": write_adapter(llama, tmp_path / f"rec-v{number}", number) for number in range(6)}
    for name in models:
        generator.add_adapter(name, tmp_path / name)
    assert list(generator.adapters) == list(models)
    asked = [*models, None, "rec-v0", None]
    requests = [Request(prompt=PROMPTS[1], max_tokens=12, seed=3, adapter=name) for name in asked]
    for request, done in zip(requests, ask(generator, *requests), strict=True):
        model = llama if request.adapter is None else models[request.adapter]
        np.testing.assert_allclose(done.logprobs, picked(logits_of(model, PROMPTS[1], done), done), atol=1e-4)


def write_adapter(llama: Any, folder: Path, seed: int) -> Any:
    """A random adapter of all linear layers, written by PEFT, and the model that PEFT makes of it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(copy.deepcopy(llama), lora)
    model.save_pretrained(folder)
    return model.eval()


def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(
    generator: Generator, llama: Any, tmp_path: Path
) -> None:
    write_adapter(llama, tmp_path / "good", 0)
    other = tmp_path / "other"
    write_adapter(tiny_llama_of_other_width(), other, 0)
    with pytest.raises(ConfigError, match="of another base model"):
        generator.add_adapter("other", other)
    config = other / "adapter_config.json"
    config.write_text(config.read_text("utf-8").replace('"use_dora": false', '"use_dora": true'), "utf-8")
    with pytest.raises(ConfigError, match="use_dora True"):
        generator.add_adapter("other", other)
    (other / "adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="has no adapter that can be read"):
        generator.add_adapter("other", other)
    generator.add_adapter("good", tmp_path / "good")
    with pytest.raises(GenerationError, match="loaded already"):
        generator.add_adapter("good", tmp_path / "good")
    assert list(generator.adapters) == ["good"]


def tiny_llama_of_other_width() -> Any:
    from transformers import LlamaForCausalLM

    config = copy.deepcopy(tiny_llama().config)
    config.intermediate_size = 48
    return LlamaForCausalLM(config)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request(prompt=[], max_tokens=1), "no token"),
        (Request(prompt=[258], max_tokens=1), "vocabulary of 258"),
        (Request(prompt=[1] * 16_384, max_tokens=1), "reads 16384"),
        (Request(prompt=[1], max_tokens=1, adapter="rec-v9"), "rec-v9"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused(generator: Generator, request_: Request, said: str) -> None:
    with pytest.raises(GenerationError, match=said):
        generator.submit(request_)


def test_a_failing_model_fails_its_requests_and_not_the_next(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(generator, "_answer", fail)
        with pytest.raises(torch.OutOfMemoryError):
            ask(generator, Request(prompt=[1], max_tokens=1))
    assert len(ask(generator, Request(prompt=[1], max_tokens=1))) == 1


def test_a_cancelled_request_leaves_its_batch_and_the_others_are_answered(generator: Generator) -> None:
    answers = [generator.submit(Request(prompt=PROMPTS[0], max_tokens=200, seed=seed)) for seed in range(3)]
    assert answers[1].cancel()
    assert [len(answers[at].result(timeout=60).token_ids) > 0 for at in (0, 2)] == [True, True]
    [alone] = ask(generator, Request(prompt=PROMPTS[0], max_tokens=200, seed=2))
    assert answers[2].result().token_ids == alone.token_ids


def test_a_batch_beyond_memory_is_answered_in_halves(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request(prompt=prompt, max_tokens=9, seed=seed) for seed, prompt in enumerate(PROMPTS * 2)]
    expected = [done.token_ids for done in ask(generator, *requests)]
    answer, sizes = generator._answer, []

    def short_of_memory(rows: list[Any]) -> None:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("no memory left")
        answer(rows)

    monkeypatch.setattr(generator, "_answer", short_of_memory)
    assert [done.token_ids for done in ask(generator, *requests)] == expected
    assert max(sizes) > 2


def test_a_request_too_long_for_a_batch_goes_alone(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.agent.serving.generation._BATCH_TOKENS", 60)
    answer, sizes = generator._answer, []

    def noted(rows: list[Any]) -> None:
        sizes.append(sum(len(row.request.prompt) + row.request.max_tokens for row in rows))
        answer(rows)

    monkeypatch.setattr(generator, "_answer", noted)
    ask(generator, *(Request(prompt=[1] * length, max_tokens=5) for length in (10, 10, 90, 10, 30, 10)))
    assert sum(sizes) == 160 + 6 * 5
    assert sorted(sizes)[-1] == 95
    assert sorted(sizes)[-2] <= 60


def test_text_is_whole_where_words_begin_with_a_space_and_characters_have_several_tokens(llama: Any) -> None:
    """SentencePiece drops the space of a text's first word; a character of four bytes is four tokens."""
    from tokenizers import Tokenizer, decoders, models

    bytes_ = {f"<0x{byte:02X}>": 300 + byte for byte in range(256)}
    words = {"<unk>": 0, "▁the": 1, "▁cat": 2, "s": 3, "</": 4, "p": 5, ">": 6}
    made = Tokenizer(models.BPE(vocab=words | bytes_, merges=[], unk_token="<unk>", byte_fallback=True))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )

    class Words(ByteTokenizer):
        def decode(self, ids: list[int], **_: Any) -> str:
            return made.decode(ids)

    generator = Generator(copy.deepcopy(llama), Words())
    film = [300 + byte for byte in "🎬".encode()]
    row = SampledRow(Request(prompt=[1], max_tokens=20, stop=["</p>"]), None)
    ended = [generator._take(row, token, -1.0) for token in (2, 3, *film, 4, 5)]
    assert ended == [False] * 8
    assert generator._take(row, 6, -1.0)
    assert row.answer.result().text == " cats🎬</p>"
