"""ReDial: dialogues in which one person seeks films and another recommends some, as requests.

Source: Li et al. 2018, "Towards Deep Conversational Recommendations", arXiv 1812.07617.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deeprec.trm_tool.bounded_json import parse_json
from deeprec.trm_tool.data.importers.lines import Reading, read_lines
from deeprec.trm_tool.data.requests.importers.film_links import MAX_NAME_CHARS, Film, FilmLinks
from deeprec.trm_tool.data.requests.request import MAX_MESSAGE_CHARS, Request, RequestFieldError
from deeprec.trm_tool.errors import reason_of

SOURCE = "redial"
_MENTION = re.compile(r"@(\d+)")
_NO, _YES = 0, 1
"""Answers of ReDial's forms; 2 is "did not say"."""


class _Answers(NamedTuple):
    """The seeker's form: film id -> answers about it."""

    films: Mapping[str, Any]

    def of(self, film_id: str, question: str) -> object:
        answers = self.films.get(film_id)
        return answers.get(question) if isinstance(answers, Mapping) else None


def read_redial(
    path: Path,
    links: FilmLinks,
    reading: Reading,
    left_out: Counter[str],
    *,
    films: Mapping[str, Film] | None = None,
    keep_names: bool = True,
) -> Iterator[Request]:
    """Read the requests of a file of dialogues.

    A message of the recommender becomes a request where it names a linked film that nobody named before and that the
    seeker's form does not report as found by the seeker alone. Its targets are these films, and what it chose are those
    that the form reports as liked. The message is what the seeker wrote before, the history the linked films in it,
    but for those that the form reports as not liked.

    Args:
        path: JSON lines as published, one dialogue a line, also packed.
        links: The catalogue's items.
        reading: It takes dialogues that cannot be used, and the progress.
        left_out: It counts turns, films and dialogues that give no request, by the reason.
        films: Film id -> name and IMDb id, where there is more than the dialogues' own names (`read_films`).
        keep_names: Whether the words keep the names of films, or lose them.
    """
    lines: dict[str, int] = {}
    for number, line in read_lines(path, reading):
        if not line.strip():
            continue
        try:
            dialogue = _Dialogue(parse_json(line), films or {})
            if dialogue.conversation in lines:
                why = f"repeats dialogue {dialogue.conversation[:80]!r} of line {lines[dialogue.conversation]}."
                reading.bad.add("repeated dialogues", path.name, number, why)
                continue
            lines[dialogue.conversation] = number
            requests = list(dialogue.requests(links, left_out, keep_names=keep_names))
        except RequestFieldError as error:
            reading.bad.add("dialogues that cannot be used", path.name, number, f"has a problem: {error}")
        except ValueError as error:
            why = f"is not a line of JSON ({reason_of(error)}); a file that was cut off ends so."
            reading.bad.add("lines that are not JSON", path.name, number, why)
        else:
            left_out["dialogues without a request"] += not requests
            yield from requests


