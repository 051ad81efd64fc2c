"""Constraints on values that the catalogue lacks ("not scary"): they weigh as those on the closest phrases that it has.

Only a recommender whose `closest_phrases` takes `min_cosine` is asked: without a limit, some phrase is the closest to
any text ("not dinosaurs").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deeprec.trm_tool.catalogue.phrase_spotting import fold_words
from deeprec.trm_tool.catalogue.said_numbers import said_numbers
from deeprec.trm_tool.catalogue.stated_preference import Constraint, PreferenceReader, StatedPreference

MIN_COSINE = 0.45
"""How close a phrase has to be, chosen on the wordings that requests for training are made of (`docs/log.md`)."""
_MARKS = ("not", "only")


def closest_constraints(
    stated: StatedPreference, reader: PreferenceReader, closest: Callable[[str], Sequence[str]]
) -> dict[str, Constraint]:
    """Find a constraint that the catalogue can enforce for each one that it has no value for.

    Args:
        stated: What a preference says.
        reader: The reader that read it.
        closest: Returns the phrases of the catalogue that are close enough to a text, the closest first.

    Returns:
        What is missing, as in `stated.unenforceable` -> the constraint on the closest phrase. A phrase that the
        preference names itself stands for nothing else, but where the preference states that very constraint too.
    """
    named = {fold_words(phrase) for phrase in (*stated.phrases, *stated.refused, *stated.only)}
    texts = {each.text for each in stated.constraints}
    found: dict[str, Constraint] = {}
    for missing in stated.unenforceable:
        mark, _, value = missing.partition(" ")
        if mark not in _MARKS or said_numbers(value):
            continue
        for phrase in closest(value)[:1]:
            constraints = reader.read(f"{mark} {phrase}").constraints
            if len(constraints) == 1 and (fold_words(phrase) not in named or constraints[0].text in texts):
                found[missing] = constraints[0]
    return found


def demanded_values(stated: StatedPreference) -> list[str]:
    """What a preference demands ("only cosy") that the catalogue has no value for, as text that can weigh."""
    split = (missing.partition(" ") for missing in stated.unenforceable)
    return [value for mark, _, value in split if mark == "only" and not said_numbers(value)]
