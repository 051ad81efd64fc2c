"""The text that is left for retrievals."""

import pytest

from deeprec.agent.conversation.said_text import without_refusals


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a tent, nothing heavy", "a tent"),
        ("a comedy for a rainy day, nothing scary please", "a comedy for a rainy day"),
        ("Not one that's set among criminals, though", ""),
        ("a rug without fringes", "a rug"),
        ("a red tent", "a red tent"),
    ],
)
def test_refusals_are_left_out(text: str, wanted: str) -> None:
    assert without_refusals(text) == wanted
