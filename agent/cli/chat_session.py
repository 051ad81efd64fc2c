"""What a line of `deeprec chat` does: a message of the conversation, or a command that begins with a slash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from difflib import get_close_matches
from shlex import quote
from typing import Any
from uuid import uuid4

from langchain_core.messages import HumanMessage
from rich.console import Console
from rich.text import Text

from deeprec.agent.cli.chat_thread import ChatThread
from deeprec.agent.cli.trace_options import DEFAULT_STORE
from deeprec.agent.ui.thread_view import thread_view, title_of
from deeprec.agent.views.visible_text import visible
from deeprec.trm_tool import CatalogueView
from deeprec.trm_tool.errors import DeepRecError
from deeprec.trm_tool.text import hide_passwords, whole_characters

MAX_MESSAGE_CHARS = 4_000
"""Characters of a message that are read, as many as the page of conversations takes."""

HELP = (
    ("/why [N]", "why the items are shown, or the item at position N"),
    ("/like N", "you like the item at position N of the last list; several positions are several items"),
    ("/dislike N", "you do not like it"),
    ("/unlike N", "takes back what you said of the item with /like or /dislike"),
    ("/cart", "what is in your cart; put the second into it with: add the second to my cart"),
    ("/state", "what is known of your wishes"),
    ("/undo", "back to the state before the last turn"),
    ("/trace", "where this conversation is logged"),
    ("/new", "a new conversation"),
    ("/quit", "end the chat, as Ctrl-D does; Ctrl-C stops an answer"),
)


class ChatSession:
    """A chat in a terminal: it takes line after line, and prints."""

    def __init__(
        self,
        thread_named: Callable[[str], ChatThread],
        name: str | None,
        catalogue: CatalogueView,
        console: Console,
        store: str,
    ) -> None:
        """Begin with a thread, or with a new one where `name` is None. `store` is where the agent logs its turns."""
        self._thread_named, self._catalogue, self._console, self._store = thread_named, catalogue, console, store
        self.thread = thread_named(name or _new_name())
        self._commands: dict[str, Callable[[list[str]], Awaitable[None]]] = {
            "why": self._why,
            "like": lambda named: self._feedback("liked", named),
            "dislike": lambda named: self._feedback("disliked", named),
            "unlike": self._unlike,
            "cart": self._cart,
            "state": self._state,
            "undo": self._undo,
            "trace": self._trace,
            "new": self._new,
            "help": self._help,
        }

    async def begin(self) -> list[str]:
        """Print where the thread stands. Returns the messages that it has, for the history of the input."""
        messages = (await self.thread.values()).get("messages") or []
        if messages:
            self._print(f"The conversation {self.thread.name} goes on. Its last answer was:", "dim")
            await self._print_reply()
        return [str(each.text) for each in messages if isinstance(each, HumanMessage)]

    async def end(self) -> None:
        """Print how to go on with the thread, where something was said in it."""
        if await self.thread.values():
            self._print(f"deeprec chat --thread {quote(self.thread.name)} goes on with this conversation.", "dim")

    async def take(self, line: str) -> bool:
        """Do what a line says. Returns False where it ends the chat. An error is printed, and the chat goes on."""
        line = whole_characters(line).strip()  # bytes that are no text reach Python as lone surrogates
        name, *named = line.removeprefix("/").split() or [""]
        if line.startswith("/") and name in ("quit", "exit"):
            return False
        try:
            if not line.startswith("/"):
                await self._say(line)
            elif name in self._commands:
                await self._commands[name](named)
            else:
                close = get_close_matches(name, self._commands, n=1)
                meant = f" Did you mean /{close[0]}?" if close else ""
                self._print(f"There is no command /{name}.{meant} /help lists the commands.", "yellow")
        except DeepRecError as error:
            self._print(f"The answer failed: {error}", "yellow")
        except Exception as error:
            self._print(f"The answer failed by an unexpected {type(error).__name__}: {error}", "yellow")
        return True

    async def _say(self, message: str) -> None:
        if not message:
            return
        if len(message) > MAX_MESSAGE_CHARS:
            self._print(f"Only the first {MAX_MESSAGE_CHARS:,} characters of the message are read.", "yellow")
        await self._turn(messages=[HumanMessage(message[:MAX_MESSAGE_CHARS])])

    async def _why(self, named: list[str]) -> None:
        shown = (await self.thread.known()).last_list  # what the words of the question refer to, the cart's listing too
        if not shown:
            self._print("Nothing was shown yet.", "yellow")
        elif not named:
            await self._say("Why these?")
        elif len(self._items(named, shown)) == 1:
            await self._say(f"Why number {int(named[0])}?")

    async def _feedback(self, kind: str, named: list[str]) -> None:
        if item_ids := self._items(named, await self._listed()):
            await self._turn(edit={"feedback": [{"kind": kind, "item_ids": item_ids}]})

    async def _unlike(self, named: list[str]) -> None:
        if item_ids := self._items(named, await self._listed()):
            about = {"item_ids": item_ids, "taken_back": True}
            await self._turn(edit={"feedback": [{"kind": kind, **about} for kind in ("liked", "disliked")]})

    async def _listed(self) -> list[str]:
        """Ids of the items of the last list, in its order."""
        listed = await self.thread.last_list() or {}
        return [item["item_id"] for item in listed.get("nearest") or listed.get("items") or ()]

    def _items(self, named: list[str], shown: Sequence[str]) -> list[str]:
        """The items at positions of what was shown; none, with a line that says why, where one is no position."""
        if not shown:
            self._print("Nothing was shown yet.", "yellow")
            return []
        positions = {str(at): item_id for at, item_id in enumerate(shown, 1)}
        if not named or any(each not in positions for each in named):
            seen = f"{' '.join(named)!r} is none" if named else "none was given"
            self._print(f"Give a position of the last list, from 1 to {len(shown)}; {seen}.", "yellow")
            return []
        return [positions[each] for each in named]

    async def _cart(self, _: list[str]) -> None:
        titles = [line.title for line in thread_view(await self.thread.values(), self._catalogue).cart]
        self._print("In your cart:" if titles else "Your cart is empty.")
        for title in titles:
            self._print(f"  {title}")

    async def _state(self, _: list[str]) -> None:
        view = thread_view(await self.thread.values(), self._catalogue)
        lines = [chip.text + (f"   (you said: {chip.words})" if chip.words else "") for chip in view.chips]
        lines += [f"{name} does not matter" for name in view.indifferent]
        lines += [f"in your words: {said}" for said in view.said]
        lines += [f"the catalogue lacks {missing}" for missing in view.missing]
        for item_id, kinds in view.feedback.items():
            title = title_of(item_id, self._catalogue)
            lines += [f"{kind.replace('_', ' ')}: {title}" for kind in kinds]
        self._print("What is known:" if lines else "Nothing is known yet.")
        for line in lines:
            self._print(f"  {line}")

    async def _undo(self, _: list[str]) -> None:
        if not await self.thread.undo():
            self._print("There is no turn to undo.", "yellow")
        elif (await self.thread.values()).get("messages"):
            self._print("The last turn is undone. The answer before it:", "dim")
            await self._print_reply()
        else:
            self._print("The last turn is undone; nothing is known.", "dim")

    async def _trace(self, _: list[str]) -> None:
        listed = await self.thread.last_list()
        store = "" if self._store == DEFAULT_STORE else f" --store {quote(hide_passwords(self._store))}"
        self._print(f"This conversation is the thread {self.thread.name}. To read all of it:")
        self._print(f"  deeprec traces conversation {quote(self.thread.name)}{store}")
        if listed is None:
            self._print("No list was shown yet, so that there is no run of one.")
        elif run_id := listed.get("run_id"):
            self._print("How the last list was made:")
            self._print(f"  deeprec traces show {run_id}{store}")
        else:
            self._print("No model searched for the last list, so that it has no run of its own.")

    async def _new(self, _: list[str]) -> None:
        self.thread = self._thread_named(_new_name())
        self._print(f"A new conversation: {self.thread.name}.", "dim")

    async def _help(self, _: list[str]) -> None:
        self._print("Say what you are looking for. You can refine, correct and take back what you said. Or:")
        for name, text in HELP:
            self._print(f"  {name:<11} {text}")

    async def _turn(self, **asked: Any) -> None:
        with self._console.status("…"):
            async with aclosing(self.thread.turn(**asked)) as steps:
                async for step in steps:
                    parts = [step.label, step.text, "; ".join(step.lines)]
                    self._print(f"  {': '.join(filter(None, parts))}", "dim")
        await self._print_reply()

    async def _print_reply(self) -> None:
        """Print the last answer: problems in yellow, its question in bold."""
        reply: Mapping[str, Any] | None = (await self.thread.values()).get("reply")
        if reply is None:
            self._print("Your last message has no answer.", "dim")
            return
        question = reply["question"] or {"text": "", "options": []}
        for line in reply["text"].split("\n"):
            self._print(line, "yellow" if line in reply["problems"] else "bold" if line == question["text"] else "")
        options = [each for each in question["options"] if each not in reply["text"]]
        if options:
            self._print(f"  {' | '.join(options)}", "bold")

    def _print(self, line: str, style: str = "") -> None:
        """Print one line as text: nothing in it is markup, and no character of it steers the terminal."""
        self._console.print(Text(visible(line), style=style))


def _new_name() -> str:
    return f"chat-{uuid4().hex[:8]}"
