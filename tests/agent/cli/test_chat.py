"""`deeprec chat`: lines of a person, what is printed for them, and a thread that goes on."""

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from rich.console import Console

from deeprec.agent import AgentConfig, SqlRecorder, TraceStore
from deeprec.agent.cli.chat_session import ChatSession
from deeprec.agent.cli.chat_thread import ChatThread
from deeprec.agent.shopping import Cart, MemoryCart, SqliteCart, build_shopping_agent
from deeprec.agent.traces import export_requests
from deeprec.agent.views import render_conversation
from deeprec.trm_tool import Catalogue, DataError, Item, Retriever
from tests.agent.shopping.lamp_shop import catalogue
from tests.command_line import refusal_of, run_command
from tests.model_scripts import tool_call
from tests.small_recommender import WordCounts
from tests.tiny_server import TinyServer


class Chat:
    """A chat over the shop of lamps. Calling it with lines returns what is printed for them."""

    def __init__(
        self,
        items: Catalogue | None = None,
        saver: Any = None,
        name: str = "ann",
        cart: Cart | None = None,
        model: Any = None,
    ) -> None:
        self.shop = WordCounts(items or catalogue())
        self.saver = saver or InMemorySaver()
        self.cart = cart = cart or MemoryCart()
        config = AgentConfig(k=3, min_retrievals=0)
        agent = build_shopping_agent(
            model, self.shop, config=config if model else None, cart=cart, checkpointer=self.saver
        )
        self._file = io.StringIO()
        self.session = ChatSession(
            lambda thread: ChatThread(agent, cart, thread, history=["h"]),
            name,
            self.shop.catalogue,
            Console(file=self._file, soft_wrap=True, highlight=False),
            "shop.db",
        )

    async def __call__(self, *lines: str) -> str:
        self._file.seek(0)
        self._file.truncate()
        for line in lines:
            assert await self.session.take(line)
        return self._file.getvalue()


async def test_a_message_is_answered_by_its_steps_its_list_and_its_question() -> None:
    said = await Chat()("a lamp, only black")
    assert said.startswith("  Understood: + only colour: black;")
    assert "\nThese fit best:\n1. Bram desk lamp (price 20.00; colour: black" in said
    assert "Elm" not in said


async def test_reasons_are_asked_for_by_position() -> None:
    chat = Chat()
    assert await chat("/why") == "Nothing was shown yet.\n"
    await chat("only black")
    assert "2. Dune floor lamp\n   It has what you asked for: colour black." in await chat("/why 2")
    assert "Bram" in await chat("/why")
    assert "'9' is none" in await chat("/why 9")


async def test_likes_and_dislikes_are_noted_by_position_and_reach_the_history() -> None:
    chat = Chat()
    assert await chat("/like 1") == "Nothing was shown yet.\n"
    await chat("only black")
    assert await chat("/like 2 3") == "Noted: you like Dune floor lamp and you like Fern rug.\n"
    assert await chat("/dislike 1") == "Noted: you do not like Bram desk lamp.\n"
    assert "from 1 to 3; none was given" in await chat("/like")
    assert "'0 one' is none" in await chat("/like 0 one")
    await chat("any colour")
    assert chat.shop.calls[-1][0] == ("h", "c", "e")


async def test_what_was_said_of_an_item_is_taken_back_and_leaves_the_history_at_once() -> None:
    chat = Chat()
    await chat("only black", "/like 2", "/dislike 1")
    assert await chat("/unlike 2") == "Noted: Dune floor lamp no longer counts as liked.\n"
    assert await chat("/unlike 1") == "Noted: Bram desk lamp no longer counts as disliked.\n"
    assert await chat("/unlike 1") == "Nothing was said of it before.\n"
    await chat("any colour")
    assert chat.shop.calls[-1][0] == ("h",)


