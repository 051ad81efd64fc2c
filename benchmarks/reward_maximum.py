"""Which lists and which searches does a reward pay for? Code that maximises it under calibrated beliefs, no model.

    python -m benchmarks.reward_maximum --artifact .deeprec/trm/ml-100k

A belief is the probability of each item to be a person's target, by the recommender's scores at the temperature that is
most likely on validation targets. Under it the expected reward of a list is a sum over its positions, so an assignment
of items to positions is the exact maximum. A reward whose best list is worse than the recommender's teaches the wrong
thing to a policy that learns well.
"""

from __future__ import annotations

import argparse
import json
import random
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment, minimize_scalar
from scipy.special import logsumexp, softmax

from deeprec.agent.traces import RecommendationRecord, RetrievalRecord, RunRecord, RunTrace, TurnRecord
from deeprec.evals import Case, make_cases, make_rewards, mean_interval, paired_interval, score_run
from deeprec.evals.recommenders.evaluation import check_artifact
from deeprec.training import REWARD_PRESETS, stage_reward
from deeprec.trm_tool import (
    Artifact,
    Query,
    Retriever,
    ScoredItem,
    embedded_ml100k,
    load_artifact,
    make_encoder,
    read_atomic_files,
)

K, SEARCHES, RETRIEVED = 10, 3, 20
SENSIBLE = "sensible"
OFF_TOPIC = (
    *("tax return", "gearbox oil", "cactus soil", "dental floss", "spreadsheet", "wall plaster", "crop rotation"),
    *("enzyme", "shoe size", "harbour pilot", "zinc ore", "parking permit", "yeast", "hem length", "router firmware"),
)
"""Words that say nothing about a film."""
Array: TypeAlias = NDArray[np.float64]


def scores_of(retriever: Retriever, cases: Sequence[Case]) -> Array:
    """The recommender's scores of all items in every case, (cases, items); -inf for what was seen."""
    catalogue = retriever.catalogue
    scores = np.full((len(cases), len(catalogue)), -np.inf)
    lists = retriever.retrieve_batch([Query(history=case.history) for case in cases], k=len(catalogue))
    for row, found in zip(scores, lists, strict=True):
        row[catalogue.rows([item.id for item in found])] = [item.score for item in found]
    return scores


def calibrate(scores: Array, targets: NDArray[np.int64]) -> float:
    """The factor of the scores at which their softmax gives the targets the highest likelihood.

    Args:
        scores: (cases, items)
        targets: the row of each case's target in the catalogue, (cases,).
    """
    own = scores[np.arange(len(scores)), targets]
    possible = np.isfinite(own)

    def loss(log_factor: float) -> float:
        factor = np.exp(log_factor)
        return float(np.mean(logsumexp(factor * scores[possible], axis=1) - factor * own[possible]))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 6), method="bounded").x))


def position_pay(weights: Mapping[str, float]) -> Array:
    """What a stage pays for the target at each position of a list, (K,), likeness apart."""
    ranks = np.arange(K)
    return np.asarray(weights.get("hit", 0.0) + weights.get("rank", 0.0) * 0.2 * (K - ranks), dtype=np.float64)


def likeness_of(artifact: Artifact) -> Array:
    """The likeness of items as the component `similarity` has it, (items, items)."""
    with torch.inference_mode():
        spaces = [artifact.text_embeddings, artifact.model.item_vectors()]
        unit = [torch.nn.functional.normalize(space.double(), dim=-1).cpu().numpy() for space in spaces]
    return np.asarray(np.mean([space @ space.T for space in unit], axis=0))


def expected_pay(beliefs: Array, likeness: Array, weights: Mapping[str, float]) -> Array:
    """What each item brings at each position, in expectation, (cases, items, K)."""
    by_position = position_pay(weights)[None, None] * beliefs[:, :, None]
    falling = (1 - np.arange(K) / K) ** 2
    alike = 10 * weights.get("similarity", 0.0) * (beliefs @ likeness)  # (cases, items)
    return np.asarray(by_position + alike[:, :, None] * (falling / falling.sum()))


def best_list(pay: Array) -> NDArray[np.int64]:
    """The rows of the items whose list has the highest sum of pay, by position, (K,); `pay` is (items, K)."""
    items, positions = linear_sum_assignment(pay, maximize=True)
    return np.asarray(items[np.argsort(positions)], dtype=np.int64)


