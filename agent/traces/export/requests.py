"""Logged runs and conversations as requests: what people wrote, what they were shown, and what they then chose."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from uuid import UUID

from deeprec.agent.conversation.retrieval_terms import retrieval_terms
from deeprec.agent.conversation.state import read_state
from deeprec.agent.traces.conversation_records import TAKEN, UNDONE, ConversationTrace, ConversationTurn
from deeprec.agent.traces.records import RunTrace
from deeprec.agent.traces.store.conversations import conversations_like
from deeprec.agent.traces.store.store import RunFilter, TraceStore
from deeprec.trm_tool.data.importers.lines import Reading
from deeprec.trm_tool.data.importers.source import id_of
from deeprec.trm_tool.data.importers.tables import open_table
from deeprec.trm_tool.data.requests.request import MAX_MESSAGE_CHARS, Request
from deeprec.trm_tool.data.requests.request_file import check_request_file, write_requests
from deeprec.trm_tool.errors import ConfigError, DataError
from deeprec.trm_tool.recommender import CatalogueView

SOURCE = "traces"
_COLUMNS = ("run_id", "item_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestExport:
    """The result of an export of requests."""

    requests: int
    of_conversations: int
    """Requests among them that are turns of conversations."""
    left_out: dict[str, int]
    """Runs that gave no request, by the reason."""
    unknown_runs: int
    """Runs that the choices name and that are not among those read."""
    turns_left_out: dict[str, int]
    """Turns of conversations that gave no request, by the reason."""


def export_requests(
    store: TraceStore,
    path: Path,
    where: RunFilter | None = None,
    *,
    choices: Mapping[UUID, Sequence[str]] | None = None,
    catalogue: CatalogueView | None = None,
) -> RequestExport:
    """Write the requests of people whose choice is known, oldest run first, then conversations, in constant memory.

    Each run outside a conversation is one of its own. Its history, message and constraints are the request's, what it
    recommended was shown, and what the person chose is the target; where `choices` lack a run, the target of its
    lineage is. Left out and counted are runs of experiments (with a suite or a split), whose targets are held out;
    forks, replays and redacted runs; and runs that go on, or have no message or no choice, or whose choice was in the
    history.

    A turn of a conversation that showed a list is a request where the person took an item of that list later: liked it,
    put it into the cart or bought it, and did not take that back. Its message is the person's words so far, its history
    and constraints are those that the search had. Turns that were undone are left out, and conversations of experiments
    (with a suite), such as those with simulated people, so that made words are not mixed with people's own. Turns are
    read where the filter asks only for what they have: tenant, person, thread, suite and time.

    Args:
        store: Where to read.
        path: Where to, `.jsonl` or `.parquet`; a file of requests that is there is replaced, anything else is refused.
        where: Which runs; None for all.
        choices: Run -> ids of the items that the person chose (`read_choices`).
        catalogue: The catalogue that the ids are of: a reader that names another is refused.

    Raises:
        ConfigError: the file cannot be written.
        DataError: there is nothing to write; no file is made.
    """
    path, known = Path(path), choices or {}
    check_request_file(path)
    left_out, turns_left_out = Counter[str](), Counter[str]()
    found: set[UUID] = set()
    of_conversations = 0
    alone = replace(where or RunFilter(), in_conversation=False)

    def requests() -> Iterator[Request]:
        nonlocal of_conversations
        written = 0
        for trace in store.traces(alone, omit=("tokens", "texts", "scores"), batch=256):
            found.update({trace.run.run_id} & known.keys())
            request = _request(trace, known.get(trace.run.run_id, ()))
            if isinstance(request, str):
                left_out[request] += 1
            else:
                written += 1
                yield request
        conversations = conversations_like(where)
        if conversations is None:
            searches = replace(alone, in_conversation=True)
            left_out["in conversations"] = sum(map(len, store.run_ids(searches)))
        for conversation in () if conversations is None else store.conversation_traces(conversations):
            found.update({turn.run_id for turn in conversation.turns if turn.run_id} & known.keys())
            for request in _turn_requests(conversation, known):
                if isinstance(request, str):
                    turns_left_out[request] += 1
                else:
                    of_conversations += 1
                    yield request
        if not written + of_conversations:
            others = ", ".join(f"{count} {why}" for why, count in (left_out + turns_left_out).items())
            raise DataError(
                f"No run that matches has a message and a choice{f' ({others})' if others else ''}, so there is "
                "nothing to export. Name a CSV file of run_id and item_id with --choices."
            )

    count = write_requests(path, requests(), catalogue=catalogue)
    return RequestExport(
        requests=count,
        of_conversations=of_conversations,
        left_out=dict(+left_out),
        unknown_runs=len(known) - len(found),
        turns_left_out=dict(turns_left_out),
    )


def read_choices(path: Path) -> dict[UUID, list[str]]:
    """Read what people chose: a CSV or Parquet file with the columns `run_id` and `item_id`, one row for each item.

    Raises:
        DataError: a column is missing, or a row names no run or no item; file and line are named.
    """
    table, reading = open_table(Path(path)), Reading()
    for name in _COLUMNS:
        if name not in table.names:
            has = ", ".join(table.names)[:300]
            raise DataError(f"{path} has no column {name!r}; it has {has}. Give it one row run_id,item_id a choice.")
    choices: dict[UUID, list[str]] = defaultdict(list)
    for line, (run, item) in table.read(reading, _COLUMNS):
        try:
            run_id = UUID(str(run).strip())
        except ValueError:
            raise DataError(
                f"{Path(path).name}:{line} has {str(run)[:60]!r} as run_id, which is not the whole id of a run. Take "
                "run_id from the agent's result."
            ) from None
        item_id = id_of(item, "item", Path(path).name, line, reading.bad)
        if item_id is not None:
            choices[run_id].append(item_id)
    return dict(choices)


def _request(trace: RunTrace, chosen: Sequence[str]) -> Request | str:
    """The request of a run, or why it gives none."""
    run = trace.run
    chosen = chosen or ([] if run.target_id is None else [run.target_id])
    targets = [item for item in chosen if item not in run.history]
    reasons = {
        "redacted": trace.redacted_at is not None,
        "of an experiment": run.suite is not None or run.split is not None,
        "replayed or edited": run.fork is not None,
        "running": trace.status == "running",
        "without a message": not (run.message or "").strip(),
        "without a choice": not chosen,
        "whose choice was in the history": not targets,
    }
    for why, applies in reasons.items():
        if applies:
            return why
    return Request(
        conversation=str(run.run_id),
        time=trace.started_at.timestamp(),
        person=run.user_id,
        history=run.history,
        message=run.message or "",
        where=run.config.get("where") or None,
        targets=tuple(targets),
        shown=tuple(each.item_id for each in trace.recommended),
        chosen=tuple(targets),
        source=SOURCE,
    )


def _turn_requests(trace: ConversationTrace, choices: Mapping[UUID, Sequence[str]]) -> Iterator[Request | str]:
    """The request of each turn that counts, or why it gives none."""
    reactions, words = trace.reactions, ""
    logged = sum(turn.kind != UNDONE for turn in trace.turns)
    yield from repeat("undone", logged - len(trace.current))
    for at, turn in enumerate(trace.current):
        words = f"{words} {turn.message}".strip()[-MAX_MESSAGE_CHARS:]
        taken = [each.item_id for each in reactions.get(at, ()) if each.kind in TAKEN and each.item_id in turn.shown]
        yield _turn_request(turn, at, words, [*taken, *choices.get(turn.run_id or UUID(int=0), ())])


def _turn_request(turn: ConversationTurn, at: int, words: str, taken: Sequence[str]) -> Request | str:
    try:
        terms = retrieval_terms(read_state(turn.state_after))
    except ConfigError:
        return "whose state cannot be read"
    history = tuple(dict.fromkeys((*turn.history, *terms.history)))
    targets = tuple(item for item in dict.fromkeys(taken) if item not in history)
    reasons = {
        "redacted": turn.redacted_at is not None,
        "of an experiment": turn.suite is not None,
        "that show no list": turn.kind != "list" or not turn.shown,  # the nearest items break a constraint
        "without a message": not words,
        "without a choice": not taken,
        "whose choice was in the history": not targets,
    }
    for why, applies in reasons.items():
        if applies:
            return why
    return Request(
        conversation=str(turn.conversation_id),
        turn=at,
        time=turn.created_at.timestamp(),
        person=turn.user_id,
        history=history,
        message=words,
        where=terms.where,
        targets=targets,
        shown=turn.shown,
        chosen=targets,
        source=SOURCE,
    )
