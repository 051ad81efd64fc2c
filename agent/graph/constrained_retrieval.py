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
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.laid_out_catalogue import LaidOutCatalogue, Passes
from deeprec.agent.graph.messages import PERSON
from deeprec.agent.graph.missing_values import MIN_COSINE, closest_constraints, demanded_values
from deeprec.agent.graph.rank_fusion import fuse_rankings, reciprocal_rank
from deeprec.agent.graph.run_constraints import (
    request_constraints,
    standing_guesses,
    stands_for,
    stated_hard,
    with_contradictions,
    with_stated,
)
from deeprec.agent.graph.run_start import RunStart
from deeprec.agent.graph.state import AgentState, Candidate, GuessedConstraint, RunConstraints
from deeprec.agent.graph.supported_constraints import ClosestPhrases, PersonWords
from deeprec.agent.protocols.turn import Remark
from deeprec.trm_tool import (
    AnyRecommender,
    CatalogueView,
    PhraseSimilarity,
    RecommenderUnavailableError,
    Retrieved,
    ScoredItem,
    Where,
)
from deeprec.trm_tool.catalogue.merged_where import merge_where
from deeprec.trm_tool.catalogue.plain_constraints import could_state
from deeprec.trm_tool.catalogue.stated_preference import Constraint, StatedPreference, may_state_constraints
from deeprec.trm_tool.recommender import takes_min_cosine

_log = logging.getLogger(__name__)


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
    closest: Mapping[str, str] = field(default_factory=dict)
    """What of it the catalogue lacks -> the closest constraint that it knows."""

    @property
    def remark(self) -> Remark | None:
        """What the model is shown of its constraints; None where all of them are kept."""
        guessed = [each for each in self.stated["guessed"] if not _is_heard_alone(each)] if self.stated else []
        if self.stated is None or not (guessed or self.stated["unenforceable"]):
            return None
        closest = {missing: f" (closest: {text})" for missing, text in self.closest.items()}
        against = {each["text"]: each["contradicts"] for each in guessed if "contradicts" in each}
        return Remark(
            kept=tuple(each["text"] for each in self.stated["hard"]),
            weighed=tuple(each["text"] for each in guessed if not {"stands_for", "contradicts"} & each.keys()),
            missing=(
                *(f"{each}{closest.get(each, '')}" for each in self.stated["unenforceable"]),
                *(f"{text} together with {other}" for text, other in against.items()),
            ),
        )


