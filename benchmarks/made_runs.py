"""Runs that were never run: records of realistic sizes for the benchmarks of the trace store, the same for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from uuid import UUID

import numpy as np
import numpy.typing as npt

from deeprec.agent.traces import RecommendationRecord, RetrievalRecord, RunOutcome, RunRecord, TurnRecord
from deeprec.trm_tool import ScoredItem

CHARACTERS_A_TOKEN = 4
"""Characters of English text in a token of SmolLM2's tokeniser, roughly."""
ITEMS = 1682
"""Catalogue size of ml-100k: ids of one to four digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShape:
    """How large a made run is. Every size but `turns` varies by a fifth, up and down."""

    turns: int = 3
    """Policy calls, the list included; each but the last one searches."""
    prompt_tokens: int = 200
    """Tokens of the opening prompt."""
    tool_tokens: int = 60
    """Tokens of each answer of the recommender."""
    policy_tokens: int = 40
    """Tokens that the policy writes in each turn."""
    vocabulary: int = 49_152
    """SmolLM2's."""
    retrieve_k: int = 10
    k: int = 10


USUAL = RunShape()
"""3 turns and about 440 tokens."""
HEAVY = RunShape(turns=4, prompt_tokens=600, tool_tokens=500, policy_tokens=500)
"""4 turns: 2,000 tokens of the policy, 1,500 of the tool, a prompt of 600."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRun:
    """The records of one run, as the graph would have written them."""

    run: RunRecord
    turns: tuple[TurnRecord, ...]
    retrievals: tuple[RetrievalRecord, ...]
    outcome: RunOutcome

    @property
    def text_bytes(self) -> int:
        """What the run's text takes: messages, what the model wrote and what was read out of it."""
        texts = [self.run.message, *(retrieval.preference for retrieval in self.retrievals)]
        texts += [part for turn in self.turns for part in (turn.text, turn.thought, turn.preference)]
        return sum(len(text.encode()) for text in texts if text)

    @property
    def tokens(self) -> int:
        """Prompt, tool and policy tokens."""
        return sum(len(turn.prompt_ids) + len(turn.completion_ids) for turn in self.turns)


def make_runs(count: int, *, seed: int, shape: RunShape = USUAL) -> Iterator[MadeRun]:
    """Make runs: 943 users, 20 suites' worth of policies and splits, groups of eight, 1 of 20 not finished well."""
    random = np.random.default_rng(seed)
    for number in range(count):
        yield _make_run(random, number, shape)


def _make_run(random: np.random.Generator, number: int, shape: RunShape) -> MadeRun:
    run = RunRecord(
        run_id=UUID(bytes=random.bytes(16), version=4),
        user_id=str(number % 943 + 1),
        history=ids(random, int(random.integers(10, 60))),
        message="something lighter for the evening" if number % 4 == 0 else None,
        target_id=ids(random, 1)[0],
        protocol="tagged",
        protocol_version="1",
        prompt_version="1",
        guided=False,
        k=shape.k,
        policy_model=("SmolLM2-135M-Instruct", "Qwen3-1.7B", "Qwen3-4B")[number % 3],
        adapter="deeprec",
        adapter_version=str(number // 1000),
        trm_fingerprint="5f" * 16,
        trm_holdout=3,
        dataset_fingerprint="a7" * 32,
        sampling={"temperature": 1.0, "top_p": 1.0},
        config={
            "guided": False,
            "temperature": 1.0,
            "top_p": 1.0,
            "k": shape.k,
            "retrieve_k": shape.retrieve_k,
            "max_history": 20,
            "min_retrievals": 2,
            "max_retrievals": 8,
            "max_turns": 12,
            "max_malformed": 2,
            "max_turn_tokens": 512,
            "max_tokens": 16_384,
            "max_seconds": 600.0,
            "where": None,
        },
        seed=number,
        split=("train", "valid", "test")[number % 3],
        suite=f"loop-{number % 20}",
        group_id=f"round-{number // 8000}/{number // 8}",
        versions={
            "deeprec-agent": "0.1.0",
            "langgraph": "1.2.22",
            "langchain-core": "1.7.0",
            "openai": "3.52.0",
            "torch": "2.13.0",
        },
    )
    turns: list[TurnRecord] = []
    retrievals: list[RetrievalRecord] = []
    length = 0
    for position in range(shape.turns):
        is_last = position == shape.turns - 1
        added = _about(random, shape.tool_tokens if position else shape.prompt_tokens)
        wrote = _about(random, shape.policy_tokens)
        thought = _words(random, wrote * CHARACTERS_A_TOKEN)
        preference = None if is_last else _words(random, 24)
        turns.append(
            TurnRecord(
                position=position,
                node="rank" if is_last else "reason",
                prompt_ids=_tokens(random, added, shape.vocabulary),
                completion_ids=_tokens(random, wrote, shape.vocabulary),
                logprobs=tuple((-random.gamma(0.35, 2.0, wrote)).tolist()),
                chained=True,
                text=f"<think>{thought}</think>\n<search>{preference}</search>",
                thought=thought,
                action="recommend" if is_last else "retrieve",
                preference=preference,
                items=ids(random, shape.k) if is_last else (),
                finish_reason="stop",
                prompt_tokens=length + added,
                completion_tokens=wrote,
                latency_ms=1000 * random.random(),
            )
        )
        length += added + wrote
        if not is_last:
            scores = -np.sort(-random.normal(size=shape.retrieve_k))
            items = ids(random, shape.retrieve_k)
            found = tuple(ScoredItem(*pair) for pair in zip(items, scores.tolist(), strict=True))
            retrievals.append(
                RetrievalRecord(
                    position=position,
                    turn=position,
                    preference=preference,
                    k=shape.retrieve_k,
                    items=found,
                    latency_ms=4.0 * random.random(),
                )
            )
    outcome = _outcome(turns, retrievals, number)
    return MadeRun(run=run, turns=tuple(turns), retrievals=tuple(retrievals), outcome=outcome)


def _outcome(turns: list[TurnRecord], retrievals: list[RetrievalRecord], number: int) -> RunOutcome:
    score = retrievals[0].items[0].score
    listed = tuple(
        RecommendationRecord(rank=rank, item_id=item_id, retrieval=0, score=score, source="written")
        for rank, item_id in enumerate(turns[-1].items, start=1)
    )
    return RunOutcome(
        status="budget" if number % 20 == 0 else "finished",
        written=listed,
        recommended=listed,
        latency_ms=sum(turn.latency_ms for turn in turns),
    )


def _about(random: np.random.Generator, size: int) -> int:
    return int(random.integers(size * 4 // 5, size * 6 // 5 + 1))


@cache
def _cumulated(vocabulary: int) -> npt.NDArray[np.float64]:
    """(vocabulary,) of a Zipf-Mandelbrot law, under which 250 and 500 ids compress as those of English do."""
    weight = 1 / (np.arange(vocabulary, dtype=np.float64) + 2.7) ** 1.3
    summed: npt.NDArray[np.float64] = np.cumsum(weight) / weight.sum()
    return summed


def _tokens(random: np.random.Generator, count: int, vocabulary: int) -> tuple[int, ...]:
    return tuple(np.searchsorted(_cumulated(vocabulary), random.random(count)).tolist())


def ids(random: np.random.Generator, count: int) -> tuple[str, ...]:
    """Different item ids."""
    return tuple(str(item) for item in random.choice(ITEMS, size=count, replace=False) + 1)


def _words(random: np.random.Generator, characters: int) -> str:
    return random.integers(97, 123, characters, dtype=np.uint8).tobytes().decode()
