"""Text and JSON that steer no terminal."""

import json

from deeprec.agent.views.visible_text import visible_json


def test_json_escapes_what_is_invisible_and_keeps_the_rest() -> None:
    value = {"title": "Amélie 映画 \u202egnp.exe\u2066 \u200b\x9b \U000e0041 \ud800 👍", "lines": ["a\nb", None, 1.5]}
    written = visible_json(value)
    assert json.loads(written) == value
    assert "Amélie 映画 \\u202egnp.exe\\u2066 \\u200b\\u009b \\udb40\\udc41 \\ud800 👍" in written
    assert all(char.isprintable() or char == "\n" for char in written)
