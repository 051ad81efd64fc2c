"""Lists and records in a cell."""

import pytest

from deeprec.trm_tool.data.importers.nested_values import flat_value, parse_nested


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[{'id': 28, 'name': 'Action'}, {'id': 27, 'name': 'Sci-Fi'}]", ["Action", "Sci-Fi"]),
        ('[{"id": 1000, "name": "woman director"}]', ["woman director"]),
        ("[{'iso_639_1': 'en', 'english_name': 'English'}]", ["English"]),
        ("{'id': 10194, 'name': 'Toy Story Collection', 'poster_path': '/x.jpg'}", "Toy Story Collection"),
        ("{'History': 31, 'Fantasy': 5, 'Poetry': 0}", ["History", "Fantasy"]),
        ('{"WiFi": "free", "Parking": true, "Bar": false}', ["WiFi: free", "Parking"]),
        ("['new', \"kids' pick\"]", ["new", "kids' pick"]),
        ("[['Wine', 'Red'], 7]", ["Wine", "Red", "7"]),
        ("[]", None),
    ],
)
def test_people_read_the_names_in_it(text: str, value: object) -> None:
    parsed = parse_nested(text)
    assert parsed is not None
    assert flat_value(parsed) == value


@pytest.mark.parametrize("text", ["[REC]", "[31] #tag|x", "{x}", "", "[" * 5000 + "]", "[__import__('os')]"])
def test_other_text_stays_text(text: str) -> None:
    assert parse_nested(text) is None
