import json
import re

from deeprec.agent import Allowance
from deeprec.agent.protocols.tool_messages import tools_regex
from deeprec.agent.protocols.turn import phrases_regex, segments_regex


def test_one_phrase_or_two_different_ones() -> None:
    regex = phrases_regex(["a", "b", "c"])
    texts = ("a", "a; b", "c; b", "a; a", "a; b; c", "", "a;b")
    assert [bool(re.fullmatch(regex, text)) for text in texts] == [True, True, True, False, False, False, False]
    assert re.fullmatch(phrases_regex(["a"]), "a")


def test_where_it_may_refuse_a_preference_is_up_to_six_segments() -> None:
    odd = ["c++ (2nd ed.)", "sci-fi", "not rated", "a|b"]
    allowed = Allowance(phrases=odd, bounds=["price", "year [est.]"], may_refuse=True, max_tokens=9, timeout_s=1)
    regex = segments_regex(allowed)
    for text in (
        "sci-fi",
        "not sci-fi; c++ (2nd ed.)",
        "not rated; not not rated; a|b",
        "price <= 20; price >= 4.99; year [est.] >= -300",
        "; ".join(["sci-fi"] * 6),
    ):
        assert re.fullmatch(regex, text), text
    for text in (
        "",
        "scifi",
        "c",
        "price < 20",
        "price <= 020",
        "not price <= 20",
        "; ".join(["sci-fi"] * 7),
        "sci-fi;",
    ):
        assert not re.fullmatch(regex, text), text
    free = Allowance(phrases=odd, bounds=["price"], max_tokens=9, timeout_s=1)
    assert segments_regex(free) == phrases_regex(odd)


def test_a_guided_call_of_a_tool_is_json_whatever_a_phrase_holds() -> None:
    allowed = Allowance(phrases=['7" vinyl', "back\\slash"], may_refuse=True, max_tokens=9, timeout_s=1)
    written = json.dumps({"thought": 'The person likes 7" vinyl.', "preference": 'not 7" vinyl; back\\slash'})
    assert re.fullmatch(tools_regex(allowed), written)
