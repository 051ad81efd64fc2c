"""Genres that adjectives mean, with a table in the place of a text encoder."""

import pytest

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    apply_delta,
    delta_of_message,
    describe_state,
)
from deeprec.trm_tool import Catalogue, Item

NEAR = {
    "something funny": ("comedy", 0.73),
    "something scary": ("horror", 0.82),
    "scary": ("horror", 0.54),
    "something weird": ("horror", 0.59),
    "something heavy": ("lightweight", 0.78),
    "heavy": ("lightweight", 0.7),
}
GENRES = (("Comedy",), ("Horror", "Comedy"), ("Horror",), ("Drama",))


def near(text: str, min_cosine: float) -> list[str]:
    phrase, cosine = NEAR.get(text, ("", 0.0))
    return [phrase] if cosine >= min_cosine else []


FILMS = ConversationCatalogue(
    Catalogue(
        [
            Item(id=str(at), title=f"Film {at}", attributes={"genre": genres, "features": ("lightweight",)})
            for at, genres in enumerate(GENRES)
        ],
        {"genre": "tags", "features": "tags"},
    ),
    near=near,
)


def known(*messages: str) -> tuple[str, ...]:
    state = ConversationState()
    for message in messages:
        state = apply_delta(state, delta_of_message(message, state, FILMS))
    return describe_state(state)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("something funny", ("maybe genre: Comedy",)),
        ("a really funny film for tonight", ("maybe genre: Comedy",)),
        ("Funny!", ("maybe genre: Comedy",)),
        ("do you have anything scary?", ("maybe genre: Horror",)),
        ("nothing scary", ("rather not genre: Horror",)),
        ("a funny film, nothing scary", ("maybe genre: Comedy", "rather not genre: Horror")),
        ("no horror, nothing scary", ("not genre: Horror",)),
        ("horror, but nothing scary", ("maybe genre: Horror",)),  # the word that is said holds
        ("something weird", ()),  # no genre is near enough
        ("something heavy", ()),  # "lightweight" is near, and the opposite
        ("nothing heavy", ()),
        ("I don't want anything scary", ("rather not genre: Horror",)),
        ("not something scary", ("rather not genre: Horror",)),
        ("no more scary films", ("rather not genre: Horror",)),
        ("avoid anything scary", ("rather not genre: Horror",)),
        ("my wife hates anything scary", ("rather not genre: Horror",)),
        ("I'd never watch anything scary", ("rather not genre: Horror",)),
        ("any scary ones I should avoid?", ()),
        ("please don't show me anything funny", ()),  # of the bare word no genre is near enough
        ("isn't there anything scary?", ()),
        ("why not something scary?", ()),
        ("I haven't seen anything funny lately", ()),
        ("nothing scary and something funny", ("maybe genre: Comedy", "rather not genre: Horror")),
        ("I don't like horror, show me something funny", ("not genre: Horror", "maybe genre: Comedy")),
        ("films", ()),
    ],
)
def test_an_adjective_means_the_genre_that_is_near_enough(message: str, expected: tuple[str, ...]) -> None:
    assert known(message) == expected


def test_what_an_adjective_means_is_quoted_and_can_be_taken_back() -> None:
    delta = delta_of_message("something funny", ConversationState(), FILMS)
    [change] = delta.changes
    assert (change.words, change.hard, delta.said) == ("funny", False, "something funny")
    assert delta_of_message("do you have anything scary?", ConversationState(), FILMS).missing == ()
    assert known("nothing scary", "horror is fine after all") == ()
    assert known("no horror", "nothing scary") == ("not genre: Horror",)


def test_without_an_encoder_an_adjective_means_nothing() -> None:
    deaf = ConversationCatalogue(FILMS.catalogue)
    assert delta_of_message("something funny", ConversationState(), deaf).changes == ()
