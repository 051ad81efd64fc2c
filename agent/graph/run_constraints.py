"""What must and must not be in a run: the constraints that its state holds, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deeprec.agent.graph.state import AgentState, GuessedConstraint, HardConstraint, RunConstraints
from deeprec.trm_tool.catalogue.stated_preference import Constraint
from deeprec.trm_tool.catalogue.where_text import preference_segments


def request_constraints(where: Mapping[str, Any] | None) -> RunConstraints:
    """The constraints that hold before the model has written any: the request's own."""
    own = [{name: condition} for name, condition in (where or {}).items()]
    hard = [HardConstraint(text="; ".join(preference_segments(each)), where=each, source="request") for each in own]
    return RunConstraints(hard=hard, guessed=[], unenforceable=[])


def with_stated(constraints: RunConstraints | None, stated: RunConstraints | None) -> RunConstraints:
    """The constraints of a run after one more retrieval; what became hard is no longer a guess.

    Args:
        constraints: Those before it; None of a checkpoint of an earlier version.
        stated: From `Asked`.
    """
    constraints = constraints or request_constraints(None)
    if stated is None:
        return constraints
    hard = {each["text"]: each for each in (*constraints["hard"], *stated["hard"])}
    guessed = {each["text"]: each for each in (*constraints["guessed"], *stated["guessed"]) if each["text"] not in hard}
    guessed |= {each["text"]: each for each in constraints["guessed"] if "words" in each and each["text"] in guessed}
    missing = dict.fromkeys([*constraints["unenforceable"], *stated["unenforceable"]])
    against = dict.fromkeys([*constraints.get("contradictions", ()), *stated.get("contradictions", ())])
    both = RunConstraints(hard=list(hard.values()), guessed=list(guessed.values()), unenforceable=list(missing))
    return {**both, "contradictions": list(against)} if against else both


def with_contradictions(
    constraints: RunConstraints, guessed: Sequence[GuessedConstraint], asked: Sequence[str] = ()
) -> RunConstraints:
    """The constraints with a sentence for each contradiction of the person's words, and none where there are none.

    Args:
        constraints: What holds, and what does not.
        guessed: Some of them may contradict what holds.
        asked: Phrases that are asked for and refused.
    """
    named = [
        f"No item passes both {each['contradicts']!r} and {each['text']!r}; the first one holds."
        for each in guessed
        if "contradicts" in each
    ]
    named += [f"{phrase!r} is asked for and refused; the refusal holds." for phrase in asked]
    return {**constraints, "contradictions": named} if named else constraints


def stated_hard(state: AgentState) -> list[HardConstraint]:
    """The hard constraints of a run beside the request's own; none in checkpoints of earlier versions."""
    constraints = state.get("constraints")
    return [each for each in constraints["hard"] if each["source"] == "message"] if constraints else []


def standing_guesses(state: AgentState) -> list[GuessedConstraint]:
    """The closest phrases of what a message refuses in words that the catalogue lacks; they weigh in the whole run."""
    constraints = state.get("constraints")
    return [each for each in constraints["guessed"] if "words" in each] if constraints else []


def stands_for(constraint: Constraint, missing: str) -> GuessedConstraint:
    """A constraint on the closest phrase, in place of one that the catalogue cannot enforce."""
    why = f"closest to {missing!r}, which the catalogue lacks"
    return GuessedConstraint(text=constraint.text, where=constraint.where, why=why, stands_for=missing)
