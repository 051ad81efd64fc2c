"""A delta that a model proposes is checked against the catalogue, the state and the person's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TypeVar

from deeprec.agent.conversation.delta import Change, DeltaProblem, RequestedAction, SaidFeedback, StateDelta
from deeprec.agent.conversation.state import ConversationState, Missing
from deeprec.agent.conversation.vocabulary import ConversationCatalogue
from deeprec.agent.graph.supported_constraints import PersonWords
from deeprec.trm_tool import Constraint
from deeprec.trm_tool.catalogue.catalogue import phrase_of
from deeprec.trm_tool.text import plain

_AboutItems = TypeVar("_AboutItems", SaidFeedback, RequestedAction)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDelta:
    """What is left of a delta, and what was changed about it."""

    delta: StateDelta
    """The delta to apply, with attributes and values as the catalogue writes them; `missing` names the others."""
    problems: tuple[DeltaProblem, ...] = ()
    """What was left out, each with its reason."""
    weakened: tuple[Change, ...] = ()
    """Changes that were proposed as hard and weigh instead, since the person's words do not say so."""


def check_delta(
    delta: StateDelta, state: ConversationState, catalogue: ConversationCatalogue, words: str
) -> CheckedDelta:
    """Check a proposed delta. What is wrong is left out and named; it never cancels what is right.

    An attribute or a value that the catalogue lacks is named with the nearest. A constraint that the words do not
    support weighs (decision 20), and so never takes the place of a hard one. What is withdrawn has to be named by the
    words. A person's own edit (`source="person"`) needs no words; its feedback and actions are about shown items.

    Args:
        delta: From `read_delta`.
        state: The state that it is applied to, with the message's own changes.
        catalogue: The catalogue, laid out.
        words: What the person wrote in this turn.
    """
    check = _Check(state, catalogue, words)
    changes = tuple(change for at, each in enumerate(delta.changes) for change in check.change(f"changes.{at}", each))
    feedback = tuple(kept for at, each in enumerate(delta.feedback) for kept in check.shown(f"feedback.{at}", each))
    actions = tuple(kept for at, each in enumerate(delta.actions) for kept in check.shown(f"actions.{at}", each))
    missing = tuple(replace(each, turn=delta.turn) for each in check.missing)
    return CheckedDelta(
        delta=replace(delta, changes=changes, feedback=feedback, actions=actions, missing=(*delta.missing, *missing)),
        problems=tuple(check.problems),
        weakened=tuple(check.weakened),
    )


