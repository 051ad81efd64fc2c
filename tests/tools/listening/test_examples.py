"""Examples for the shipped policy: what is on offer holds what is said, and what is written is what is meant."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeprec.agent import Prompts
from deeprec.trm_tool import HashingEncoder
from tests.tools.listening.test_made_catalogues import CONTENT
from tools.listening.catalogue_file import WrittenCatalogue, read_catalogue_file
from tools.listening.examples import ExampleMaker, phrases_of, preference, template_request


class Bytes:
    """A tokenizer of bytes with a chat template."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(text.encode())

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"[{message['role']}]{message['content']}" for message in messages) + "[assistant]"


def text(ids: list[int]) -> str:
    return bytes(ids).decode()


@pytest.fixture
def catalogue(tmp_path: Path) -> WrittenCatalogue:
    (tmp_path / "soups.json").write_text(json.dumps(CONTENT))
    return read_catalogue_file(tmp_path / "soups.json")


@pytest.fixture
def maker(tmp_path: Path, catalogue: WrittenCatalogue) -> Callable[..., ExampleMaker]:
    def make(**options: Any) -> ExampleMaker:
        return ExampleMaker([tmp_path / "soups.json"], Bytes(), HashingEncoder(16), np.random.default_rng(0), **options)

    return make


@pytest.mark.parametrize("renames", [0, 1])
def test_a_prompt_of_an_example_is_the_agents_and_holds_what_is_said(
    renames: float, maker: Callable[..., ExampleMaker]
) -> None:
    making = maker(renames=renames)
    for _ in range(12):
        shared, examples = making.group(3)
        for example in examples:
            prompt, written = text([*shared, *example.rest]), text(example.written)
            assert prompt.startswith(f"[system]{Prompts.words().tagged_system(10, 1)}[user]They chose")
            assert prompt.endswith("[assistant]<|begin_of_preference|>")
            assert written.endswith("<|end_of_preference|>")
            offered = prompt.split("The catalogue knows: ")[1].split("\n")[0].split("; ")
            for segment in written.removesuffix("<|end_of_preference|>").split("; "):
                assert segment.removeprefix("not ") in offered or segment.startswith("price")
            if "The person says nothing." in prompt:
                assert written == f"{'; '.join(offered[:2])}<|end_of_preference|>"


def test_a_whole_run_ends_with_the_list_in_the_order_of_what_was_found(maker: Callable[..., ExampleMaker]) -> None:
    _, [example] = maker().whole_run()
    assert text(example.rest).count("<|end_of_preference|>\n<|begin_of_item_list|>\n1. ") == 1
    assert text(example.rest).endswith("<|end_of_item_list|>\n<recommendation_list>\n")
    assert text(example.written).split("\n") == [*map(str, range(1, 11)), "</recommendation_list>"]


def test_a_preference_keeps_the_order_on_offer_then_refusals_then_bounds(catalogue: WrittenCatalogue) -> None:
    [first, second, third] = catalogue.requests
    offered = {each: each for each in ("very thick", "1990s", "leek", "hot", "lentil", "cold")}
    assert preference(first, offered) == "hot; not leek; price <= 4"
    assert preference(first, {**offered, "hot": "that burns"}) == "that burns; not leek; price <= 4"
    assert preference(second, offered) == "very thick; 1990s"
    assert preference(third, offered) == "lentil; cold; not 1990s"


def test_template_requests_say_values_of_the_catalogue(catalogue: WrittenCatalogue) -> None:
    rng, known = np.random.default_rng(1), set(phrases_of(catalogue))
    made = [template_request(catalogue, rng) for _ in range(40)]
    assert all({*each.wanted, *each.unwanted} <= known for each in made)
    assert all(not set(each.wanted) & set(each.unwanted) for each in made)
    assert any(each.where for each in made)
    assert any(each.unwanted for each in made)