class PreferenceConstraints:
    """Reads the preferences of runs against the catalogue of a recommender, and checks items against them."""

    def __init__(self, recommender: AnyRecommender) -> None:
        self._recommender = recommender
        self._laid_out: LaidOutCatalogue | None = None

    async def of_request(self, start: RunStart, config: AgentConfig) -> RunConstraints:
        """The constraints that hold before the model has written any: the request's own, and what its message states.

        What no item passes beside the others is a guess, and names why.
        """
        own = request_constraints(start.where)
        if not (config.reads_constraints and config.enforces_words and could_state(start.message or "")):
            return own
        return await asyncio.to_thread(self._of_message, start, own, config.weighs_missing)

    async def read(self, state: AgentState, config: AgentConfig) -> Asked:
        """Read the preference of the model's last turn."""
        preference, where = state["decision"]["preference"], state["request"]["where"]
        plain = Asked(preference=preference or None, where=where)
        holds = stated_hard(state) or standing_guesses(state)
        if not (config.reads_constraints and (holds or may_state_constraints(preference))):
            return plain
        return await asyncio.to_thread(self._read, state, plain, config)

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

    def _of_message(self, start: RunStart, own: RunConstraints, weighs_missing: bool) -> RunConstraints:
        now = self._now()
        stated = now.plain.read(start.message or "")
        passing = now.left([start.where], [*start.history, *start.exclude])
        passing, hard, guessed = now.judge(passing, stated.constraints, own["hard"])
        missing = list(dict.fromkeys(stated.unenforceable))
        lacking = dict(stated.lacking) if weighs_missing else {}
        closest = self._closest_constraints(now, StatedPreference(unenforceable=tuple(lacking)))
        for lacks, constraint in closest.items():
            if stated.asked_for.isdisjoint(constraint.phrases) and (passing & now.mask([constraint.where])).any():
                missing.append(lacks)
                guessed.append({**stands_for(constraint, lacks), "words": lacking[lacks]})
        found = with_stated(own, RunConstraints(hard=hard, guessed=guessed, unenforceable=missing))
        refused = [each.phrases[0] for each, _ in stated.constraints if each.kind == "refused"]
        asked_for = stated.asked_for or self._meant(stated.rest, refused)
        named = " ".join(each["contradicts"] for each in guessed if "contradicts" in each)
        asked = [phrase for phrase in refused if phrase in asked_for and f"not {phrase}" not in named]
        return with_contradictions(found, guessed, asked)

    def _read(self, state: AgentState, plain: Asked, config: AgentConfig) -> Asked:
        now, request, before = self._now(), state["request"], stated_hard(state)
        stated = now.reader.read(plain.preference or "")
        standing = standing_guesses(state)
        if not (stated.constraints or stated.unenforceable or before or standing):
            return plain
        passing = now.left(
            [request["where"], *(each["where"] for each in before)], [*request["history"], *request.get("exclude", ())]
        )
        words = self._words_of(state, None if config.weighs_close_refusals else self._closest)
        held_before = {each["text"] for each in before}
        written = [each for each in stated.constraints if each.text not in held_before]
        held = (state.get("constraints") or request_constraints(request["where"]))["hard"]
        passing, hard, guessed = now.judge(passing, [(each, words.support(each)) for each in written], held)
        hard = [*before, *hard]
        texts, closest = {each["text"] for each in (*hard, *guessed)}, dict[str, str]()
        for missing, constraint in self._closest_constraints(now, stated).items() if config.weighs_missing else ():
            if constraint.text not in texts and (passing & now.mask([constraint.where])).any():
                guessed.append(stands_for(constraint, missing))
            elif constraint.text not in texts or not config.weighs_close_refusals:
                continue
            closest[missing] = constraint.text
        texts |= {each["text"] for each in guessed}
        heard = {each["text"]: each["words"] for each in standing}
        guessed = [{**each, "words": heard[each["text"]]} if each["text"] in heard else each for each in guessed]
        guessed += [each for each in standing if each["text"] not in texts]
        kept, weighed = passing, list[Where]()
        for guess in guessed:
            if (both := kept & now.mask([guess["where"]])).any():
                kept = both
                weighed.append(guess["where"])
        where = merge_where(request["where"], *(each["where"] for each in hard)) or request["where"]
        demanded = demanded_values(stated) if config.weighs_missing else []
        return Asked(
            preference="; ".join([*stated.phrases, *demanded]) or None,
            where=where,
            passes=now.passing(passing) if hard else None,
            guessed_where=(merge_where(where, *weighed) or where) if weighed else None,
            guessed_passes=now.passing(kept) if weighed else None,
            stated=with_contradictions(
                RunConstraints(hard=hard, guessed=guessed, unenforceable=list(stated.unenforceable)), guessed
            ),
            closest=closest,
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

    def _words_of(self, state: AgentState, closest: ClosestPhrases | None) -> PersonWords:
        request = state["request"]
        earlier = [line.removeprefix(PERSON) for line in request.get("earlier", ()) if line.startswith(PERSON)]
        return PersonWords([request.get("message") or "", *reversed(earlier)], closest)

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

    def _closest_constraints(self, now: LaidOutCatalogue, stated: StatedPreference) -> Mapping[str, Constraint]:
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

    def _now(self) -> LaidOutCatalogue:
        """The catalogue as it is now; it is laid out again where it has changed."""
        catalogue, version = self._recommender.catalogue, self._recommender.identity.fingerprint
        laid_out = self._laid_out
        if laid_out is None or laid_out.catalogue is not catalogue or laid_out.version != version:
            laid_out = self._laid_out = LaidOutCatalogue.of(catalogue, version)
        return laid_out


def _is_heard_alone(guess: GuessedConstraint) -> bool:
    """Whether a guess is made of the person's words, and the model wrote nothing of it."""
    return "words" in guess and "stands_for" in guess


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


def not_enforced(asked: Asked, found: Retrieved, catalogue: CatalogueView) -> tuple[str, ...]:
    """The attributes whose constraints do not hold for what was found.

    Where a constraint is hard, the graph checks every item itself, also for a recommender that knows no `where`: only
    what the catalogue lacks is left.
    """
    return tuple(name for name in found.unenforced if asked.passes is None or name not in catalogue.attribute_kinds)


def mark_excluded(candidates: Sequence[Candidate], passes: Passes | None) -> list[Candidate]:
    """Mark the candidates that a hard constraint excludes which came after they were found."""
    if passes is None:
        return list(candidates)
    allowed = set(passes([candidate["item_id"] for candidate in candidates]))
    return [c if c["item_id"] in allowed else {**c, "excluded": True} for c in candidates]