class _Dialogue:
    """One dialogue, its parts checked."""

    def __init__(self, values: object, films: Mapping[str, Film]) -> None:
        if not isinstance(values, Mapping):
            raise RequestFieldError("the line", "is not a dialogue: it must be an object with `messages`.")
        self.conversation = _id(values, "conversationId")
        self.seeker = _id(values, "initiatorWorkerId")
        self.recommender = _id(values, "respondentWorkerId")
        # an empty form is published as a list
        self._answers = _Answers(_object(values, "initiatorQuestions"))
        self._names = _object(values, "movieMentions")
        self._films = films
        messages = values.get("messages")
        if not isinstance(messages, list):
            raise RequestFieldError("messages", f"is {repr(messages)[:80]}, which is not a list.")
        self.messages: list[object] = messages

    def film(self, film_id: str) -> Film | None:
        """The film of an id; None where neither the dialogue nor the file of films names it."""
        known, name = self._films.get(film_id), self._names.get(film_id)
        if known is not None:
            return known
        return Film(name=name[:MAX_NAME_CHARS]) if isinstance(name, str) and name.strip() else None

    def requests(self, links: FilmLinks, left_out: Counter[str], *, keep_names: bool) -> Iterator[Request]:
        """The requests of the dialogue, in its order."""
        named, history = set[str](), dict[str, None]()  # films by id, and items by theirs
        items_named = set[str]()
        words: list[str] = []
        for turn, message in enumerate(self.messages):
            sender, text = _message(turn, message)
            mentioned = [film_id for film_id in dict.fromkeys(_MENTION.findall(text)) if self.film(film_id) is not None]
            linked = {film_id: item for film_id in mentioned if (item := self._item(film_id, links)) is not None}
            if sender == self.seeker:
                words.append(self._written(text, keep_names=keep_names))
                for film_id, item in linked.items():
                    if self._answers.of(film_id, "liked") == _NO:
                        left_out["films of a history that the seeker did not like"] += 1
                    else:
                        history[item] = None
                left_out["films of a history that the catalogue lacks"] += len(mentioned) - len(linked)
            elif sender == self.recommender and mentioned:
                new = [film_id for film_id in mentioned if film_id not in named]
                targets = {item: film_id for film_id, item in linked.items() if film_id in new}
                targets = {item: film_id for item, film_id in targets.items() if item not in items_named}
                suggested = {i: f for i, f in targets.items() if self._answers.of(f, "suggested") != _NO}
                message_so_far = _latest(words)
                reason = _why_not(new, targets, suggested, message_so_far)
                if reason:
                    left_out[reason] += 1
                else:
                    unlinked = sum(film_id not in linked for film_id in new)
                    left_out["films of a request that the catalogue lacks, beside others"] += unlinked
                    yield Request(
                        conversation=self.conversation,
                        turn=turn,
                        person=self.seeker,
                        history=tuple(history),
                        message=message_so_far,
                        targets=tuple(suggested),
                        shown=tuple(targets),
                        chosen=self._liked(suggested),
                        source=SOURCE,
                    )
            named.update(mentioned)
            items_named.update(linked.values())

    def _item(self, film_id: str, links: FilmLinks) -> str | None:
        film = self.film(film_id)
        return None if film is None else links.item_of(film)

    def _liked(self, targets: Mapping[str, str]) -> tuple[str, ...] | None:
        answers = {item: self._answers.of(film_id, "liked") for item, film_id in targets.items()}
        if all(answer is None for answer in answers.values()):
            return None
        return tuple(item for item, answer in answers.items() if answer == _YES)

    def _written(self, text: str, *, keep_names: bool) -> str:
        def name(mention: re.Match[str]) -> str:
            film = self.film(mention[1])
            if film is None:
                return mention[0]
            return film.name if keep_names else " "

        return " ".join(_MENTION.sub(name, text).split())


def _why_not(new: Sequence[str], targets: Mapping[str, str], suggested: Mapping[str, str], words: str) -> str | None:
    if not new:
        return "turns whose films were all named before"
    if not targets:
        return "turns whose films the catalogue lacks"
    if not suggested:
        return "turns whose films the seeker's form reports as not suggested"
    return None if words else "turns before the seeker wrote anything"


def _latest(words: Sequence[str]) -> str:
    """The words so far; where they are too many, the latest of them."""
    return " ".join(word for word in words if word)[-MAX_MESSAGE_CHARS:].strip()


def _message(turn: int, message: object) -> tuple[str, str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("text"), str):
        raise RequestFieldError(f"messages[{turn}]", f"is {repr(message)[:80]}, which has no `text`.")
    return _id(message, "senderWorkerId"), message["text"]


def _id(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise RequestFieldError(name, f"is {repr(value)[:80]}, which is not an id.")
    return str(value).strip()


def _object(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    if isinstance(value, Mapping):
        return value
    if value in (None, []):
        return {}
    raise RequestFieldError(name, f"is {repr(value)[:80]}, which is not an object.")
