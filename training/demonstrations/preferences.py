"""What a demonstration asks for: phrases that the person's words support and that raise the target in the ranking.

The choice is greedy. Of the phrases on offer that are true of the target and supported by the words, the one that
raises the target most is taken, then the one that raises it most beside that, until none raises it further. What the
words refuse or bound comes with it where the target passes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from deeprec.agent.graph.config import AgentConfig
from deeprec.agent.graph.lists_without_model import words_of
from deeprec.agent.graph.offered_phrases import Offer, named_phrases
from deeprec.agent.graph.supported_constraints import PersonWords
from deeprec.agent.protocols.turn import MAX_SEGMENTS, Allowance, segments_regex
from deeprec.evals.requests.cases import Case
from deeprec.trm_tool import PhraseSimilarity, Query, Recommender, Where, ranks_of
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.catalogue.merged_where import merge_where
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.catalogue.said_numbers import said_numbers
from deeprec.trm_tool.catalogue.stated_preference import Constraint, PreferenceReader
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.catalogue.written_numbers import split_words
from deeprec.trm_tool.text import plain

MAX_PHRASES = 4
"""Phrases that a demonstration asks for, at most."""
CLOSEST = 4
"""The phrases that are the closest to a message, so many of them, count as supported by it: of the phrases true of the
target, .90 of those were said and .88 of the said ones found (`docs/log.md`, 2026-11-28)."""


class NoPreference(StrEnum):
    """Why nothing is worth asking for, in words that complete "left out: 12 (…)"."""

    ALREADY_FIRST = "the target is first already"
    NOT_SUPPORTED = "no phrase on offer is both supported by the words and true of the target"
    NOT_RAISED = "nothing that the words support raises the target"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPreference:
    """A preference, and what it does to the target."""

    text: str
    """Segments in the order on offer: wanted phrases, refused ones, bounds."""
    rank_before: int
    """1-based rank of the target by history and words."""
    rank: int
    """Its rank by history, words and preference. What the words do not support as a constraint is not counted in."""


class PreferenceChooser:
    """Chooses the preferences of demonstrations over one recommender, whose catalogue must not change meanwhile.

    Args:
        recommender: Ranks the targets. One that has `PhraseSimilarity` knows which phrases are close to a message.
        config: The settings of the runs: how far words and preferences are trusted.
        max_phrases: Phrases that are wanted, at most.
        closest: How many of the closest phrases a message supports; 0 for those alone that it names.
    """

    def __init__(
        self, recommender: Recommender, config: AgentConfig, *, max_phrases: int = MAX_PHRASES, closest: int = CLOSEST
    ) -> None:
        catalogue = recommender.catalogue
        self._recommender, self._config = recommender, config
        self._max_phrases, self._max_closest = max_phrases, closest
        self._spotter = PhraseSpotter(catalogue.phrases())
        self._reader, self._index = PreferenceReader(catalogue), AttributeIndex(catalogue)
        self._rows = {item_id: row for row, item_id in enumerate(catalogue.ids)}

    def choose(self, case: Case, offer: Offer) -> ChosenPreference | NoPreference:
        """Choose what the demonstration of a case asks for.

        Args:
            case: The target and what the person said; where the record says what was said (`Case.said`), that decides
                what the words support.
            offer: What the run offers.
        """
        said = [case.message or ""]
        # A refusal whose phrase is the closest to the person's words is shown; in a run it only weighs.
        person = PersonWords(said, lambda clause, _: self._closest(clause, 1))
        wanted = self._wanted(case, offer, person)
        constraints = self._constraints(case, offer, person)
        in_run = PersonWords(said, None if self._config.weighs_close_refusals else self._closest)
        hard = [each.where for each in constraints if in_run.support(each) is not None]
        where = merge_where(case.where, *hard) or case.where
        before, least = self._ranks(case, [self._query(case, (), each) for each in (case.where, where)])
        if before == 1:
            return NoPreference.ALREADY_FIRST
        if not wanted and not constraints:
            return NoPreference.NOT_SUPPORTED
        chosen: tuple[str, ...] = ()
        while len(chosen) < min(self._max_phrases, MAX_SEGMENTS - len(constraints)):
            larger = [
                tuple(phrase for phrase in wanted if phrase in chosen or phrase == added)
                for added in wanted
                if added not in chosen
            ]
            ranks = self._ranks(case, [self._query(case, each, where) for each in larger])
            if not ranks or min(ranks) >= least:
                break
            least = min(ranks)
            chosen = larger[ranks.index(least)]
        if least >= before:
            return NoPreference.NOT_RAISED
        text = "; ".join([*chosen, *(each.text for each in constraints)])
        return ChosenPreference(text=text, rank_before=before, rank=least)

    def _query(self, case: Case, phrases: Sequence[str], where: Where | None) -> Query:
        """What a run asks the recommender for."""
        return Query(
            history=case.history,
            preference="; ".join(phrases) or None,
            trust=self._config.trust,
            words=words_of(case.message, self._config),
            words_trust=self._config.words_trust,
            where=where,
        )

    def _ranks(self, case: Case, queries: Sequence[Query]) -> list[int]:
        """The rank of the target for each query."""
        ranks: list[int] = ranks_of(self._recommender, [case.target] * len(queries), queries).tolist()
        return ranks

    def _wanted(self, case: Case, offer: Offer, person: PersonWords) -> list[str]:
        """The phrases on offer that are true of the target and supported by the words."""
        message, true = case.message or "", set(self._recommender.catalogue.phrases_of(case.target))
        if case.said is not None:
            supported = {phrase for wish in case.said for phrase in wish.wanted}
        else:
            close = self._closest(message, self._max_closest) if self._max_closest else ()
            supported = {*named_phrases(message, self._spotter), *close}
        found = [phrase for phrase in offer.phrases if phrase in true and phrase in supported]
        if case.said is not None:
            return found
        refusals = {phrase: self._reader.read(f"not {phrase}").constraints for phrase in found}
        return [phrase for phrase in found if not any(map(person.support, refusals[phrase]))]

    def _constraints(self, case: Case, offer: Offer, person: PersonWords) -> list[Constraint]:
        """What the words refuse and bound, as far as a preference can say it and the target passes."""
        if not offer.may_refuse:
            return []
        said = case.said
        unwanted = None if said is None else {phrase for wish in said for phrase in wish.unwanted}
        found = []
        for phrase in offer.phrases:
            refusals = [each for each in self._reader.read(f"not {phrase}").constraints if each.kind == "refused"]
            if unwanted is None:
                refusals = [each for each in refusals if person.support(each) is not None]
            elif phrase not in unwanted:
                refusals = []
            found += refusals
        if said is None:
            found += [each for each in self._bounds(case.message or "") if person.support(each) is not None]
        else:
            segments = [segment for wish in said for segment in preference_segments(wish.where or {})]
            found += [each for segment in segments for each in self._reader.read(segment).constraints]
        grammar = segments_regex(
            Allowance(phrases=offer.phrases, may_refuse=True, bounds=offer.bounds, max_tokens=1, timeout_s=1.0)
        )
        distinct = {each.text: each for each in found if re.fullmatch(grammar, each.text) and self._passes(case, each)}
        return list(distinct.values())[:MAX_SEGMENTS]

    def _bounds(self, message: str) -> list[Constraint]:
        """The bounds that a message states, with the numbers as they were said."""
        words, found = split_words(message), list[Constraint]()
        for said in said_numbers(message):
            if said.bound is None:
                continue
            stated = self._reader.read(" ".join(words[at] for at in sorted(said.used)))
            for each in stated.constraints:
                sign, number = each.text.rsplit(" ", 2)[-2:]
                as_said = f"{each.text.removesuffix(number)}{each.number:.12g}" if sign in ("<=", ">=") else each.text
                found += self._reader.read(as_said).constraints
        return found

    def _passes(self, case: Case, constraint: Constraint) -> bool:
        return bool(self._index.filter(constraint.where).mask[self._rows[case.target]])

    def _closest(self, text: str, n: int) -> Sequence[str]:
        text = plain(text, 2_000)
        similar = self._recommender
        return similar.closest_phrases(text, n) if isinstance(similar, PhraseSimilarity) and text else ()
