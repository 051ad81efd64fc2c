"""A delta is applied to a state: a withdrawal leaves nothing behind, and a refinement forgets nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from deeprec.agent.conversation.delta import Change, StateDelta
from deeprec.agent.conversation.said_text import left_over
from deeprec.agent.conversation.state import MAX_SAID, ConversationState, SaidText, StatedCondition, alternatives
from deeprec.trm_tool.catalogue.phrase_spotting import fold_words
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.text import has_words

_Keeps = Callable[[StatedCondition], StatedCondition | None]
"""What stays of a condition; None where nothing does."""
_LISTS = ("required", "refused", "preferred", "disliked")


def apply_delta(state: ConversationState, delta: StateDelta) -> ConversationState:
    """Apply a delta.

    Changes are applied in their order. What is set takes the place of the same end of a range, and, where it
    `replaces`, of all other values of the attribute. What is excluded is no longer asked for, and what is set is no
    longer refused. With a condition, its words also leave what retrievals get of earlier messages. Requested actions
    change nothing: their feedback is added once a tool has confirmed them (`ConversationState.with_feedback`).

    Args:
        state: The state before.
        delta: From `delta_of_message`, or from `check_delta`; a delta of the same turn may follow another one.
    """
    if delta.turn > state.turn:  # what only weighs, and no attribute is known for, was named in its own turn
        limits = any(change.kind == "set" and change.values and change.hard for change in delta.changes)
        kept = tuple(
            each for each in state.missing if each.attribute is not None or (each.kind == "required" and not limits)
        )
        state = replace(state, turn=delta.turn, missing=kept)
    for change in delta.changes:
        state = _APPLY[change.kind](state, change)
    for feedback in delta.feedback:
        said = state.without_feedback if feedback.taken_back else state.with_feedback
        state = said(feedback.kind, feedback.item_ids)
    if has_words(delta.said):
        state = replace(
            state, said=(*state.said, SaidText(turn=state.turn, text=delta.said, words=delta.said_words))[-MAX_SAID:]
        )
    return replace(
        state,
        order=delta.order or state.order,
        similar_to=delta.similar_to or state.similar_to,
        focus=delta.focus or state.focus,
        set_aside=tuple(dict.fromkeys((*state.set_aside, *delta.set_aside))),
        missing=(*state.missing, *(each for each in delta.missing if each not in state.missing)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDifference:
    """What changed between two states, as lines for a person. Where both are empty, nothing was changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


def describe_state(state: ConversationState) -> tuple[str, ...]:
    """What is asked for, a line for each condition: `only colour: black`, `price <= 50`, `maybe brand: Foxtarn`.

    Alternatives share a line: `maybe colour: white, or features: foldable`.
    """
    lines = [line for each in state.required for line in preference_segments({each.attribute: each.condition})]
    lines += [line for each in state.refused for line in preference_segments({each.attribute: {"not_in": each.values}})]
    for mark, conditions in (("maybe", state.preferred), ("rather not", state.disliked)):
        for either in alternatives(conditions):
            segments = [line for each in either for line in preference_segments({each.attribute: each.condition})]
            lines.append(f"{mark} {', or '.join(segment.removeprefix('only ') for segment in segments)}")
    if state.order is not None:
        lines.append(f"{state.order.attribute}: the {'highest' if state.order.descending else 'lowest'} first")
    return tuple(dict.fromkeys(lines))


def state_difference(before: ConversationState, after: ConversationState) -> StateDifference:
    """Compare what two states ask for, so that nobody claims a change that did not happen."""
    old, new = describe_state(before), describe_state(after)
    return StateDifference(
        added=tuple(line for line in new if line not in old), removed=tuple(line for line in old if line not in new)
    )


def _set(state: ConversationState, change: Change) -> ConversationState:
    state = replace(state, indifferent=tuple(name for name in state.indifferent if name != change.attribute))
    state = _without_missing(state, change.attribute)
    new = list(_conditions(change, state.turn))
    lists = ("required", "preferred") if change.hard else ("preferred",)
    for condition in new:
        if condition.values:
            state = _keep(state, lists, _other_values(condition, change.replaces))
            if change.hard or change.source != "model":  # a guess takes back no refusal
                state = _keep(state, ("refused", "disliked"), _without_values(condition.attribute, condition.values))
        else:
            state = _keep(state, lists, _other_ends(condition))
    name = "required" if change.hard else "preferred"
    return _with(state, name, (*getattr(state, name), *new))