async def test_positions_are_those_of_the_last_list_also_behind_the_cart_and_other_answers() -> None:
    chat = Chat()
    await chat("only black", "add the third to my cart")
    assert "1. Fern rug" in await chat("what is in my cart?")
    assert await chat("/like 1 3") == "Noted: you like Bram desk lamp and you like Fern rug.\n"
    assert await chat("/unlike 1") == "Noted: Bram desk lamp no longer counts as liked.\n"
    await chat("only brass things under 1")
    assert "'4' is none" in await chat("/dislike 4")


async def test_a_cart_alone_has_no_list_to_like_from() -> None:
    chat = Chat()
    chat.cart.add("thread:ann", "e")
    assert "1. Fern rug" in await chat("what is in my cart?")
    assert await chat("/like 1") == "Nothing was shown yet.\n"


async def test_the_trace_names_the_run_of_the_last_list_behind_other_turns(
    chat: ChatOpenAI, server: TinyServer
) -> None:
    server.script = [
        tool_call("change_wishes", changes=[]),
        tool_call("retrieve_items", preference="rug"),
        tool_call("recommend_items", numbers=[1, 2]),
    ]
    talk = Chat(model=chat)
    assert "No list was shown yet" in await talk("/trace")
    await talk("something soft")
    run_id = (await talk.session.thread.values())["reply"]["run_id"]
    assert run_id
    await talk("/like 1", "what is in my cart?")
    assert f"deeprec traces show {run_id} --store" in await talk("/trace")


async def test_undo_goes_back_turn_by_turn_also_of_the_cart() -> None:
    chat = Chat()
    await chat("only black", "under 50", "add the second to my cart")
    assert await chat("/cart") == "In your cart:\n  Fern rug\n"
    assert "The answer before it:\nThese fit best:\n1. Bram desk lamp" in await chat("/undo")
    assert await chat("/cart") == "Your cart is empty.\n"
    assert "price ≤ 49" in await chat("/state")
    assert "3. Fern rug" in await chat("/undo")
    assert (
        await chat("/state")
        == "What is known:\n  only colour: black   (you said: black)\n  in your words: only black\n"
    )
    await chat("only white", "/undo")  # also behind an undo
    assert "only colour: black " in await chat("/state")
    assert await chat("/undo") == "The last turn is undone; nothing is known.\n"
    assert await chat("/undo") == "There is no turn to undo.\n"
    assert "1. Cole desk lamp" in await chat("only white")


