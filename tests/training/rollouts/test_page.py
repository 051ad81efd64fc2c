"""A rollout's tokens as a page: which are the policy's, which way they are moved, how far they have moved."""

import math
import re
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray

from deeprec.training import Rollout, rollout_fragment
from deeprec.trm_tool import ConfigError
from tests.inspected_runs import HOSTILE


@pytest.fixture
def rollout() -> Rollout:
    """A prompt of four tokens, two written, three of the tool, three written."""
    mask = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1], dtype=np.int8)
    logprobs = [-0.1, -3.0, -0.2, 0.0, -1.0]
    values = np.full(mask.size, math.nan, dtype=np.float32)
    values[mask == 1] = logprobs
    return Rollout(
        token_ids=np.arange(10, 22, dtype=np.int64),
        env_mask=mask,
        logprobs=values,
        run_id=UUID("7c1e93aa-4d0b-4c5e-9f65-2b0c6b1f4a11"),
        group_id="g",
        policy_model="tiny",
        adapter=None,
        adapter_version=None,
        guided=False,
    )


def ratios_of(rollout: Rollout, *own: float) -> NDArray[np.float64]:
    ratios = np.full(rollout.token_ids.size, math.nan)
    ratios[rollout.env_mask == 1] = own
    return ratios


def words(page: str) -> str:
    return " ".join(re.sub("<[^>]*>", "", page.split("</style>", 1)[1]).split())


def coloured(page: str) -> list[tuple[str, str]]:
    """(class, text) of each token of the chain, in order."""
    inside = page.split('<p class="chain">', 1)[1].split("</p>", 1)[0]
    return re.findall(r'<span class="(given|t(?: \w+)?)"[^>]*>([^<]*)', inside)


def test_what_the_policy_wrote_is_told_from_what_it_was_given(rollout: Rollout) -> None:
    page = rollout_fragment(rollout, lambda ids: [f"w{i} " for i in ids])
    assert coloured(page) == [
        ("given", "w10 w11 w12 w13 "),
        ("t call", "w14 "),
        ("t call", "w15 "),
        ("given", "w16 w17 w18 "),
        ("t call", "w19 "),
        ("t call", "w20 "),
        ("t call", "w21 "),
    ]
    assert 'title="-3.000, 5.0%">w15 ' in page
    assert page.count("[not written by the policy]") == page.count("[written by the policy]") == 2
    assert "Rollout 7c1e93aa12 tokens, 5 of them written by the policy" in words(page)
    assert "the rest has no gradient at all" in words(page)


@pytest.mark.parametrize(
    ("advantage", "colour", "said"),
    [
        (0.42, "u3", "An advantage of +0.420 makes every token that the policy wrote likelier."),
        (-1.5, "k3", "An advantage of -1.500 makes every token that the policy wrote less likely."),
        (0.0, "k0", "An advantage of +0.000 moves nothing."),
    ],
)
def test_an_advantage_moves_all_that_the_policy_wrote_one_way(
    rollout: Rollout, advantage: float, colour: str, said: str
) -> None:
    page = rollout_fragment(rollout, advantage=advantage)
    assert {name for name, _ in coloured(page)} == {"given", f"t {colour}"}
    assert said in words(page)


def test_ratios_are_coloured_by_token_and_the_furthest_named(rollout: Rollout) -> None:
    ratios = ratios_of(rollout, 1.0, 3.0, 0.9, 1e-30, 1.3)
    page = rollout_fragment(rollout, lambda ids: [f"w{i}" for i in ids], advantage=-0.5, ratios=ratios)
    assert [name for name, _ in coloured(page) if name != "given"] == ["t k0", "t u4", "t k2", "t k4", "t u3"]
    assert 'title="ratio 3.000, 5.0% then, 15% now">w15<' in page
    assert "median 1.000, 1e-30 to 3; 3 of 5 are below 0.8 or above 1.2" in words(page)
    assert "An advantage of -0.500" in words(page)
    rows = re.findall(r'<td class="n">(\d+)</td><th scope="row"><bdi>(\w+)', page)
    assert rows == [("11", "w20"), ("6", "w15"), ("12", "w21"), ("10", "w19"), ("5", "w14")]


def test_a_ratio_that_vanished_is_shown(rollout: Rollout) -> None:
    page = rollout_fragment(rollout, ratios=ratios_of(rollout, 1.0, 1.0, 1.0, 0.0, 1.0))
    assert "ratio 0.000, 100% then, &lt;0.1% now" in page


def test_ratios_of_another_rollout_are_refused(rollout: Rollout) -> None:
    with pytest.raises(ConfigError, match="3 ratios for the 12 tokens of run 7c1e93aa"):
        rollout_fragment(rollout, ratios=np.ones(3))


@pytest.mark.parametrize(("most", "shown"), [(3, "w10 w11 [1 more] w13"), (1, "w10 [3 more]"), (4, "w10 w11 w12 w13")])
def test_long_stretches_that_were_given_are_cut_in_their_middle(rollout: Rollout, most: int, shown: str) -> None:
    page = rollout_fragment(rollout, lambda ids: [f"w{i} " for i in ids], max_given=most)
    assert f"policy] {shown}" in words(page)
    assert [text for name, text in coloured(page) if name != "given"] == ["w14 ", "w15 ", "w19 ", "w20 ", "w21 "]


def test_a_guided_run_says_that_its_probabilities_are_not_the_policys(rollout: Rollout) -> None:
    assert "the tokens that the format allowed" in words(rollout_fragment(replace(rollout, guided=True)))
    assert "format allowed" not in words(rollout_fragment(rollout))


@pytest.mark.parametrize("max_given", [None, 2])
def test_an_attack_is_only_text(rollout: Rollout, max_given: int | None) -> None:
    page = rollout_fragment(
        rollout, lambda ids: [HOSTILE] * len(ids), ratios=ratios_of(rollout, 1, 2, 3, 4, 5), max_given=max_given
    )
    page = page.split("</style>", 1)[1]
    known = "div|h3|small|p|ul|li|span|bdi|table|caption|thead|tbody|tr|th|td"
    assert all(re.fullmatch(known, tag) for tag in re.findall(r"<([a-z0-9]+)", page))
    assert not re.search(r"<[^>]*\son\w+=", page)
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_the_same_part_may_stand_twice_in_a_notebook(rollout: Rollout) -> None:
    page = rollout_fragment(rollout)
    assert not re.search(r'\s(id|href|style)="', page)
    assert page.startswith('<div class="deeprec part" lang="en"><style>')