def _exclude(state: ConversationState, change: Change) -> ConversationState:
    lists = _LISTS if change.hard else ("preferred", "disliked")
    state = _keep(state, lists, _without_values(change.attribute, change.values))
    name = "refused" if change.hard else "disliked"
    return _with(state, name, (*getattr(state, name), *_conditions(change, state.turn)))


def _relax(state: ConversationState, change: Change) -> ConversationState:
    if change.values:
        return _keep(state, _LISTS, _without_values(change.attribute, change.values))
    ends = {name for name in ("minimum", "maximum") if getattr(change, name) is not None}

    def keeps(condition: StatedCondition) -> StatedCondition | None:
        is_meant = not ends or any(getattr(condition, end) is not None for end in ends)
        return None if condition.attribute == change.attribute and is_meant else condition

    state = _keep(state, _LISTS, keeps)
    if ends:
        return state
    state = _without_missing(state, change.attribute)
    state = replace(state, indifferent=tuple(dict.fromkeys((*state.indifferent, change.attribute))))
    return replace(state, order=None) if state.order and state.order.attribute == change.attribute else state


def _clear(state: ConversationState, change: Change) -> ConversationState:
    state = replace(state, preferred=(), disliked=(), said=(), similar_to=(), focus=(), order=None)
    return replace(state, required=(), refused=(), missing=(), indifferent=(), asked=()) if change.hard else state


_APPLY = {"set": _set, "exclude": _exclude, "relax": _relax, "clear": _clear}


def _conditions(change: Change, turn: int) -> Iterable[StatedCondition]:
    """The conditions of a change, one for its values and one for each end."""
    about: dict[str, object] = {"attribute": change.attribute, "words": change.words, "source": change.source}
    parts: list[dict[str, object]] = []
    if change.values:
        parts.append({"values": change.values, "alternative": change.alternative})
    parts += [{name: end} for name in ("minimum", "maximum") if (end := getattr(change, name)) is not None]
    for part in parts:
        yield StatedCondition(turn=turn, **about, **part)  # type: ignore[arg-type]


def _other_values(new: StatedCondition, replaces: bool) -> _Keeps:
    def keeps(condition: StatedCondition) -> StatedCondition | None:
        if condition.attribute != new.attribute or not condition.values:
            return condition
        return None if replaces or set(condition.values) <= set(new.values) else condition

    return keeps


def _other_ends(new: StatedCondition) -> _Keeps:
    def keeps(condition: StatedCondition) -> StatedCondition | None:
        if condition.attribute != new.attribute or condition.values:
            return condition
        same_end = (condition.minimum is None) == (new.minimum is None)
        low = new.minimum if condition.minimum is None else condition.minimum
        high = new.maximum if condition.maximum is None else condition.maximum
        return None if same_end or (low is not None and high is not None and low > high) else condition

    return keeps


def _without_values(attribute: str, values: Iterable[str]) -> _Keeps:
    gone = set(values)

    def keeps(condition: StatedCondition) -> StatedCondition | None:
        if condition.attribute != attribute or not gone & set(condition.values):
            return condition
        left = tuple(value for value in condition.values if value not in gone)
        return replace(condition, values=left) if left else None

    return keeps


def _keep(state: ConversationState, lists: Iterable[str], keeps: _Keeps) -> ConversationState:
    """The state with what stays of the conditions of some lists. Words of what is dropped leave the texts."""
    for name in lists:
        kept = []
        for condition in getattr(state, name):
            left = keeps(condition)
            if left is not None:
                kept.append(left)
            if left is None:
                state = replace(state, said=tuple(_without_words(state.said, condition.turn, condition.words)))
            for value in () if left is None else set(condition.values) - set(left.values):
                state = replace(state, said=tuple(_without_words(state.said, condition.turn, value)))
        state = _with(state, name, kept)
    return state


def _with(state: ConversationState, name: str, conditions: Iterable[StatedCondition]) -> ConversationState:
    changed: dict[str, Any] = {name: tuple(conditions)}
    return replace(state, **changed)


def _without_words(said: Iterable[SaidText], turn: int, words: str) -> Iterable[SaidText]:
    pattern = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)
    for each in said:
        if each.turn == turn and words and pattern.search(each.text):
            text = left_over(pattern.sub(" ", each.text))
            if text:
                yield replace(each, text=text, words="")
        else:
            yield each


def _without_missing(state: ConversationState, attribute: str) -> ConversationState:
    """The state without what the catalogue lacks of an attribute, which something else takes the place of."""

    def is_about(words: str) -> bool:
        return fold_words(words) == fold_words(attribute)

    kept = tuple(each for each in state.missing if each.attribute != attribute and not is_about(each.words))
    return replace(state, missing=kept)
