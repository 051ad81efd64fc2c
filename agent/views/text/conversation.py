"""One conversation in a terminal. Text of a person, a model or a catalogue is shown without control codes."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from deeprec.agent.traces.conversation_records import ConversationTrace
from deeprec.agent.views.conversation_facts import RepliedTitles, TurnFacts, reaction_words, turn_facts
from deeprec.agent.views.run_facts import Titles
from deeprec.agent.views.text.run import heading, line
from deeprec.agent.views.visible_text import visible


def render_conversation(trace: ConversationTrace, titles: Titles | None = None) -> RenderableType:
    """Return a conversation for a terminal: each message, what was understood, searched and shown, and what followed.

    Args:
        trace: the conversation.
        titles: what the items are called; without it (and for items it lacks) as the replies called them.
    """
    parts: list[RenderableType] = [Text(f"Conversation {visible(trace.thread_id, 200)}", style="bold")]
    if trace.tenant is not None:
        parts.append(line(f"tenant {trace.tenant}"))
    known = RepliedTitles(trace, titles)
    for facts in turn_facts(trace):
        parts += _turn(facts, known)
    return Group(*parts)


def _turn(facts: TurnFacts, titles: Titles | None) -> Iterable[RenderableType]:
    turn = facts.turn
    marks = [mark for is_so, mark in ((facts.is_undone, "undone"), (turn.redacted_at, "redacted")) if is_so]
    yield heading(f"Turn {turn.turn}, {turn.created_at:%Y-%m-%d %H:%M:%S} UTC{''.join(f', {mark}' for mark in marks)}")
    yield line("(edited by hand)" if turn.is_edit else f"{turn.user_id or 'person'}: {turn.message}", style="bold")
    yield from (line(f"+ {change}", style="green") for change in facts.difference.added)
    yield from (line(f"- {change}", style="yellow") for change in facts.difference.removed)
    yield from (line(f"note: {problem}", style="yellow") for problem in turn.problems)
    if turn.run_id is not None:
        yield line(f"searched: run {turn.run_id}", style="cyan")
    yield line(turn.kind, style="dim")
    yield from map(line, facts.reply_lines)
    if turn.shown:
        yield line("shown:", style="dim")
    for position, item_id in enumerate(turn.shown, start=1):
        words = "".join(f", {each}" for each in facts.words(item_id))
        yield line(f"{position:>3}. {_name(item_id, titles)}{words}", style="green" if words else "")
    if facts.question is not None:
        text, options = facts.question
        yield line(f"asked: {text} {' | '.join(options)}")
    yield from (line(f"done: {action}") for action in facts.actions)
    for reaction in facts.other_reactions:
        yield line(f"then: {reaction_words(reaction)} {_name(reaction.item_id, titles)}", style="green")


def _name(item_id: str, titles: Titles | None) -> str:
    title = titles.summary(item_id) if titles is not None and item_id in titles else ""
    return f"{title} ({item_id})" if title else item_id
