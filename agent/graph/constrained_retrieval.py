"""Retrievals for preferences that say what must and must not be.

What the person's words support is hard: it holds in this retrieval, in all that follow, and in the list. What they do
not support is the model's guess: the retrieval under it and the one without it are fused, so that it weighs. The
constraints of the request itself hold in any case, and so does what its message plainly states, whatever the model
writes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.messages import PERSON
from deeprec.agent.graph.missing_values import MIN_COSINE, closest_constraints, demanded_values
from deeprec.agent.graph.rank_fusion import fuse_rankings, reciprocal_rank
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.graph.state import (
    AgentState,
    Candidate,
    GuessedConstraint,
    HardConstraint,
    RunConstraints,
)
from deeprec.agent.graph.supported_constraints import PersonWords
from deeprec.agent.protocols.turn import Remark
from deeprec.trm_tool import AnyRecommender, PhraseSimilarity, RecommenderUnavailableError, Retrieved, ScoredItem, Where
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.catalogue.merged_where import merge_where
from deeprec.trm_tool.catalogue.plain_constraints import PlainConstraints, could_state
from deeprec.trm_tool.catalogue.stated_preference import (
    Constraint,
    PreferenceReader,
    StatedPreference,
    may_state_constraints,
)
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.recommender import takes_min_cosine

_log = logging.getLogger(__name__)

Passes = Callable[[Sequence[str]], list[str]]
"""Keeps those of some item ids that pass constraints, in their order."""
NOTHING_PASSES = "no item that is left passes it"
NOT_SAID = "the person's words do not say so"
_CONTRADICTS = "no item passes both it and {other!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one retrieval asks the recommender for."""

    preference: str | None
    where: Where | None
    passes: Passes | None = None
    """Keeps the items that pass every hard constraint; None where nothing but the request's own holds."""
    guessed_where: Where | None = None
    """The hard constraints and the guesses; None where nothing is guessed, or no item passes."""
    guessed_passes: Passes | None = None
    stated: RunConstraints | None = None
    """What the preference states and what holds from before; None where it is as if there were no constraints."""

    @property
    def remark(self) -> Remark | None:
        """What the model is shown of its constraints; None where all of them are kept."""
        if self.stated is None or not (self.stated["guessed"] or self.stated["unenforceable"]):
            return None
        guessed = self.stated["guessed"]
        closest = {each["stands_for"]: f" (closest: {each['text']})" for each in guessed if "stands_for" in each}
        against = {each["text"]: each["contradicts"] for each in guessed if "contradicts" in each}
        return Remark(
            kept=tuple(each["text"] for each in self.stated["hard"]),
            weighed=tuple(each["text"] for each in guessed if not {"stands_for", "contradicts"} & each.keys()),
            missing=(
                *(f"{each}{closest.get(each, '')}" for each in self.stated["unenforceable"]),
                *(f"{text} together with {other}" for text, other in against.items()),
            ),
        )


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
    missing = dict.fromkeys([*constraints["unenforceable"], *stated["unenforceable"]])
    against = dict.fromkeys([*constraints.get("contradictions", ()), *stated.get("contradictions", ())])
    both = RunConstraints(hard=list(hard.values()), guessed=list(guessed.values()), unenforceable=list(missing))
    return {**both, "contradictions": list(against)} if against else both


