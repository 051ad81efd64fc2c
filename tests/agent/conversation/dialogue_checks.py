"""Runs written dialogues and checks the state; `dialogues/README.md` documents the format."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.agent.conversation import (
    ConversationCatalogue,
    ConversationState,
    StateDelta,
    apply_delta,
    check_delta,
    delta_of_message,
    items_in_order,
    read_delta,
    read_state,
    retrieval_terms,
    state_difference,
)
from deeprec.trm_tool import Where

FOLDER = Path(__file__).parent / "dialogues"


@dataclass(frozen=True)
class Check:
    place: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Turn:
    """What a check sees: the state before and after a message, and what was found in it."""

    before: ConversationState
    after: ConversationState
    delta: StateDelta
    left_out: int
    catalogue: ConversationCatalogue

    def positions(self, item_ids: Sequence[str]) -> list[int]:
        listed = list(self.before.last_list)
        return sorted(listed.index(item_id) + 1 for item_id in set(item_ids) if item_id in listed)


def dialogues() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.json")):
        for dialogue in json.loads(path.read_text(encoding="utf-8")):
            yield f"{path.stem}: {dialogue['name']}", dialogue


def run(name: str, dialogue: Mapping[str, Any], catalogue: ConversationCatalogue) -> Iterator[Check]:
    state = ConversationState()
    for number, turn in enumerate(dialogue["turns"], start=1):
        before, left_out = state, 0
        delta = delta_of_message(turn["says"], state, catalogue)
        state = apply_delta(state, delta)
        if "proposes" in turn:
            proposed, problems = read_delta(turn["proposes"], turn=state.turn)
            checked = check_delta(proposed, state, catalogue, turn["says"])
            state = apply_delta(state, checked.delta)
            left_out = len(problems) + len(checked.problems)
        assert read_state(json.loads(json.dumps(state.to_dict()))) == state
        seen = Turn(before, state, delta, left_out, catalogue)
        for key, expected in turn.get("expect", {}).items():
            for place, holds, found in _checks(seen, key, expected):
                yield Check(f"{name}, turn {number} {turn['says']!r}, {place}", holds, found)
        if "shown" in turn:
            state = state.with_shown(shown_ids(turn["shown"], catalogue))
        for kind, positions in turn.get("confirms", {}).items():
            state = state.with_feedback(kind, [state.last_list[position - 1] for position in positions])
        if "asked" in turn:
            state = state.with_question(turn["asked"])


def _checks(turn: Turn, key: str, expected: Any) -> Iterator[tuple[str, bool, str]]:
    state = turn.after
    held = {"hard": (state.required, state.refused), "soft": (state.preferred, ()), "dislikes": ((), state.disliked)}
    if key in held:
        for name, condition in expected.items():
            found = _condition(name, *held[key])
            yield f"{key}.{name}", _fits(turn, name, condition, found), str(found)
        return
    seen = _seen(turn, key, expected)
    if key in ("words_have", "words_lack"):
        for word in expected:
            yield f"{key} {word}", (word.casefold() in seen.casefold()) == (key == "words_have"), seen
    elif key == "nearest":
        for word, values in expected.items():
            yield f"nearest {word}", set(values) <= set(seen.get(word, ())), str(seen)
    else:
        yield f"{key} {expected}", seen == (sorted(expected) if isinstance(expected, list) else expected), str(seen)


def _seen(turn: Turn, key: str, expected: Any) -> Any:
    state, delta = turn.after, turn.delta
    match key:
        case "attributes":
            lists = (*state.required, *state.refused, *state.preferred, *state.disliked)
            return sorted({each.attribute for each in lists})
        case "missing":
            return sorted(each.words for each in delta.missing)
        case "nearest":
            return {each.words: each.nearest for each in delta.missing}
        case "references":
            return turn.positions(delta.references)
        case "similar":
            return turn.positions(delta.similar_to)
        case "set_aside":
            return turn.positions(delta.set_aside)
        case "unclear":
            ids = [item_id for each in delta.unresolved for item_id in each.item_ids]
            return turn.positions(ids) if delta.unresolved else None
        case "liked" | "disliked" | "bought" | "in_cart":
            return turn.positions(state.items_with(key))
        case "requests":
            return {each.kind: turn.positions(each.item_ids) for each in delta.actions}
        case "order":
            if state.order is None:
                return None
            return f"{state.order.attribute} {'descending' if state.order.descending else 'ascending'}"
        case "first_of":
            assert state.order is not None
            first = items_in_order(state, turn.catalogue)[:1]
            numbers = [
                turn.catalogue.number(i, state.order.attribute) for i in turn.catalogue.passing([_where(expected)])
            ]
            end = (max if state.order.descending else min)(n for n in numbers if n is not None)
            is_first = bool(first) and turn.catalogue.number(first[0], state.order.attribute) == end
            return expected if is_first else first
        case "passing":
            passing = set(turn.catalogue.passing(retrieval_terms(state).hard))
            return turn.positions([item_id for item_id in turn.before.last_list if item_id in passing])
        case "words_have" | "words_lack":
            terms = retrieval_terms(state)
            return f"{terms.words or ''} | {terms.preference or ''}"
        case "unchanged":
            return not state_difference(turn.before, state)
        case "left_out":
            return turn.left_out
    raise AssertionError(f"{key} is not a check; see {FOLDER / 'README.md'}")


def _condition(name: str, wanted: Sequence[Any], refused: Sequence[Any]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for each in wanted:
        if each.attribute == name:
            for key, value in each.condition.items():
                found[key] = sorted({*found.get(key, ()), *value}) if key == "in" else value
    values = {value for each in refused if each.attribute == name for value in each.values}
    return (found | ({"not_in": sorted(values)} if values else {})) or None


def _fits(turn: Turn, name: str, expected: Any, found: Mapping[str, Any] | None) -> bool:
    if expected is None or found is None:
        return expected is None and found is None
    if isinstance(expected, list):
        expected = {"in": expected}
    if set(expected) != set(found):
        return False
    for key, value in expected.items():
        if isinstance(value, Mapping):
            [(way, position)] = value.items()
            number = turn.catalogue.number(turn.before.last_list[position - 1], name)
            assert number is not None
            if not (found[key] < number if way == "below" else found[key] > number):
                return False
        elif isinstance(value, list):
            if sorted(value) != found[key]:
                return False
        elif turn.catalogue.passing([{name: {key: value}}]) != turn.catalogue.passing([{name: {key: found[key]}}]):
            return False  # a bound may be written as any number that parts the items alike
    return True


def shown_ids(specifications: Sequence[Mapping[str, Any]], catalogue: ConversationCatalogue) -> list[str]:
    shown: list[str] = []
    for each in specifications:
        shown.append(catalogue.passing([_where(each)], exclude=shown)[0])
    return shown


def _where(specification: Mapping[str, Any]) -> Where:
    return {
        name: value if isinstance(value, Mapping) else {"in": [value] if not isinstance(value, list) else value}
        for name, value in specification.items()
    }
