"""Grounding: a list names candidates of this run by number, and everything else about it is counted, not guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deeprec.agent.graph.rank_fusion import reciprocal_rank
from deeprec.agent.graph.state import Candidate
from deeprec.agent.traces.records import RecommendationRecord, RetrievalRecord


def merge_candidates(candidates: Sequence[Candidate], record: RetrievalRecord) -> list[Candidate]:
    """The candidates with one more retrieval: new items at the end, reciprocal ranks added up."""
    merged = {candidate["item_id"]: candidate for candidate in candidates}
    for rank, item in enumerate(record.items, start=1):
        old = merged.get(item.id) or Candidate(item_id=item.id, retrieval=record.position, score=item.score, fused=0.0)
        merged[item.id] = Candidate(
            item_id=old["item_id"],
            retrieval=old["retrieval"],
            score=old["score"],
            fused=old["fused"] + reciprocal_rank(rank),
        )
    return list(merged.values())


def ground(numbers: Sequence[int], candidates: Sequence[Candidate]) -> tuple[list[RecommendationRecord], int]:
    """Turn the numbers that the model wrote into items.

    Returns:
        the places in the model's own order, repeats kept, ranks from 1 over the grounded ones; and how many numbers
        named no candidate.
    """
    grounded = [number for number in numbers if 1 <= number <= len(candidates)]
    places = [_place(rank, candidates[number - 1], source="written") for rank, number in enumerate(grounded, start=1)]
    return places, len(numbers) - len(grounded)


def fill_list(
    written: Sequence[RecommendationRecord],
    candidates: Sequence[Candidate],
    own_ranking: Sequence[Mapping[str, Any]],
    *,
    k: int,
    fallback: bool,
) -> list[RecommendationRecord]:
    """The list that a person gets.

    The model's places without repeats, then the other candidates by fused retrieval rank. The recommender's own ranking
    takes over where the run fell back, or where it found nothing at all.

    Returns:
        at most `k` different items, ranks from 1.
    """
    if fallback or not candidates:
        return [
            RecommendationRecord(rank=rank, item_id=item["item_id"], score=item["score"], source="fallback")
            for rank, item in enumerate(own_ranking[:k], start=1)
        ]
    chosen = {place.item_id: place for place in reversed(written)}  # the first of a repeat wins
    kept = sorted(chosen.values(), key=lambda place: place.rank)[:k]
    others = sorted(
        (candidate for candidate in candidates if candidate["item_id"] not in chosen),
        key=lambda candidate: -candidate["fused"],
    )
    listed = [_renumbered(rank, place) for rank, place in enumerate(kept, start=1)]
    for candidate in others[: k - len(listed)]:
        listed.append(_place(len(listed) + 1, candidate, source="filled"))
    return listed


def _place(rank: int, candidate: Candidate, *, source: Any) -> RecommendationRecord:
    return RecommendationRecord(
        rank=rank,
        item_id=candidate["item_id"],
        retrieval=candidate["retrieval"],
        score=candidate["score"],
        source=source,
    )


def _renumbered(rank: int, place: RecommendationRecord) -> RecommendationRecord:
    return RecommendationRecord(
        rank=rank, item_id=place.item_id, retrieval=place.retrieval, score=place.score, source=place.source
    )
