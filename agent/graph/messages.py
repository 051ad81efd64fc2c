"""Conversations of LangGraph's clients: the request that their messages hold, and the answer as one more of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, convert_to_messages
from langgraph.channels import BinaryOperatorAggregate
from langgraph.graph.message import add_messages

from deeprec.agent.protocols.prompts import MAX_MESSAGE_CHARS
from deeprec.trm_tool import ConfigError, neutralise
from deeprec.trm_tool.tool import REASON_CHARS, item_line, unenforced_line

DATA_KEY = "deeprec"
"""The key of an answer's `additional_kwargs` under which its result stands."""
PERSON = "Person: "
"""What a line of the conversation begins with that the person said."""
MAX_EARLIER = 6
"""Messages before the request that a prompt shows, the latest ones."""
MAX_EARLIER_CHARS = 300


class MessagesChannel(BinaryOperatorAggregate[Any]):
    """The messages of a thread, by `add_messages`; empty, and no part of a result, until a request has some."""

    def __init__(self, typ: Any = list[AnyMessage] | None, operator: Any = add_messages) -> None:
        super().__init__(typ, operator)  # a union has no empty value, so that the channel begins without one

    def update(self, values: Sequence[Any]) -> bool:
        """Add the messages of each value."""
        if values and not self.is_available():
            self.value = []
        return super().update(values)


ThreadMessages: TypeAlias = Annotated[list[AnyMessage], MessagesChannel()]
"""The messages of a thread, as a key of a state."""


def check_messages(messages: Any) -> None:
    """Raise ConfigError where something else than messages was passed."""
    try:
        convert_to_messages(messages if isinstance(messages, list | tuple) else [messages])
    except Exception as error:
        raise ConfigError(
            f"`messages` cannot be read: {str(error).splitlines()[0][:200]} Pass LangChain messages, or dicts such as "
            "{'role': 'user', 'content': 'something lighter'}."
        ) from error


def read_messages(messages: Sequence[BaseMessage]) -> tuple[str | None, list[str]]:
    """Read a conversation.

    Returns:
        The text of the last human message, None where there is none; and what was said before it, a neutralised line
        each, oldest first. Messages without text, such as calls of tools, are left out.

    Raises:
        ConfigError: the last human message has content and no text, such as an image.
    """
    asked = max((at for at, message in enumerate(messages) if isinstance(message, HumanMessage)), default=None)
    if asked is None:
        return None, []
    last = messages[asked]
    text = str(last.text)
    if not text.strip() and last.content:
        raise ConfigError("The last human message holds no text. Write in words what is asked for.")
    said = [message for message in messages[:asked] if isinstance(message, HumanMessage | AIMessage)]
    earlier = [
        neutralise(f"{PERSON if message.type == 'human' else 'Assistant: '}{message.text}", MAX_EARLIER_CHARS)
        for message in said
        if str(message.text).strip()
    ]
    return text, earlier[-MAX_EARLIER:]


def answer_text(result: Mapping[str, Any]) -> str:
    """The list of a run as numbered lines with titles and ids, and a line on whatever is not as it was asked for.

    Titles and other text from outside are neutralised, since models read the answer too.
    """
    lines = [item_line(listed["rank"], listed["title"], listed["item_id"]) for listed in result["recommendations"]]
    if not lines:
        lines.append("No item fits.")
    if result["status"] != "finished":
        detail = f": {neutralise(result['detail'], REASON_CHARS)}" if result["detail"] else ""
        lines.append(f"Status: {result['status']}{detail}. The list may fit less well than usual.")
    if result["unenforced"]:
        lines.append(unenforced_line(result["unenforced"]))
    stated = result.get("constraints") or {}
    guessed = stated.get("guessed", ())
    if weighed := [each["text"] for each in guessed if "stands_for" not in each]:
        lines.append(f"Only weighed: {neutralise(', '.join(weighed), REASON_CHARS)}.")
    closest = {each["stands_for"]: f" (closest: {each['text']})" for each in guessed if "stands_for" in each}
    if missing := [f"{each}{closest.get(each, '')}" for each in stated.get("unenforceable", ())]:
        lines.append(f"Not in this catalogue: {neutralise(', '.join(missing), REASON_CHARS)}.")
    for named in stated.get("contradictions", ()):
        lines.append(neutralise(named, REASON_CHARS))
    if unknown := result.get("unknown_items"):
        named = neutralise(", ".join(unknown[:10]), REASON_CHARS)
        lines.append(f"Skipped, since the catalogue does not have them: {named}.")
    if result.get("message_cut"):
        lines.append(f"Only the first {MAX_MESSAGE_CHARS:,} characters of the message were read.")
    if nearest := result.get("nearest"):
        lines.append(f"Nearest, without {neutralise(', '.join(nearest['without']), REASON_CHARS)}:")
        lines += [item_line(item["rank"], item["title"], item["item_id"]) for item in nearest["recommendations"]]
    return "\n".join(lines)


def answer_message(result: Mapping[str, Any]) -> AIMessage:
    """The result of a run as a message: the list as its text, and all of it under `DATA_KEY` of `additional_kwargs`.

    The id is the run's, so that a step that is repeated does not answer twice.
    """
    return AIMessage(answer_text(result), id=f"deeprec-{result['run_id']}", additional_kwargs={DATA_KEY: dict(result)})
