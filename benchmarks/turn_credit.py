"""How fast does a policy learn with one advantage a run, and with credit by turn and by position of the list?

    python -m benchmarks.turn_credit --artifact .deeprec/trm/ml-100k-holdout3

The policy is small, so that it learns in minutes on a CPU what a language model learns in days: two softmax choices of
a phrase to retrieve by, and a Plackett-Luce ranking of what was found, 29 weights in all. Requests are made, the
recommender is real, rewards and credit are those that GRPO takes. Only the credit differs between the two policies of
a seed, which draw from the same requests with the same random numbers at first.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.reward_maximum import run_of
from deeprec.agent import fuse_rankings
from deeprec.evals import Case, make_rewards, ndcg_at_k, paired_interval, score_run
from deeprec.evals.requests.request_cases import made_request_cases
from deeprec.training import advantages, credit_parts, stage_reward
from deeprec.trm_tool import (
    Query,
    Retriever,
    ScoredItem,
    embedded_ml100k,
    load_artifact,
    make_encoder,
    read_atomic_files,
)

CREDITS = ("run", "token")
SEARCHES, PHRASES, RETRIEVED, K = 2, 12, 10, 10
FEATURES = 5
STAGE = stage_reward("recommendation")
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Task:
    """One request with what every choice finds."""

    case: Case
    found: tuple[tuple[str, ...], ...]
    """The items of each phrase, best first."""
    fits: dict[str, tuple[float, float]]
    """Item -> how many of the message's closest phrases and of the history's commonest are true of it."""


def make_tasks(retriever: Retriever, cases: Sequence[Case]) -> list[Task]:
    """Retrieve by the phrases closest to each message and by those that its history holds most."""
    catalogue, choices = retriever.catalogue, []
    for case in cases:
        held = Counter(phrase for item in case.history for phrase in catalogue.phrases_of(item))
        closest = retriever.closest_phrases(case.message or "", PHRASES // 2)
        common = [phrase for phrase, _ in held.most_common() if phrase not in closest][: PHRASES - len(closest)]
        choices.append((closest, common))
    queries = [
        Query(history=case.history, preference=phrase)
        for case, (closest, common) in zip(cases, choices, strict=True)
        for phrase in (*closest, *common)
    ]
    lists = iter(retriever.retrieve_batch(queries, k=RETRIEVED))
    tasks = []
    for case, (closest, common) in zip(cases, choices, strict=True):
        found = tuple(tuple(item.id for item in next(lists)) for _ in (*closest, *common))
        items = {item for row in found for item in row}
        true_of = {item: set(catalogue.phrases_of(item)) for item in items}
        fits = {
            item: (float(len(own & set(closest[:3]))), float(len(own & set(common[:3]))))
            for item, own in true_of.items()
        }
        tasks.append(Task(case, found, fits))
    return tasks


@dataclass(frozen=True, slots=True)
class Drawn:
    """A run of the policy, with the gradient of the log-probability of each of its parts."""

    searches: tuple[int, ...]
    written: tuple[str, ...]
    of_searches: Array
    """(searches, weights)"""
    of_positions: Array
    """(positions, weights)"""


def draw(task: Task, weights: Array, rng: np.random.Generator | None) -> Drawn:
    """Run the policy once; without `rng` it takes the likeliest choice each time."""
    chosen, of_searches = list[int](), np.zeros((SEARCHES, weights.size))
    for turn in range(SEARCHES):
        logits = weights[turn * PHRASES : turn * PHRASES + len(task.found)].copy()
        logits[chosen] = -np.inf
        shares = _softmax(logits)
        pick = int(shares.argmax() if rng is None else rng.choice(shares.size, p=shares))
        of_searches[turn, turn * PHRASES : turn * PHRASES + shares.size] = -shares
        of_searches[turn, turn * PHRASES + pick] += 1
        chosen.append(pick)
    fused = list(fuse_rankings(task.found[pick] for pick in chosen))
    ranks = [{item: at for at, item in enumerate(task.found[pick], start=1)} for pick in chosen]
    features = np.array(
        [
            [
                1 / math.log2(at + 1),
                1 / min(rank.get(item, math.inf) for rank in ranks),
                float(all(item in rank for rank in ranks)),
                *task.fits[item],
            ]
            for at, item in enumerate(fused, start=1)
        ]
    )
    left, written, of_positions = list(range(len(fused))), list[str](), np.zeros((min(K, len(fused)), weights.size))
    for position in range(len(of_positions)):
        shares = _softmax(features[left] @ weights[-FEATURES:])
        pick = int(shares.argmax() if rng is None else rng.choice(shares.size, p=shares))
        of_positions[position, -FEATURES:] = features[left[pick]] - shares @ features[left]
        written.append(fused[left.pop(pick)])
    return Drawn(tuple(chosen), tuple(written), of_searches, of_positions)


def gradient(task: Task, drawn: Sequence[Drawn], credit: str) -> tuple[Array, float]:
    """The policy gradient of one group, and its mean reward."""
    rewards = make_rewards()
    traces = [
        run_of(
            each.written, task.case, [("?", [ScoredItem(item, 0.0) for item in task.found[at]]) for at in each.searches]
        )
        for each in drawn
    ]
    components = [score_run(trace, rewards) for trace in traces]
    earned = [STAGE.compose(own) for own in components]
    if credit == "run":
        total = sum(
            own * (each.of_searches.sum(axis=0) + each.of_positions.sum(axis=0))
            for own, each in zip(advantages(earned), drawn, strict=True)
        )
    else:
        total = sum(
            part.retrievals @ each.of_searches + part.positions @ each.of_positions
            for part, each in zip(credit_parts(traces, components, stage=STAGE), drawn, strict=True)
        )
    return np.asarray(total) / len(drawn), float(np.mean(earned))


def learn(
    train: Sequence[Task],
    test: Sequence[Task],
    credit: str,
    *,
    steps: int,
    rate: float,
    seed: int,
    every: int,
    groups: int = 8,
    size: int = 8,
) -> dict[str, Any]:
    """Train a policy with Adam on `groups` requests a step and `size` runs of each, and measure it as it goes.

    Returns:
        `ndcg`, (measurements, test requests), of the likeliest list before the first step and after every `every`
        steps; `reward`, (steps,), the mean of each step's runs.
    """
    rng, weights = np.random.default_rng(seed), np.zeros(SEARCHES * PHRASES + FEATURES)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    order = np.random.default_rng(seed).permutation(len(train))
    measured, rewards = [measure(test, weights)], []
    for step in range(1, steps + 1):
        found = []
        for number in range(groups):
            task = train[order[((step - 1) * groups + number) % len(train)]]
            found.append(gradient(task, [draw(task, weights, rng) for _ in range(size)], credit))
        total = np.mean([each for each, _ in found], axis=0)
        rewards.append(float(np.mean([reward for _, reward in found])))
        mean, square = 0.9 * mean + 0.1 * total, 0.99 * square + 0.01 * total**2
        weights += rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
        if step % every == 0:
            measured.append(measure(test, weights))
    return {"ndcg": np.array(measured), "reward": np.array(rewards)}


def measure(tasks: Sequence[Task], weights: Array) -> Array:
    """NDCG@10 of the likeliest list of each request, (tasks,)."""
    return np.array([ndcg_at_k(draw(task, weights, None).written, [task.case.target], K) for task in tasks])


def reached(ndcg: Array, level: float, every: int) -> float:
    """The first step at which the mean NDCG is at a level; infinite where it never is."""
    at = np.flatnonzero(ndcg.mean(axis=1) >= level)
    return float(at[0] * every) if at.size else math.inf


def _softmax(logits: Array) -> Array:
    shares = np.exp(logits - logits.max())
    return np.asarray(shares / shares.sum())


def main() -> None:
    """Train both policies for every seed, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True, help="a recommender of `trm train --holdout 3`")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--groups", type=int, default=8, help="requests of one step")
    parser.add_argument("--size", type=int, default=8, help="runs of each")
    parser.add_argument("--every", type=int, default=5, help="steps between two measurements")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.03, 0.1])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", type=int, help="training requests; all if left out")
    parser.add_argument("--test", type=int, default=300, help="test requests that are measured")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/turn_credit.json"))
    options = parser.parse_args()
    dataset, artifact = read_atomic_files(embedded_ml100k()), load_artifact(options.artifact)
    retriever = Retriever(artifact, make_encoder(str(artifact.config["encoder_id"])))
    asked = made_request_cases(dataset, retriever.catalogue, "train", words="training").cases
    train = make_tasks(retriever, asked[: options.train])
    test = make_tasks(retriever, made_request_cases(dataset, retriever.catalogue, "test").cases[: options.test])
    console, result = Console(highlight=False), list[dict[str, Any]]()
    table = Table(
        "rate", "NDCG@10, run", "token", "token less run", "reward, token less run", "steps to equal", box=None
    )
    for rate in options.rates:
        settings: dict[str, Any] = {
            "steps": options.steps,
            "rate": rate,
            "every": options.every,
            "groups": options.groups,
            "size": options.size,
        }
        learned = {
            credit: [learn(train, test, credit, seed=seed, **settings) for seed in range(options.seeds)]
            for credit in CREDITS
        }
        curves = {credit: np.mean([each["ndcg"] for each in runs], axis=0) for credit, runs in learned.items()}
        last = paired_interval(curves["token"][-1], curves["run"][-1])
        steps_to = [
            {
                credit: reached(learned[credit][seed]["ndcg"], learned["run"][seed]["ndcg"][-1].mean(), options.every)
                for credit in CREDITS
            }
            for seed in range(options.seeds)
        ]
        rewards = {credit: np.array([each["reward"].mean() for each in runs]) for credit, runs in learned.items()}
        earned = paired_interval(rewards["token"], rewards["run"])  # by seed
        ends = {credit: float(curve[-1].mean()) for credit, curve in curves.items()}
        table.add_row(
            f"{rate:g}",
            f"{ends['run']:.4f}",
            f"{ends['token']:.4f}",
            last.text(4),
            f"{rewards['run'].mean():.4f}: {earned.text(4)}",
            ", ".join(f"{each['token']:g} ({each['run']:g})" for each in steps_to),
        )
        result.append(
            {
                **settings,
                "before": float(curves["run"][0].mean()),
                "last": ends,
                "last, token less run": last.to_dict(),
                "mean reward of all steps": {credit: float(own.mean()) for credit, own in rewards.items()},
                "mean reward, token less run": earned.to_dict(),
                "by seed, token less run": [
                    float(learned["token"][seed]["ndcg"][-1].mean() - learned["run"][seed]["ndcg"][-1].mean())
                    for seed in range(options.seeds)
                ],
                "steps to run's last": [{name: str(steps) for name, steps in each.items()} for each in steps_to],
                "ndcg by measurement": {credit: curve.mean(axis=1).tolist() for credit, curve in curves.items()},
            }
        )
        console.print(table)
        written = {"artifact": artifact.fingerprint, "train": len(train), "test": len(test), "by rate": result}
        options.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
