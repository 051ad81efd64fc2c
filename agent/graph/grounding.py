"""Grounding: a list names candidates of its run by their numbers; whatever else it names is counted and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deeprec.agent.graph.rank_fusion import reciprocal_rank
from deeprec.agent.graph.state import Candidate, RankedItem
from deeprec.agent.traces.records import RecommendationRecord, RetrievalRecord, Source


def merge_candidates(candidates: Sequence[Candidate], record: RetrievalRecord) -> list[Candidate]:
    """Add one more retrieval to the candidates: new items come at the end, and reciprocal ranks add up."""
    merged = {candidate["item_id"]: candidate for candidate in candidates}
    for rank, item in enumerate(record.items, start=1):
        old = merged.get(item.id) or Candidate(item_id=item.id, retrieval=record.position, score=item.score, fused=0.0)
        merged[item.id] = {**old, "fused": old["fused"] + reciprocal_rank(rank)}
        if not record.preference:
            merged[item.id]["own"] = old.get("own", 0.0) + reciprocal_rank(rank)
    return list(merged.values())


def not_excluded(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that a list may name: no constraint that came after they were found excludes them."""
    return [candidate for candidate in candidates if not candidate.get("excluded")]


def ground(numbers: Sequence[int], candidates: Sequence[Candidate]) -> tuple[list[RecommendationRecord], int]:
    """Turn the numbers that the model wrote into items.

    Returns:
        The items in the model's own order, repeats kept, ranks from 1; and how many numbers named no candidate, or an
        excluded one.
    """
    named = [candidates[number - 1] for number in numbers if 1 <= number <= len(candidates)]
    named = not_excluded(named)
    listed = [_listed(rank, candidate, "written") for rank, candidate in enumerate(named, start=1)]
    return listed, len(numbers) - len(named)


def fill_list(
    written: Sequence[RecommendationRecord],
    candidates: Sequence[Candidate],
    own_ranking: Sequence[RankedItem],
    *,
    k: int | None,
    fallback: bool,
    own_k: int = 0,
) -> list[RecommendationRecord]:
    """Make the list that a person gets.

    The items that the model wrote come first, without repeats; the other candidates follow by fused retrieval rank, but
    for excluded ones. The first `own_k` items of the recommender's own ranking count in it as one more retrieval, less
    what a retrieval without a preference has counted of them; the whole of it takes over where the run found nothing
    that is allowed, and goes on where it fell back.

    Returns:
        At most `k` different items, ranks from 1; all of them without `k`.
    """
    candidates = not_excluded(candidates)
    chosen = {listed.item_id: listed for listed in reversed(written)}  # the first of a repeat stays
    kept = sorted(chosen.values(), key=lambda listed: listed.rank)[:k]
    fused = {candidate["item_id"]: candidate["fused"] for candidate in candidates}
    counted = {candidate["item_id"]: candidate.get("own", 0.0) for candidate in candidates}
    for rank, item in enumerate(own_ranking[:own_k], start=1):
        more = max(0.0, reciprocal_rank(rank) - counted.get(item["item_id"], 0.0))
        fused[item["item_id"]] = fused.get(item["item_id"], 0.0) + more
    found = {candidate["item_id"]: _listed(0, candidate, "filled") for candidate in candidates}
    own = {
        item["item_id"]: RecommendationRecord(rank=0, item_id=item["item_id"], score=item["score"], source="fallback")
        for item in own_ranking
        if item["item_id"] not in found
    }
    others = [item_id for item_id in sorted(fused, key=lambda item_id: -fused[item_id]) if item_id not in chosen]
    listed = [*kept, *((found | own)[item_id] for item_id in others)]
    if fallback or not candidates:
        listed += [position for item_id, position in own.items() if item_id not in fused]
    return [replace(position, rank=rank) for rank, position in enumerate(listed[:k], start=1)]


def _listed(rank: int, candidate: Candidate, source: Source) -> RecommendationRecord:
    return RecommendationRecord(
        rank=rank,
        item_id=candidate["item_id"],
        retrieval=candidate["retrieval"],
        score=candidate["score"],
        source=source,
    )
