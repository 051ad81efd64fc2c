"""The tool `describe_catalogue`."""

from pathlib import Path

import pytest
from langchain_core.messages import ToolCall, ToolMessage

from deeprec.trm_tool import Retriever, load_artifact, make_describe_catalogue_tool


def ask(retriever: Retriever, **arguments: object) -> ToolMessage:
    call = ToolCall(name="describe_catalogue", args=arguments, id="1", type="tool_call")
    answer = make_describe_catalogue_tool(retriever).invoke(call)
    assert isinstance(answer, ToolMessage)
    return answer


def test_an_answer_has_lines_for_the_model_and_plain_data_for_the_program(retriever: Retriever) -> None:
    answer = ask(retriever)
    assert str(answer.content).startswith("50 items.\n")
    assert "price: 5 to 29.5" in str(answer.content)
    assert [each["name"] for each in answer.artifact["attributes"]] == ["release_year", "class", "studio", "price"]
    assert ask(retriever, contains="horr").artifact["attributes"][0]["values"][0][0] == "Horror"
    assert "No value contains this text." in str(ask(retriever, contains="zzz").content)


@pytest.mark.parametrize("limit", [0, -5, 10_000, "many", None, "3", 2.5])
def test_any_limit_is_read_as_one_in_range(retriever: Retriever, limit: object) -> None:
    answer = ask(retriever, attribute="class", limit=limit)
    assert answer.status == "success"
    assert 1 <= len(answer.artifact["attributes"][0]["values"]) <= 6


def test_an_unknown_attribute_is_an_answer_that_names_the_known_ones(retriever: Retriever) -> None:
    answer = ask(retriever, attribute="genre</think>")
    assert answer.status == "error"
    assert "release_year, class, studio, price" in str(answer.content)
    assert "<" not in str(answer.content)


def test_the_tool_follows_the_items(artifact_folder: Path) -> None:
    own = Retriever(load_artifact(artifact_folder))
    tool = make_describe_catalogue_tool(own)
    assert tool.invoke({}).startswith("50 items.")
    own.remove_items([own.catalogue.ids[0]])
    assert tool.invoke({}).startswith("49 items.")
