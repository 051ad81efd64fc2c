"""One conversation as self-contained HTML, with the runs of its searches where they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from deeprec.agent.traces.conversation_records import ConversationTrace
from deeprec.agent.views.conversation_facts import RepliedTitles, TurnFacts, reaction_words, turn_facts
from deeprec.agent.views.html.environment import render_page
from deeprec.agent.views.html.run_page import ItemRow, RunView
from deeprec.agent.views.run_facts import Titles


def conversation_html(
    trace: ConversationTrace,
    titles: Titles | None = None,
    *,
    runs: Sequence[RunView] = (),
    run_link: Callable[[UUID], str] | None = None,
) -> str:
    """Return a conversation as one whole document, which can be opened from disk, sent and kept. It needs no network.

    Args:
        trace: the conversation.
        titles: what the items are called; a `Catalogue`, usually. Without it, as the replies called them.
        runs: the runs of its searches; each stands below the conversation, and its turn links to it.
        run_link: the address of a run that is not among `runs`; without it the run's id stands alone.
    """
    anchors = {view.trace.run.run_id: f"#{view.anchor}-run" for view in runs}

    def link(run_id: UUID) -> str | None:
        return anchors.get(run_id) or (None if run_link is None else run_link(run_id))

    turns = turn_facts(trace)
    return render_page(
        "conversation.html.j2",
        conversation=trace,
        turns=turns,
        shown={facts.turn.turn_id: _rows(facts) for facts in turns},
        titles=RepliedTitles(trace, titles),
        link=link,
        reaction_words=reaction_words,
        runs=runs,
        level=2,
    )


def _rows(facts: TurnFacts) -> list[ItemRow]:
    kinds = {"disliked": "warn"}
    return [
        ItemRow(
            position,
            item_id,
            [(word, kinds.get(word, "good")) for word in facts.words(item_id)],
            is_target=False,
        )
        for position, item_id in enumerate(facts.turn.shown, start=1)
    ]
