"""Held-out wordings name what is true of a case and never its target."""

import numpy as np
import pytest

from deeprec.evals.requests.wordings import REGISTERS, WORDS, HeldOutWordings
from deeprec.trm_tool import Catalogue, Item

TEMPLATES = [template for register in REGISTERS.values() for template in register]


def test_there_are_thirty_templates_in_five_registers_and_each_has_its_slots() -> None:
    assert len(REGISTERS) == 5
    assert len(set(TEMPLATES)) == len(TEMPLATES) >= 30
    for template in TEMPLATES:
        assert template.count("{kind}") == template.count("{era}") == 1


def test_every_template_makes_a_sentence_of_any_phrases() -> None:
    catalogue = Catalogue(
        [
            Item(id="1", title="Heat", text="", attributes={"class": ("crime", "odd"), "release_year": 1995.0}),
            Item(id="2", title="Heat II", text="", attributes={"class": ("crime",), "release_year": 1996.0}),
            Item(id="3", title="Alien", text="", attributes={"class": ("horror",), "release_year": 1997.0}),
        ],
        {"class": "tags", "release_year": "number"},
    )
    wordings = HeldOutWordings(catalogue, [3.0, 2.0, 1.0])
    rng = np.random.default_rng(0)
    written = [
        wordings.write(phrases, template, rng, never="1")
        for template in TEMPLATES
        for phrases in (("crime", "1990s"), ("1990s",), ("odd",))
        for _ in range(5)
    ]
    assert not any("{" in text or "()" in text for text in written)
    assert not any("Heat" in text for text in written)  # neither its own title nor one that contains it
    assert any("odd" in text for text in written)  # no other word is known for it
    plain = HeldOutWordings(catalogue, [3.0, 2.0, 1.0], reworded=False)
    assert "crime out of the 1990s" in plain.write(("crime", "1990s"), "movie {kind} {era}", rng, never="1")


@pytest.mark.parametrize("phrase", sorted(WORDS))
def test_a_reworded_phrase_is_not_said_as_it_is(phrase: str) -> None:
    assert not any(phrase == way for way in WORDS[phrase])
