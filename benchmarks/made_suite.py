"""Suites that were never run: measured runs of ten systems for the benchmark of the report, the same for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np

from benchmarks.made_runs import ids
from deeprec.agent.traces import CaseRecord, RecommendationRecord, RetrievalRecord, RewardRecord, RunRecord, RunTrace
from deeprec.evals.metrics import rewards, run_metrics
from deeprec.trm_tool import ScoredItem

SYSTEMS = (
    *("trm", "popularity", "co-occurrence", "fused"),
    *("one-retrieval", "one-retrieval-shuffled", "deeprec-one-turn", "deeprec-guided", "deeprec-free", "tuned"),
)
"""The first four have no language model."""
_GENRES = ("action", "adventure", "comedy", "crime", "drama", "horror", "romance", "sci-fi", "thriller", "war")


def make_suite_runs(users: int, *, seed: int, suite: str = "made@00000000", k: int = 10) -> Iterator[RunTrace]:
    """Make whole, measured runs of a suite: ten systems, each for every user, with the scores that a harness stores.

    They have no turns, which no report reads; every list is of `k` items, and every agent makes one search, which finds
    the same items whatever the agent.
    """
    random = np.random.default_rng(seed)
    started = datetime(2026, 1, 1, tzinfo=UTC)
    cases = [_make_case(random) for _ in range(users)]
    targets = [ids(random, 1)[0] for _ in range(users)]
    candidates = [ids(random, k) for _ in range(users)]
    for place, system in enumerate(SYSTEMS):
        for user, (case, target, items) in enumerate(zip(cases, targets, candidates, strict=True)):
            now = started + timedelta(seconds=place * users + user)
            yield _make_suite_run(random, system, str(user), target, items, case, now, suite=suite)


def _make_case(random: np.random.Generator) -> CaseRecord:
    year = int(random.integers(1950, 1999))
    genres = random.choice(_GENRES, size=int(random.integers(1, 4)), replace=False)
    phrases = (*genres, str(year), f"{year // 10 * 10}s")
    popularity, length = float(random.integers(0, 400)), int(random.integers(18, 700))
    return CaseRecord(target_popularity=popularity, history_length=length, phrases=phrases)


def _make_suite_run(
    random: np.random.Generator,
    system: str,
    user: str,
    target: str,
    items: tuple[str, ...],
    case: CaseRecord,
    now: datetime,
    *,
    suite: str,
) -> RunTrace:
    speaks, k = SYSTEMS.index(system) >= 4, len(items)
    shuffled_of = "one-retrieval" if system == "one-retrieval-shuffled" else None
    if not speaks or shuffled_of is not None:
        items = tuple(items[index] for index in random.permutation(k))
    found = tuple(ScoredItem(item, 1 / place) for place, item in enumerate(items, start=1))
    listed = tuple(items[index] for index in random.permutation(k)) if speaks else items
    places = tuple(
        RecommendationRecord(rank=rank, item_id=item, retrieval=0, score=0.5, source="written")
        for rank, item in enumerate(listed, start=1)
    )
    retrieval = RetrievalRecord(
        position=0, turn=0, preference="comedy; 1990s" if speaks else None, k=k, items=found, latency_ms=3.0
    )
    trace = RunTrace(
        run=RunRecord(
            run_id=UUID(bytes=random.bytes(16), version=4),
            user_id=user,
            history=ids(random, 20),
            target_id=target,
            protocol="tagged" if speaks else "none",
            protocol_version="1",
            prompt_version="1",
            guided=speaks,
            k=k,
            policy_model="SmolLM2-135M-Instruct" if speaks else "none",
            trm_fingerprint="5f" * 16,
            trm_holdout=2,
            seed=int(user),
            split="test",
            suite=suite,
            system=system,
            kind="agent" if speaks else "scored",
            shuffled_of=shuffled_of,
        ),
        status="finished",
        incomplete=False,
        detail=None,
        started_at=now,
        finished_at=now + timedelta(seconds=1),
        latency_ms=1000 * random.random(),
        ungrounded=0,
        pinned=False,
        redacted_at=None,
        turns=(),
        retrievals=(retrieval,),
        written=places,
        recommended=places,
        rewards=(),
    )
    hit = 1 / int(random.integers(1, k + 1)) if random.random() < 0.2 else 0.0
    measures = run_metrics.measure_run(trace) | {"rr_written": hit, "rr_filled": hit, "found": float(hit > 0)}
    measures |= {"diversity": random.random(), "popularity": random.random(), "names_target": 0.0}
    scored: tuple[RewardRecord, ...] = ()
    if speaks:
        measures |= {"tokens": float(random.integers(50, 300)), "valid": float(random.random() < 0.9)}
        names = ("format", "invocations", "diversity", "hit", "rank", "similarity")
        scored = tuple(
            RewardRecord(scheme=rewards.REWARD_SCHEME, component=name, value=random.random()) for name in names
        )
    return replace(trace, rewards=scored, metrics=measures, case=case)