def _with_contradictions(
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


class PreferenceConstraints:
    """Reads the preferences of runs against the catalogue of a recommender, and checks items against them."""

    def __init__(self, recommender: AnyRecommender) -> None:
        self._recommender = recommender
        self._laid_out: _LaidOut | None = None

    async def of_request(self, start: RunStart, config: AgentConfig) -> RunConstraints:
        """The constraints that hold before the model has written any: the request's own, and what its message states.

        What no item passes beside the others is a guess, and names why.
        """
        own = request_constraints(start.where)
        if not (config.reads_constraints and config.enforces_words and could_state(start.message or "")):
            return own
        return await asyncio.to_thread(self._of_message, start, own)

    async def read(self, state: AgentState, config: AgentConfig) -> Asked:
        """Read the preference of the model's last turn."""
        preference, where = state["decision"]["preference"], state["request"]["where"]
        plain = Asked(preference=preference, where=where)
        if not config.reads_constraints or not (may_state_constraints(preference) or stated_hard(state)):
            return plain
        return await asyncio.to_thread(self._read, state, plain, config.weighs_missing)

    async def passes(self, state: AgentState) -> Passes | None:
        """A filter of item ids that keeps those that pass the hard constraints of a run; None where it has none."""
        if not (hard := stated_hard(state)):
            return None
        return await asyncio.to_thread(self._passing, [each["where"] for each in hard])

    def hard_where(self, state: AgentState) -> Where | None:
        """The request's constraints and the hard ones of the run, as far as one condition an attribute can say them."""
        own = state["request"]["where"]
        hard = [each["where"] for each in stated_hard(state)]
        return (merge_where(own, *hard) or own) if hard else own

    def _passing(self, wheres: Sequence[Where]) -> Passes:
        now = self._now()
        return now.passing(now.mask(wheres))

    def _of_message(self, start: RunStart, own: RunConstraints) -> RunConstraints:
        now = self._now()
        stated = now.plain.read(start.message or "")
        passing = now.left([start.where], [*start.history, *start.exclude])
        _, hard, guessed = now.judge(passing, stated.constraints, own["hard"])
        missing = list(dict.fromkeys(stated.unenforceable))
        found = with_stated(own, RunConstraints(hard=hard, guessed=guessed, unenforceable=missing))
        refused = [each.phrases[0] for each, _ in stated.constraints if each.kind == "refused"]
        asked_for = stated.asked_for or self._meant(stated.rest, refused)
        named = " ".join(each["contradicts"] for each in guessed if "contradicts" in each)
        asked = [phrase for phrase in refused if phrase in asked_for and f"not {phrase}" not in named]
        return _with_contradictions(found, guessed, asked)

    def _read(self, state: AgentState, plain: Asked, weighs_missing: bool) -> Asked:
        now, request, before = self._now(), state["request"], stated_hard(state)
        stated = now.reader.read(plain.preference or "")
        if not (stated.constraints or stated.unenforceable or before):
            return plain
        passing = now.left(
            [request["where"], *(each["where"] for each in before)], [*request["history"], *request.get("exclude", ())]
        )
        words, held_before = self._words_of(state), {each["text"] for each in before}
        written = [each for each in stated.constraints if each.text not in held_before]
        held = (state.get("constraints") or request_constraints(request["where"]))["hard"]
        passing, hard, guessed = now.judge(passing, [(each, words.support(each)) for each in written], held)
        hard = [*before, *hard]
        weak = {each["text"] for each in guessed}
        guesses = [each for each in written if each.text in weak]
        texts = {each["text"] for each in hard}
        for missing, constraint in self._closest_constraints(now, stated).items() if weighs_missing else ():
            if constraint.text in texts or not (passing & now.mask([constraint.where])).any():
                continue
            why = f"closest to {missing!r}, which the catalogue lacks"
            guess = GuessedConstraint(text=constraint.text, where=constraint.where, why=why, stands_for=missing)
            guessed.append(guess)
            guesses.append(constraint)
        kept, weighed = passing, list[Where]()
        for constraint in guesses:
            if (both := kept & now.mask([constraint.where])).any():
                kept = both
                weighed.append(constraint.where)
        where = merge_where(request["where"], *(each["where"] for each in hard)) or request["where"]
        demanded = demanded_values(stated) if weighs_missing else []
        return Asked(
            preference="; ".join([*stated.phrases, *demanded]) or None,
            where=where,
            passes=now.passing(passing) if hard else None,
            guessed_where=(merge_where(where, *weighed) or where) if weighed else None,
            guessed_passes=now.passing(kept) if weighed else None,
            stated=_with_contradictions(
                RunConstraints(hard=hard, guessed=guessed, unenforceable=list(stated.unenforceable)), guessed
            ),
        )

    def _meant(self, rest: str, refused: Sequence[str]) -> Collection[str]:
        """The phrase that the rest of a message means, where it names none and something is refused."""
        similar: Any = self._recommender
        if not (rest and refused and takes_min_cosine(self._recommender)):
            return ()
        try:
            return tuple(similar.closest_phrases(rest, 1, min_cosine=MIN_COSINE))
        except Exception as error:
            _log.warning("The recommender does not say what a message means: %r", error)
            return ()

    def _words_of(self, state: AgentState) -> PersonWords:
        request = state["request"]
        earlier = [line.removeprefix(PERSON) for line in request.get("earlier", ()) if line.startswith(PERSON)]
        return PersonWords([request.get("message") or "", *reversed(earlier)], self._closest)

    def _closest(self, text: str, n: int) -> Sequence[str]:
        """The phrases that are closest to a text; none where the recommender does not know, or cannot say now."""
        similar = self._recommender
        if not isinstance(similar, PhraseSimilarity) or inspect.iscoroutinefunction(similar.closest_phrases):
            return ()
        try:
            return tuple(similar.closest_phrases(text, n))
        except Exception as error:
            _log.warning("The recommender does not say which phrases are closest to a refusal: %r", error)
            return ()

    def _closest_constraints(self, now: _LaidOut, stated: StatedPreference) -> Mapping[str, Constraint]:
        """What stands for the constraints that the catalogue lacks; nothing where the recommender cannot say."""
        similar: Any = self._recommender
        if not takes_min_cosine(self._recommender):
            return {}
        try:
            return closest_constraints(
                stated, now.reader, lambda text: tuple(similar.closest_phrases(text, 1, min_cosine=MIN_COSINE))
            )
        except Exception as error:
            _log.warning("The recommender does not say what is closest to what the catalogue lacks: %r", error)
            return {}

    def _now(self) -> _LaidOut:
        """The catalogue as it is now; it is laid out again where it has changed."""
        catalogue, version = self._recommender.catalogue, self._recommender.identity.fingerprint
        laid_out = self._laid_out
        if laid_out is None or laid_out.catalogue is not catalogue or laid_out.version != version:
            laid_out = self._laid_out = _LaidOut(
                catalogue=catalogue,
                version=version,
                reader=(reader := PreferenceReader(catalogue)),
                plain=PlainConstraints(catalogue, reader),
                index=AttributeIndex(catalogue),
                rows={item_id: row for row, item_id in enumerate(catalogue.ids)},
            )
        return laid_out


async def retrieve_asked(asked: Asked, k: int, retrieve: Callable[..., Awaitable[Retrieved]]) -> Retrieved:
    """Retrieve what a preference asks for; where it guesses, fuse the retrieval under the guesses and that without.

    Args:
        asked: From `PreferenceConstraints.read`.
        k: Items to return, at most.
        retrieve: Takes `preference`, `where` and `passes`. Where the recommender is unavailable for the retrieval under
            the guesses, what the one without them found is kept.
    """
    found = await retrieve(preference=asked.preference, where=asked.where, passes=asked.passes)
    if asked.guessed_where is None:
        return found
    try:
        under = await retrieve(preference=asked.preference, where=asked.guessed_where, passes=asked.guessed_passes)
    except RecommenderUnavailableError as error:
        _log.warning("The model's guesses do not weigh in this retrieval: %s", error)
        return found
    scores: dict[str, float] = {}
    rankings = [[item.id for item in ranking] for ranking in (under, found)]
    for ranking in rankings:
        for rank, item_id in enumerate(ranking, start=1):
            scores[item_id] = scores.get(item_id, 0.0) + reciprocal_rank(rank)
    fused = [ScoredItem(item_id, scores[item_id]) for item_id in fuse_rankings(rankings)][:k]
    return Retrieved(fused, unenforced=found.unenforced, unknown_items=found.unknown_items)


def mark_excluded(candidates: Sequence[Candidate], passes: Passes | None) -> list[Candidate]:
    """Mark the candidates that a hard constraint excludes which came after they were found."""
    if passes is None:
        return list(candidates)
    allowed = set(passes([candidate["item_id"] for candidate in candidates]))
    return [c if c["item_id"] in allowed else {**c, "excluded": True} for c in candidates]


@dataclass(frozen=True, slots=True, kw_only=True)
class _LaidOut:
    catalogue: Any
    version: str
    reader: PreferenceReader
    plain: PlainConstraints
    index: AttributeIndex
    rows: dict[str, int]

    @property
    def removed(self) -> Collection[str]:
        removed: Collection[str] = self.catalogue.removed
        return removed

    def mask(self, wheres: Sequence[Where | None]) -> NDArray[np.bool_]:
        """Which items pass all of these, bool (items,)."""
        mask = np.ones(len(self.rows), dtype=np.bool_)
        for where in wheres:
            mask &= self.index.filter(where).mask if where else True
        return mask

    def left(self, wheres: Sequence[Where | None], gone: Sequence[str]) -> NDArray[np.bool_]:
        """Which items pass all of these and are neither gone nor removed, bool (items,)."""
        return self.mask(wheres) & ~self.mask_of([*gone, *self.removed])

    def judge(
        self,
        passing: NDArray[np.bool_],
        stated: Iterable[tuple[Constraint, str | None]],
        held: Sequence[HardConstraint],
    ) -> tuple[NDArray[np.bool_], list[HardConstraint], list[GuessedConstraint]]:
        """Decide which constraints are hard, in their order: those that words support and some item passes.

        Args:
            passing: Which items pass what is hard already.
            stated: Each constraint, with the words that support it; None where none do.
            held: What is hard already.

        Returns:
            Which items pass what is hard now, what became hard, and what is a guess.
        """
        hard, guessed = list[HardConstraint](), list[GuessedConstraint]()
        for constraint, words in stated:
            text, where = constraint.text, constraint.where
            both = passing & self.mask([where])
            if words is not None and both.any():
                passing = both
                hard.append(HardConstraint(text=text, where=where, source="message", words=words))
            else:
                guess = GuessedConstraint(text=text, where=where, why=NOT_SAID if words is None else NOTHING_PASSES)
                others = [each["text"] for each in (*held, *hard) if not self.left([where, each["where"]], ()).any()]
                if words is not None and others and self.left([where], ()).any():
                    guess["why"], guess["contradicts"] = _CONTRADICTS.format(other=others[0]), others[0]
                guessed.append(guess)
        return passing, hard, guessed

    def mask_of(self, item_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Which items these are, bool (items,)."""
        mask = np.zeros(len(self.rows), dtype=np.bool_)
        mask[[self.rows[item_id] for item_id in item_ids if item_id in self.rows]] = True
        return mask

    def passing(self, mask: NDArray[np.bool_]) -> Passes:
        def passing(item_ids: Sequence[str]) -> list[str]:
            return [item_id for item_id in item_ids if item_id in self.rows and mask[self.rows[item_id]]]

        return passing