def ndcg(lists: NDArray[np.int64], targets: NDArray[np.int64]) -> Array:
    """NDCG@10 of each list, (cases,)."""
    at = np.where(lists == targets[:, None], 1 / np.log2(np.arange(K) + 2), 0.0)
    return np.asarray(at.sum(axis=1))


def judge(cases: Sequence[Case], artifact: Artifact, beliefs: Array, weights: Mapping[str, float]) -> dict[str, Any]:
    """Maximise the reward of a stage for everybody, and compare with the ranking by belief.

    Args:
        cases: histories and targets.
        artifact: whose vectors say what is alike.
        beliefs: (cases, items)
        weights: of the stage `recommendation`.

    Returns:
        NDCG@10 of the lists that maximise the reward less the recommender's; the mean reward of these lists, of the
        recommender's, and of the one list for everybody that earns most; and the shares of the maximum.
    """
    catalogue, likeness = artifact.catalogue, likeness_of(artifact)
    targets = catalogue.rows([case.target for case in cases])
    possible = beliefs > 0
    expected = expected_pay(beliefs, likeness, weights)
    expected[~possible] = -1e6  # what was seen cannot come back
    lists = {
        "maximum": np.stack([best_list(pay) for pay in expected]),
        "recommender": np.argsort(-beliefs, axis=1, kind="stable")[:, :K],
    }
    same = best_list(expected_pay(beliefs.mean(axis=0, keepdims=True), likeness, weights)[0])
    lists["one list for everybody"] = np.tile(same, (len(cases), 1))
    rewards = make_rewards(artifact)
    stage = stage_reward("recommendation", dict.fromkeys(("similarity", "hit", "rank"), 0.0) | dict(weights))
    names = np.array(catalogue.ids)
    earned = {
        name: np.array(
            [
                stage.compose(score_run(run_of(names[rows].tolist(), case), rewards))
                for rows, case in zip(chosen, cases, strict=True)
            ]
        )
        for name, chosen in lists.items()
    }
    own = ndcg(lists["recommender"], targets)
    gain = paired_interval(ndcg(lists["maximum"], targets), own)
    top = float(earned["maximum"].mean())
    return {
        "ndcg@10 of the recommender": mean_interval(own).to_dict(),
        "ndcg@10 of the maximum less the recommender's": gain.to_dict(),
        "gain": gain.text(4),
        "reward": {name: float(values.mean()) for name, values in earned.items()},
        "share of the maximum": {name: float(values.mean()) / top for name, values in earned.items()},
        "lists equal to the recommender's": float((lists["maximum"] == lists["recommender"]).all(axis=1).mean()),
    }


def run_of(
    written: Sequence[str], case: Case, searches: Sequence[tuple[str, Sequence[ScoredItem]]] | None = None
) -> RunTrace:
    """A run in the format that makes these searches and writes this list; without `searches`, one that found it."""
    found = searches if searches is not None else [("", [ScoredItem(id=item, score=0.0) for item in written])]
    turns = [
        TurnRecord(position=at, node="reason", action="retrieve", chained=True, latency_ms=0.0)
        for at in range(len(found))
    ]
    last = TurnRecord(position=len(found), node="rank", action="recommend", chained=True, latency_ms=0.0)
    return RunTrace(
        run=RunRecord(
            run_id=uuid4(),
            user_id=case.user,
            history=case.history,
            target_id=case.target,
            protocol="tagged",
            protocol_version="1",
            prompt_version="1",
            guided=False,
            k=K,
            policy_model="code",
            trm_fingerprint="",
            split="test",
        ),
        status="finished",
        incomplete=False,
        detail=None,
        started_at=None,  # type: ignore[arg-type]  # rewards read no times
        finished_at=None,
        latency_ms=None,
        ungrounded=0,
        pinned=False,
        redacted_at=None,
        turns=(*turns, last),
        retrievals=tuple(
            RetrievalRecord(position=at, turn=at, preference=text or None, k=K, items=tuple(items), latency_ms=0.0)
            for at, (text, items) in enumerate(found)
        ),
        written=tuple(
            RecommendationRecord(rank=rank, item_id=item, retrieval=0, score=None, source="written")
            for rank, item in enumerate(written, 1)
        ),
        recommended=(),
        rewards=(),
    )


