"""Calls of tools as real models and providers write them."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from deeprec.agent.protocols.tool_arguments import read_written_numbers, read_written_preference, thought_and_text
from deeprec.agent.protocols.tool_messages import read_tool_calls


def called(name: str, arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "1"}])


@pytest.mark.parametrize(
    "written",
    [
        [3, 1],
        [3.0, 1.0],
        ["3", "1"],
        ["#3", "1."],
        ["3. Toy Story", "1) Heat"],
        [{"number": 3}, {"rank": 2, "item": 1}],
        "[3, 1]",
        "[3.0, 1.0]",
        "3, 1",
        "#3 #1",
        "3. Toy Story\n1. Heat, the second",
    ],
    ids=repr,
)
def test_numbers_are_read_however_they_are_written(written: Any) -> None:
    whole = {"numbers": written}
    wrapped = [{"args": whole}, {"arguments": json.dumps(whole)}, json.dumps(whole), {"items": written}, written]
    for arguments in (whole, *wrapped):
        assert read_written_numbers(arguments) == ((3, 1), 0)


@pytest.mark.parametrize(
    ("written", "unread"),
    [
        ([3, "Toy Story"], 1),
        ([3, "2001: A Space Odyssey"], 1),
        ([3, "12 Monkeys"], 1),
        ([3, True, None, 1.5, float("nan"), float("inf")], 5),
        ([3, 10**9, "9" * 400], 2),
    ],
    ids=repr,
)
def test_an_entry_that_names_no_number_is_counted_and_never_guessed(written: Any, unread: int) -> None:
    assert read_written_numbers({"numbers": written}) == ((3,), unread)


@pytest.mark.parametrize(
    "written", ["comedy; 1990s", ["comedy", "1990s"], '["comedy", "1990s"]', {"genre": "comedy", "decade": "1990s"}]
)
def test_a_preference_is_read_however_it_is_written(written: Any) -> None:
    for arguments in ({"preference": written}, {"args": {"preference": written}}, {"query": written}):
        assert read_written_preference(arguments) == "comedy; 1990s"


@pytest.mark.parametrize("arguments", [{}, {"preference": None}, {"a": "x", "b": "y"}, {"preference": [["x"]]}, 3])
def test_what_is_no_preference_stays_unread(arguments: Any) -> None:
    assert read_written_preference(arguments) is None


@pytest.mark.parametrize(
    "where",
    [
        {"year": {"min": 1990}, "class": {"not_in": ["Horror"]}},
        [{"year": {"min": 1990}}, {"class": {"not_in": ["Horror"]}}],
        '[{"year": {"min": 1990}}, {"class": {"not_in": ["Horror"]}}]',
        ['{"year": {"min": 1990}}', {"class": {"not_in": "Horror"}}],
    ],
    ids=repr,
)
def test_constraints_are_read_as_an_object_and_as_a_list_of_objects(where: Any) -> None:
    whole = {"preference": "comedy", "where": where}
    for arguments in (whole, json.dumps(whole), {"args": whole}):
        decision = read_tool_calls(called("retrieve_items", arguments if isinstance(arguments, dict) else whole))
        assert read_written_preference(arguments) == "year >= 1990; not class: Horror; comedy"
        assert (decision.action, decision.preference) == ("retrieve", "year >= 1990; not class: Horror; comedy")


@pytest.mark.parametrize(
    "where", [None, {}, [], "", "null", "None", ["none"], [{}], {"year": {}}, {"class": []}], ids=repr
)
def test_constraints_that_are_empty_change_nothing(where: Any) -> None:
    assert read_tool_calls(called("retrieve_items", {"preference": "comedy", "where": where})).preference == "comedy"


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (["from 1990"], "'from 1990' in `where` is no object"),
        ("from 1990", "'from 1990' in `where` is no object"),
        ([{"year": {"min": 1990}}, 7], "7 in `where` is no object"),
        ({"year": {"gte": 1990}}, "'gte' of 'year' in `where` is unknown; use in, not_in, min, max"),
        ({"year": {"min": 1990, "until": 1999}}, "'until' of 'year' in `where` is unknown"),
        ({"year": {"min": [1990]}}, "{'min': (1990)} of 'year' in `where` is no condition"),
        ({"year": {"min": [1990], "max": 1999}}, "{'min': (1990)} of 'year' in `where` is no condition"),
        ({"class": [["Horror"]]}, "(('Horror')) of 'class' in `where` is no condition"),
        ({"class": {"in": ["War", ["Horror"]]}}, "{'in': ('War', ('Horror'))} of 'class' in `where` is no condition"),
        ({"class": {"in": [["Horror"]], "not_in": ["War"]}}, "{'in': (('Horror'))} of 'class' in `where` is no"),
    ],
    ids=repr,
)
def test_constraints_that_cannot_be_read_are_named_and_never_left_out(where: Any, why: str) -> None:
    for arguments in ({"preference": "comedy", "where": where}, {"args": {"preference": "comedy", "where": where}}):
        decision = read_tool_calls(called("retrieve_items", arguments))
        assert (decision.action, decision.preference) == ("malformed", None)
        assert why in str(decision.detail)


CALL = '{"name": "retrieve_items", "arguments": {"preference": "comedy"}}'


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"```json\n{CALL}\n```",
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"[{CALL}]",
        '{"tool_calls": [{"function": {"name": "retrieve_items", "arguments": "{\\"preference\\": \\"comedy\\"}"}}]}',
        '{"name": "functions.retrieve_items", "parameters": {"preference": "comedy"}}',
        '{"tool": "retrieve_items", "preference": "comedy"}',
        '{"retrieve_items": {"preference": "comedy"}}',
        '{"preference": "comedy"}',
    ],
)
def test_a_call_in_the_text_is_read_with_what_stands_before_it_as_the_thought(text: str) -> None:
    decision = read_tool_calls(AIMessage(f"Let me {{look}}.\n{text}"))
    assert (decision.action, decision.preference, decision.thought) == ("retrieve", "comedy", "Let me {look}.")


@pytest.mark.parametrize("text", ["I like {films}.", '{"name": "buy", "arguments": {}}', '{"a": ' * 3000, "{" * 3000])
def test_a_text_without_a_call_calls_no_tool(text: str) -> None:
    decision = read_tool_calls(AIMessage(text))
    assert (decision.action, decision.detail) == ("malformed", "no tool was called")


def test_a_list_in_the_text_is_read() -> None:
    text = '```json\n{"name": "recommend_items", "arguments": {"numbers": [3.0, 1]}}\n```'
    assert read_tool_calls(AIMessage(text)).numbers == (3, 1)


@pytest.mark.parametrize("name", ["functions.retrieve_items", "default_api:retrieve_items", " Retrieve_Items "])
def test_a_namespace_before_a_tools_name_does_not_matter(name: str) -> None:
    assert read_tool_calls(called(name, {"preference": "x"})).preference == "x"


def test_two_calls_in_one_message() -> None:
    def both(*calls: tuple[str, Any]) -> Any:
        called = [{"name": name, "args": args, "id": str(at)} for at, (name, args) in enumerate(calls)]
        return read_tool_calls(AIMessage("", tool_calls=called))

    searches = both(("retrieve_items", {"preference": "a"}), ("retrieve_items", {"preference": "b"}))
    assert searches.preference == "a"
    assert both(("retrieve_items", {}), ("retrieve_items", {"preference": "b"})).preference == "b"
    lists = both(("recommend_items", {"numbers": [3]}), ("recommend_items", {"numbers": [1, "x"]}))
    assert (lists.numbers, lists.unread) == ((3, 1), 1)
    repeated = both(("recommend_items", {"numbers": [3]}), ("recommend_items", {"numbers": [3]}))
    assert repeated.numbers == (3,)


@pytest.mark.parametrize("numbers", [["Toy Story"], [], "none", {}, None])
def test_a_list_without_a_number_is_malformed_with_what_was_written(numbers: Any) -> None:
    decision = read_tool_calls(called("recommend_items", {"numbers": numbers}))
    assert decision.action == "malformed"
    assert "without a number" in str(decision.detail)


def test_what_comes_back_of_unreadable_arguments_is_neutralised() -> None:
    decision = read_tool_calls(called("recommend_items", {"numbers": ["<|im_start|>system"]}))
    assert "<|" not in str(decision.detail)


@pytest.mark.parametrize(
    "answer",
    [
        AIMessage("Hello.", additional_kwargs={"reasoning_content": "Hm."}),
        AIMessage([{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Hello."}]),
        AIMessage([{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hello."}]),
        AIMessage([{"type": "reasoning", "summary": [{"text": "Hm."}]}, {"type": "text", "text": "Hello."}]),
        AIMessage(
            [{"type": "reasoning_content", "reasoning_content": {"text": "Hm."}}, {"type": "text", "text": "Hello."}]
        ),
        AIMessage("<think>Hm.</think>\nHello."),
        AIMessage("Hm.</think>Hello."),
    ],
)
def test_what_a_reasoning_model_thinks_is_the_thought_and_not_the_text(answer: AIMessage) -> None:
    thought, text = thought_and_text(answer)
    assert (thought, text.strip()) == ("Hm.", "Hello.")


def test_a_call_inside_a_thought_is_none() -> None:
    assert read_tool_calls(AIMessage(f"<think>Should I write {CALL}?</think> No.")).action == "malformed"
    assert read_tool_calls(AIMessage(f"<think>Should I write {CALL}? Let me")).action == "malformed"


@pytest.mark.parametrize(
    ("limit", "read"),
    [
        (7, 7),
        ("7", 7),
        (7.9, 7),
        (0, 1),
        (-5, 1),
        (10**400, 9),
        ("lots", None),
        ([3], None),
        (None, None),
        (True, None),
    ],
)
def test_a_limit_is_the_nearest_number_in_its_bounds(limit: object, read: int | None) -> None:
    asked = called("retrieve_items", {"preference": "comedy", "limit": limit})
    decision = read_tool_calls(asked, max_retrieve_k=9)
    assert (decision.preference, decision.limit) == ("comedy", read)
    assert read_tool_calls(asked).limit is None
    alone = called("retrieve_items", {"limit": limit})
    assert read_tool_calls(alone, max_retrieve_k=9).action == "malformed"
    own = read_tool_calls(alone, may_be_empty=True, max_retrieve_k=9)
    assert (own.action, own.preference, own.limit) == ("retrieve", "", read)
