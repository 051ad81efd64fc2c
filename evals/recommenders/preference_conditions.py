"""Preferences for the evaluation of a recommender: the target's attributes, parts of them, and other people's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deeprec.evals.requests.cases import Case
from deeprec.evals.requests.wordings import REGISTERS, HeldOutWordings
from deeprec.trm_tool.catalogue.catalogue import Catalogue
from deeprec.trm_tool.errors import ConfigError
from deeprec.trm_tool.trm.training.preferences import SEPARATOR
from deeprec.trm_tool.trm.training.trust_calibration import draw_one, mix

EXACT = "all attributes"
ONE = "one attribute"
SENTENCES = "in held-out sentences"
REWORDED = "in held-out sentences and words"
HALF = "half right, half wrong"
WRONG = "of a random other user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One kind of preference, a text for each case."""

    name: str
    oracle: bool
    """Whether it holds something about the target."""
    phrases: Mapping[Case, tuple[str, ...]]
    """Case -> the phrases that the preference is made of; none where the target has no phrase."""
    preferences: Mapping[Case, str]
    """Case -> the text that the recommender is given; "" stands for none."""


def make_conditions(
    cases: Sequence[Case], catalogue: Catalogue, popularity: Sequence[float], *, seed: int = 0
) -> tuple[Condition, ...]:
    """Write the preferences of six conditions for the same cases.

    Whatever a text names in the catalogue's own words, or as a year or decade, the recommender reads word by word
    (`PhraseSpotter`): in the first held-out condition that is everything, in the second only decades that are not named
    by a title. Genres in other words are left to the sentence embedding.

    `all attributes`: every phrase that is true of the target, never its title. `one attribute`: one of them, drawn.
    The two held-out conditions write all of them in sentences, and in sentences and words, that training never uses;
    the templates go round, so that each is used equally often. `of a random other user`: all phrases of the target of
    another user's case. `half right, half wrong`: half of the target's phrases and as many, where there are, of the
    other user's that are not true of the target, shuffled.

    Args:
        cases: Of at least two users.
        catalogue: Knows the phrases.
        popularity: Interactions of each item in training: well-known titles stand for a decade in held-out words.
        seed: Of every draw; equal arguments, equal texts.
    """
    users = list(dict.fromkeys(case.user for case in cases))
    if len(users) < 2:
        raise ConfigError("Preferences of other users need cases of at least two users. Give more data.")
    rng = np.random.default_rng(seed)
    own = {case: catalogue.phrases_of(case.target) for case in cases}
    other = _of_other_users(cases, users, rng)
    one = {case: draw_one(phrases, rng) for case, phrases in own.items()}
    wrong = {case: own[other[case]] for case in cases}
    half = {case: mix(own[case], wrong[case], rng) for case in cases}
    templates = [template for register in REGISTERS.values() for template in register]
    turns = rng.permutation(np.resize(np.arange(len(templates)), len(cases)))
    plain = HeldOutWordings(catalogue, popularity, reworded=False)
    reworded = HeldOutWordings(catalogue, popularity)

    def listed(phrases: Mapping[Case, tuple[str, ...]]) -> dict[Case, str]:
        return {case: SEPARATOR.join(of_case) for case, of_case in phrases.items()}

    def worded(wordings: HeldOutWordings) -> dict[Case, str]:
        return {
            case: wordings.write(own[case], templates[turn], rng, never=case.target) if own[case] else ""
            for case, turn in zip(cases, turns, strict=True)
        }

    return (
        Condition(name=EXACT, oracle=True, phrases=own, preferences=listed(own)),
        Condition(name=ONE, oracle=True, phrases=one, preferences=listed(one)),
        Condition(name=SENTENCES, oracle=True, phrases=own, preferences=worded(plain)),
        Condition(name=REWORDED, oracle=True, phrases=own, preferences=worded(reworded)),
        Condition(name=HALF, oracle=True, phrases=half, preferences=listed(half)),
        Condition(name=WRONG, oracle=False, phrases=wrong, preferences=listed(wrong)),
    )


def _of_other_users(cases: Sequence[Case], users: Sequence[str], rng: np.random.Generator) -> dict[Case, Case]:
    """Choose a case of another user for each case: users form a random circle and borrow from their neighbour."""
    by_user: dict[str, list[Case]] = {user: [] for user in users}
    for case in cases:
        by_user[case.user].append(case)
    circle = [users[index] for index in rng.permutation(len(users))]
    neighbour = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    chosen = {}
    for case in cases:
        theirs = by_user[neighbour[case.user]]
        chosen[case] = theirs[int(rng.integers(len(theirs)))]
    return chosen