def search_kinds(retriever: Retriever, cases: Sequence[Case], rng: random.Random) -> dict[str, list[list[str]]]:
    """Kind of searches -> three preferences for every case.

    The phrases that its history holds most, words that have nothing to do with the catalogue, and letters at random.
    """
    catalogue = retriever.catalogue
    sensible = []
    for case in cases:
        counts = Counter(phrase for item in case.history for phrase in catalogue.phrases_of(item))
        sensible.append([phrase for phrase, _ in counts.most_common(SEARCHES)])

    def letters() -> str:
        return " ".join("".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 9))) for _ in range(3))

    return {
        SENSIBLE: sensible,
        "off topic": [rng.sample(OFF_TOPIC, SEARCHES) for _ in cases],
        "letters": [[letters() for _ in range(SEARCHES)] for _ in cases],
    }


def judge_searches(cases: Sequence[Case], retriever: Retriever, rng: random.Random) -> dict[str, Any]:
    """What each preset pays for three searches of each kind in the stage `interaction`, on average."""
    rewards = make_rewards(retriever.artifact, retriever.encoder)
    stages = {preset: stage_reward("interaction", preset=preset) for preset in REWARD_PRESETS}
    earned: dict[str, dict[str, list[float]]] = {}
    for kind, preferences in search_kinds(retriever, cases, rng).items():
        queries = [
            Query(history=case.history, preference=text)
            for case, texts in zip(cases, preferences, strict=True)
            for text in texts
        ]
        found = iter(retriever.retrieve_batch(queries, k=RETRIEVED))
        own = earned.setdefault(kind, {})
        for case, texts in zip(cases, preferences, strict=True):
            searches = [(text, next(found)) for text in texts]
            written = list(dict.fromkeys(item.id for _, items in searches for item in items))[:K]
            components = score_run(run_of(written, case, searches), rewards)
            for name in ("diversity", "found"):
                own.setdefault(name, []).append(components[name])
            for preset, stage in stages.items():
                own.setdefault(f"reward ({preset})", []).append(stage.compose(components))
    result: dict[str, Any] = {}
    for kind, own in earned.items():
        result[kind] = {name: float(np.mean(values)) for name, values in own.items()}
        if kind != SENSIBLE:
            result[f"{kind} less {SENSIBLE}"] = {
                name: paired_interval(np.array(values), np.array(earned[SENSIBLE][name])).text(4)
                for name, values in own.items()
            }
    return result


def main() -> None:
    """Compare the presets, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True, help="a recommender that has not read the test targets")
    parser.add_argument("--data", type=Path, help="atomic files; the embedded ml-100k if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reward_maximum.json"))
    options = parser.parse_args()
    dataset, artifact = read_atomic_files(options.data or embedded_ml100k()), load_artifact(options.artifact)
    check_artifact(artifact, dataset, "valid")
    retriever = Retriever(artifact, make_encoder(str(artifact.config["encoder_id"])))
    valid, test = make_cases(dataset, "valid"), make_cases(dataset, "test")
    rows = artifact.catalogue.rows([case.target for case in valid])
    factor = calibrate(scores_of(retriever, valid), rows)
    beliefs = softmax(factor * scores_of(retriever, test), axis=1)
    result: dict[str, Any] = {"dataset": dataset.name, "artifact": artifact.fingerprint, "people": len(test)}
    result["factor of the scores"] = factor
    table = Table("lists that maximise", "NDCG@10 less the recommender's", "one list for everybody earns", box=None)
    for preset, stages in REWARD_PRESETS.items():
        judged = judge(test, artifact, beliefs, stages["recommendation"])
        result[preset] = judged
        table.add_row(preset, judged["gain"], f"{judged['share of the maximum']['one list for everybody']:.2f}")
    searches = judge_searches(test, retriever, random.Random(options.seed))
    paid = Table("three searches", *searches[SENSIBLE], box=None)
    for kind, means in searches.items():
        paid.add_row(kind, *(value if isinstance(value, str) else f"{value:.4f}" for value in means.values()))
    console = Console()
    console.print(f"{len(test)} test people; scores times {factor:.2f} are the beliefs; seen masked", highlight=False)
    console.print(table, paid)
    result["searches"] = searches
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