async def test_the_trace_says_which_turn_was_undone_and_exports_leave_it_out(store: TraceStore, tmp_path: Path) -> None:
    recorder = SqlRecorder(store)
    shop, cart = WordCounts(catalogue()), MemoryCart()
    agent = build_shopping_agent(None, shop, cart=cart, recorder=recorder, checkpointer=InMemorySaver())
    thread = ChatThread(agent, cart, "ann", recorder=recorder)
    for asked in (
        {"messages": [HumanMessage("only black")]},
        {"messages": [HumanMessage("only white")]},
        {"edit": {"feedback": [{"kind": "liked", "item_ids": ["b"]}]}},
    ):
        async for _ in thread.turn(**asked):
            pass
    assert await thread.undo()
    assert await thread.undo()
    trace = store.conversation("ann")
    assert [turn.message for turn in trace.current] == ["only black"]
    assert trace.reactions == {}
    console = Console(file=io.StringIO(), width=200)
    console.print(render_conversation(trace))
    lines = [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert sum("UTC, undone" in line for line in lines) == 2
    assert lines.count("person: /undo") == 2
    assert next(iter(store.conversations())).turns == 1
    with pytest.raises(DataError, match="2 undone"):  # and what was liked is no choice
        export_requests(store, tmp_path / "requests.jsonl")


async def test_undo_changes_of_the_cart_what_the_turn_changed_and_nothing_else() -> None:
    chat, owner = Chat(), "thread:ann"
    chat.cart.add(owner, "e")
    await chat("only black", "add the first to my cart")
    chat.cart.add(owner, "g")  # on another page
    await chat("/undo")
    assert list(chat.cart.items(owner)) == ["e", "g"]
    await chat("remove the Fern rug from my cart")
    assert list(chat.cart.items(owner)) == ["g"]
    await chat("/undo")
    assert sorted(chat.cart.items(owner)) == ["e", "g"]
    await chat("add the Fern rug to my cart", "/undo")  # it was there before
    assert sorted(chat.cart.items(owner)) == ["e", "g"]


async def test_the_latest_turns_of_a_long_conversation_can_be_undone() -> None:
    chat = Chat()
    await chat("only black", *(f"under {price}" for price in range(100, 70, -2)))
    for _ in range(10):
        assert "The answer before it:" in await chat("/undo")
    for _ in range(10):
        await chat("/undo")
    assert "colour: black" in await chat("/state")
    assert "2. Dune floor lamp" in await chat("under 60")


async def test_turns_that_were_undone_do_not_count_among_those_that_can_be() -> None:
    chat = Chat()
    await chat("only black", *(f"under {price}" for price in range(100, 60, -2)))
    for _ in range(8):
        await chat("/undo")
    await chat(*(f"under {price}" for price in range(60, 53, -1)))
    for _ in range(10):
        assert "The answer before it:" in await chat("/undo")
    assert "colour: black" in await chat("/state")


async def test_a_thread_goes_on_with_its_list_and_its_cart(tmp_path: Path) -> None:
    before = Chat(cart=SqliteCart(tmp_path / "threads.db"))
    await before("only black", "add the first to my cart")
    after = Chat(saver=before.saver, cart=SqliteCart(tmp_path / "threads.db"))
    assert await after.session.begin() == ["only black", "add the first to my cart"]
    assert await after("/cart") == "In your cart:\n  Bram desk lamp\n"
    said = await after("any colour")
    assert "Cole" in said
    assert "Bram" not in said  # what is in the cart does not come back


async def test_state_says_in_whose_words_it_is_known() -> None:
    chat = Chat()
    assert await chat("/state") == "Nothing is known yet.\n"
    await chat("a cosy lamp, not white", "/like 1")
    said = await chat("/state")
    assert "not colour: white   (you said: white)" in said
    assert "liked: Bram desk lamp" in said


async def test_a_new_conversation_knows_nothing_and_the_trace_names_each() -> None:
    chat = Chat()
    await chat("only black")
    assert "deeprec traces conversation ann --store shop.db" in await chat("/trace")
    name = (await chat("/new")).removeprefix("A new conversation: ").removesuffix(".\n")
    assert name != "ann"
    assert await chat("/state", "/cart") == "Nothing is known yet.\nYour cart is empty.\n"
    assert f"deeprec traces conversation {name} --store" in await chat("/trace")


async def test_unknown_commands_get_the_closest_and_the_help_lists_all() -> None:
    chat = Chat()
    assert "There is no command /lik. Did you mean /like?" in await chat("/lik 2")
    assert "There is no command /." in await chat("/")
    assert await chat("", "   ") == ""
    help_text = await chat("/help")
    for name in ("why", "like", "dislike", "unlike", "undo", "state", "trace", "cart", "new", "quit"):
        assert f"/{name}" in help_text
    assert not await chat.session.take("/quit")


async def test_text_of_the_catalogue_and_of_the_person_steers_no_terminal() -> None:
    title = "[red]Lamp[/red] \x1b]0;owned\x07 \u202eevil"
    items = Catalogue(
        [Item(id="a", title=title, text="A lamp", attributes={"colour": "black"})], {"colour": "category"}
    )
    said = await Chat(items)("only black", "/like 1", "/\x1b[2J", "\ud800 lamp \x00", "x" * 5000, "/state", "/why 1")
    assert "[red]Lamp[/red]" in said
    assert not set(said) & {"\x1b", "\x07", "\u202e", "\x00"}
    assert "Only the first 4,000 characters" in said


async def test_an_answer_that_fails_ends_no_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Chat()
    with monkeypatch.context() as patch:
        patch.setattr(chat.saver, "aget_tuple", lambda *_: 1 / 0)
        assert "The answer failed by an unexpected ZeroDivisionError" in await chat("only black")
    assert "1. Bram desk lamp" in await chat("only black")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what a person types at a terminal: lines, or what happens there instead."""

    def types(*lines: str | Callable[[], str]) -> None:
        waiting = iter(lines)

        def read(prompt: str) -> str:
            for line in waiting:
                return line if isinstance(line, str) else line()
            raise EOFError

        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", read)

    return types


@pytest.fixture
def arguments(artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    monkeypatch.setattr("deeprec.agent.cli.shopping_agent.DEFAULT_BASE_URL", "http://127.0.0.1:9/v1")
    return "chat", "--artifact", artifact_folder, "--store", tmp_path / "runs" / "t.db", "--thread", "ann's talk"


@pytest.mark.slow
def test_lines_from_a_pipe_are_a_conversation_that_goes_on_after_a_restart(
    arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("not from before 1990\n/like 1"))
    code, out, _ = run_command(capsys, *arguments)
    assert code == 0
    assert "50 items; no language model: rules and the recommender answer.\n" in out
    assert "> not from before 1990\n" in out
    assert "\x1b" not in out
    assert out.endswith("""deeprec chat --thread 'ann'"'"'s talk' goes on with this conversation.\n""")
    monkeypatch.setattr("sys.stdin", io.StringIO("/state\n/quit\nnever read\n"))
    code, out, _ = run_command(capsys, *arguments)
    assert "The conversation ann's talk goes on. Its last answer was:\nNoted: you like" in out
    assert "release year ≥ 1990   (you said: not from before 1990)" in out
    assert "never read" not in out
    with TraceStore(tmp_path / "runs" / "t.db", create=False) as store:
        assert [turn.message for turn in store.conversation("ann's talk").turns] == ["not from before 1990", ""]


@pytest.mark.slow
def test_ctrl_c_stops_the_answer_and_ctrl_d_ends_the_chat(
    arguments: tuple[object, ...],
    typed: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    retrieve, interrupted = Retriever.retrieve, list[bool]()

    def interrupts_once(*given: Any, **named: Any) -> Any:
        if given[1] and not interrupted:  # the person has a history; the load of the recommender has none
            interrupted.append(True)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # the signal reaches the thread of the loop before this one has an answer
        return retrieve(*given, **named)

    def ctrl_c() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Retriever, "retrieve", interrupts_once)
    typed(ctrl_c, "not from before 1990", "/state", "not from before 1995")
    code, out, _ = run_command(capsys, *arguments, "--history", "900")
    assert code == 0
    assert out.index("/quit ends the chat") < out.index("Stopped. What was understood by then is kept.")
    assert "release year ≥ 1990" in out  # understood, though its answer was stopped
    assert "These fit best:" in out.partition("≥ 1995")[2]


def test_a_chat_ends_when_its_process_is_asked_to(
    arguments: tuple[object, ...], typed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def terminated() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    typed(terminated, "a comedy")
    assert run_command(capsys, *arguments)[0] == 143


def test_options_that_cannot_work_are_named(arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (("--user", "u0", "--history", "900"), "give --user or --history"),
        (("--thread", ""), "--thread '' cannot name a conversation"),
        (("--thread", "a\x1b[2J"), "cannot name a conversation"),
    ):
        code, _, err = run_command(capsys, *arguments, *given)
        assert code == 2
        assert said in err


def test_the_extra_that_keeps_conversations_is_named_where_it_is_missing(
    arguments: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class NotInstalled:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "langgraph.checkpoint.sqlite":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in ("langgraph.checkpoint.sqlite", "langgraph.checkpoint.sqlite.aio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled, *sys.meta_path])
    assert "Install it with: pip install 'deeprec-agent[ui]'" in refusal_of(capsys, *arguments)