class _Check:
    def __init__(self, state: ConversationState, catalogue: ConversationCatalogue, words: str) -> None:
        self._state, self._catalogue, self._words = state, catalogue, words
        self._person = PersonWords([words])
        self.problems: list[DeltaProblem] = []
        self.weakened: list[Change] = []
        self.missing: list[Missing] = []

    def shown(self, place: str, part: _AboutItems) -> Iterator[_AboutItems]:
        """A feedback or an action with those of its items that were shown in this conversation."""
        seen = {*(item.item_id for item in self._state.shown), *self._state.items_with("in_cart")}
        known = tuple(item_id for item_id in part.item_ids if item_id in seen)
        if len(known) < len(part.item_ids):
            self._problem(place, "it names an item that was not shown in this conversation")
        if known:
            yield replace(part, item_ids=known)

    def change(self, place: str, change: Change) -> Iterator[Change]:
        """What is left of one change: it may become a hard part and one that weighs."""
        if change.kind == "clear":
            if change.source == "model" and change.hard:
                self._problem(place, "only the person's own words withdraw everything")
            else:
                yield change
            return
        name = self._catalogue.attribute_named(change.attribute)
        if name is None:
            self._unknown_attribute(place, change.attribute)
            return
        fitted = self._fitted(place, name, change)
        if fitted is None:
            return
        if change.kind == "relax":
            if change.source != "model" or self._names(name):
                yield fitted
            else:
                self._problem(place, f"the person's words do not withdraw {name}")
            return
        if change.source == "person" or not change.hard:
            yield from self._weighing(place, fitted) if not change.hard else (fitted,)
            return
        for part in _parts(fitted):
            if self._is_said(part):
                continue
            support = self._person.support(_constraint(part))
            if support is not None:
                yield replace(part, words=support)
            elif not self._is_held(part):
                weaker = replace(part, hard=False)
                self.weakened.append(weaker)
                yield from self._weighing(place, weaker)

    def _fitted(self, place: str, name: str, change: Change) -> Change | None:
        """The change as the catalogue writes it; None where nothing of it is left."""
        is_number = self._catalogue.kinds[name] == "number"
        has_bounds = change.minimum is not None or change.maximum is not None
        if is_number:
            if change.values:
                return self._numbers(place, name, change)
            return replace(change, attribute=name)
        if has_bounds:
            self._problem(place, f"{name} holds words and has no bounds")
            if not change.values:
                return None
        written: list[str] = []
        for value in change.values:
            known = self._catalogue.written(name, value)
            if known is None:
                nearest = self._catalogue.nearest(value, name)
                offer = f"; the nearest are {', '.join(map(repr, nearest))}" if nearest else ""
                self._problem(place, f"no item has {value!r} as {name}{offer}")
                if change.kind in ("set", "exclude"):
                    kind = "refused" if change.kind == "exclude" else "required" if change.hard else "asked"
                    self.missing.append(Missing(words=value, attribute=name, nearest=nearest, kind=kind))  # type: ignore[arg-type]
            else:
                written.append(known)
        if change.values and not written:
            return None
        is_single = self._catalogue.kinds[name] == "category"
        return replace(
            change,
            attribute=name,
            values=tuple(dict.fromkeys(written)),
            minimum=None,
            maximum=None,
            replaces=change.kind == "set" and is_single,
        )

    def _numbers(self, place: str, name: str, change: Change) -> Change | None:
        """Values of a number attribute, such as `1990s`, as bounds; of excluded ones nothing can be held."""
        read = self._catalogue.reader.read(f"{name}: {change.values[0]}" if len(change.values) == 1 else "")
        ends = {key: end for each in read.constraints for key, end in each.where.get(name, {}).items()}
        if change.kind == "exclude" or not ends.keys() & {"min", "max"}:
            self._problem(place, f"{name} holds numbers; give minimum and maximum")
            return None
        return replace(change, attribute=name, values=(), minimum=ends.get("min"), maximum=ends.get("max"))

    def _weighing(self, place: str, change: Change) -> Iterator[Change]:
        """A change that weighs, without what is held already or contradicts what is held as hard."""
        opposite = self._state.required if change.kind == "exclude" else self._state.refused
        said = {value for each in opposite if each.attribute == change.attribute for value in each.values}
        left = tuple(value for value in change.values if value not in said)
        if len(left) < len(change.values):
            self._problem(place, "the person's own words say the opposite")
        change = replace(change, values=left)
        if (left or change.minimum is not None or change.maximum is not None) and not self._is_held(change):
            yield change

    def _is_said(self, part: Change) -> bool:
        """Whether the message itself stated this end of the range, more exactly than a model repeats it."""
        return any(
            each.attribute == part.attribute and each.turn == self._state.turn and each.source == "message"
            for each in self._state.required
            if not part.values and not each.values and (each.minimum is None) == (part.minimum is None)
        )

    def _is_held(self, change: Change) -> bool:
        """Whether the state holds all of a change."""
        state = self._state
        lists = (state.required, state.preferred) if change.kind == "set" else (state.refused, state.disliked)
        held = [each for each in (*lists[0], *lists[1]) if each.attribute == change.attribute]
        values = {value for each in held for value in each.values}
        ends = {end for each in held for end in (each.minimum, each.maximum)}
        return set(change.values) <= values and {change.minimum, change.maximum} <= ends | {None}

    def _names(self, name: str) -> bool:
        """Whether the person's words name an attribute, or a value that is held of it."""
        if any(each.attribute == name for each in self._catalogue.attributes_in(self._words)):
            return True
        state = self._state
        lists = (*state.required, *state.refused, *state.preferred, *state.disliked)
        held = {value for each in lists if each.attribute == name for value in each.values}
        return any(held & set(each.attributes.get(name, ())) for each in self._catalogue.values_in(self._words))

    def _unknown_attribute(self, place: str, attribute: str) -> None:
        shown = plain(attribute, 40)
        known = list(self._catalogue.kinds)
        close = get_close_matches(shown, known, n=1)
        offer = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)[:200]}"
        self._problem(place, f"the catalogue has no attribute {shown!r}; {offer}")
        self.missing.append(Missing(words=shown))

    def _problem(self, place: str, reason: str) -> None:
        self.problems.append(DeltaProblem(place=place, reason=f"{place} was left out: {reason}."))


def _parts(change: Change) -> Iterator[Change]:
    """A change as one for its values, or one for each value that is excluded, and one for each end."""
    bare = replace(change, values=(), minimum=None, maximum=None)
    if change.kind == "exclude":
        yield from (replace(bare, values=(value,)) for value in change.values)
    elif change.values:
        yield replace(bare, values=change.values)
    if change.minimum is not None:
        yield replace(bare, minimum=change.minimum)
    if change.maximum is not None:
        yield replace(bare, maximum=change.maximum)


def _constraint(part: Change) -> Constraint:
    """A part as a constraint of a preference, for looking up what supports it."""
    if part.values:
        kind = "refused" if part.kind == "exclude" else "only"
        phrases = tuple(map(phrase_of, part.values))
        return Constraint(kind=kind, text="", where={}, phrases=phrases)  # type: ignore[arg-type]
    key, end = ("min", part.minimum) if part.minimum is not None else ("max", part.maximum)
    return Constraint(kind="bound", text="", where={part.attribute: {key: end}}, number=end)
