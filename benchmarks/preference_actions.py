"""Can any policy learn what to ask the recommender for? Each phrase of the catalogue is asked for everybody, no model.

    deeprec trm train --without-last 6 --out .deeprec/trm/ml-100k-without6
    python -m benchmarks.preference_actions --artifact .deeprec/trm/ml-100k-without6

An action is one phrase ("comedy", "1990s") or none, its payoff the NDCG@10 of the search with it. Policies over these
actions learn from every payoff of every training target, which a run of GRPO samples a few of, and are chosen on
validation targets. What they gain on test targets is what preferences that follow from a history can be worth.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from deeprec.evals import Case, make_cases, mean_interval, ndcg_from_ranks, paired_interval
from deeprec.evals.recommenders.evaluation import check_artifact
from deeprec.trm_tool import (
    ConfigError,
    Query,
    Retriever,
    embedded_ml100k,
    load_artifact,
    make_encoder,
    read_atomic_files,
)

NONE = ""
K = 10
READ = 20
"""Items of the recommender's own list that a policy reads."""
HIDDEN = (0, 64)
"""Units of a policy's one hidden layer; 0 is a linear policy."""
DECAYS = (1e-3, 1e-2, 1e-1, 1.0)
STEPS, CHECKED = 300, 10
"""Steps of a policy on all training targets at once, and after how many each it is measured on validation."""
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Payoffs:
    """What every action brings in every case, and what a policy may look at."""

    ndcg: Array
    """NDCG@10 (cases, actions)."""
    uncut: Array
    """The same without the cut at ten, (cases, actions): a payoff for every rank, so easier to learn from."""
    features: Array
    """(cases, 4 · phrases): share of the history, its last five, its last item and the list that has each phrase."""


def weigh(retriever: Retriever, cases: Sequence[Case], actions: Sequence[str], trust: float) -> Payoffs:
    """Ask for every action in every case.

    Args:
        retriever: Has not learned the targets.
        cases: Histories and targets.
        actions: No preference, then the phrases.
        trust: Of every search, 0 to 1.
    """
    catalogue = retriever.catalogue
    true_of = {item_id: catalogue.phrases_of(item_id) for item_id in catalogue.ids}
    place = {phrase: at for at, phrase in enumerate(actions[1:])}

    def shares(item_ids: Sequence[str]) -> Array:
        known = [place[phrase] for item_id in item_ids for phrase in true_of[item_id] if phrase in place]
        return np.bincount(np.array(known, dtype=np.int64), minlength=len(place)) / max(len(item_ids), 1)

    targets = [case.target for case in cases]
    ranks = np.stack(
        [
            retriever.ranks_of(
                targets, [Query(history=case.history, preference=action, trust=trust) for case in cases]
            ).astype(np.float64)
            for action in actions
        ],
        axis=1,
    )
    lists = retriever.retrieve_batch([Query(history=case.history) for case in cases], k=READ)
    features = [
        np.concatenate([shares(part) for part in (case.history, case.history[-5:], case.history[-1:], shown)])
        for case, shown in zip(cases, ([item.id for item in own] for own in lists), strict=True)
    ]
    return Payoffs(ndcg=ndcg_from_ranks(ranks, K), uncut=1 / np.log2(ranks + 1), features=np.stack(features))


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The policy that was best on validation."""

    choices: NDArray[np.int64]
    """The action of each test case (cases,)."""
    settings: Mapping[str, float | str]
    validation: float
    """Mean NDCG@10 there: too high a figure, since it was chosen by it."""
    of: int
    """Policies that were measured there."""


def learn(train: Payoffs, valid: Payoffs, test: Payoffs, *, seed: int = 0) -> Learned:
    """Train softmax policies by the exact gradient of their expected payoff, and keep the best on validation.

    One for every number of hidden units, weight decay and payoff (`HIDDEN`, `DECAYS`, with the cut at ten and without),
    measured every `CHECKED` steps. The advantage of an action is its payoff less that of no preference.

    Args:
        train: What is learned from.
        valid: What chooses among the policies, by NDCG@10.
        test: Whose features the chosen policy answers; its payoffs are not looked at.
        seed: Of the weights and of dropout.
    """
    mean, spread = train.features.mean(axis=0), train.features.std(axis=0) + 1e-6
    seen = {
        name: torch.from_numpy((split.features - mean) / spread).float()
        for name, split in (("train", train), ("valid", valid), ("test", test))
    }
    fits = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for hidden, decay, payoff in product(HIDDEN, DECAYS, ("ndcg", "uncut")):
            brings = getattr(train, payoff)
            advantages = torch.from_numpy(brings - brings[:, :1]).float()
            policy = _policy(seen["train"].shape[1], hidden, brings.shape[1])
            optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, weight_decay=decay)
            for step in range(1, STEPS + 1):
                loss = -(torch.softmax(policy(seen["train"]), dim=1) * advantages).sum(dim=1).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if step % CHECKED == 0:
                    reached = float(_of(valid.ndcg, _choose(policy, seen["valid"])).mean())
                    settings: dict[str, float | str] = {
                        "hidden": hidden,
                        "decay": decay,
                        "payoff": payoff,
                        "steps": step,
                    }
                    fits.append((reached, settings, _choose(policy, seen["test"])))
    validation, settings, choices = max(fits, key=lambda fit: fit[0])
    return Learned(choices=choices, settings=settings, validation=validation, of=len(fits))


def _policy(width: int, hidden: int, actions: int) -> nn.Module:
    if not hidden:
        return nn.Linear(width, actions)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, actions))


@torch.inference_mode()
def _choose(policy: nn.Module, features: Tensor) -> NDArray[np.int64]:
    policy.eval()
    chosen: NDArray[np.int64] = policy(features).argmax(dim=1).numpy()
    policy.train()
    return chosen


def _of(payoffs: Array, choices: NDArray[np.int64]) -> Array:
    """The payoff of each case's choice (cases,)."""
    own: Array = payoffs[np.arange(len(payoffs)), choices]
    return own


def everybody(train: Payoffs, valid: Payoffs) -> int:
    """The action that brings most where everybody gets the same."""
    return int(np.concatenate((train.ndcg, valid.ndcg)).mean(axis=0).argmax())


def compare(train: Payoffs, valid: Payoffs, test: Payoffs, *, seed: int = 0) -> tuple[dict[str, Array], Learned]:
    """Policy in words -> NDCG@10 of each test case (cases,); and the learned policy itself.

    Args as of `learn`. The best one for everybody is chosen on training and validation together.
    """
    learned, phrases = learn(train, valid, test, seed=seed), test.features.shape[1] // 4
    favourite = 1 + test.features[:, :phrases].argmax(axis=1)
    latest = 1 + test.features[:, phrases : 2 * phrases].argmax(axis=1)
    surprising = 1 + (test.features[:, 3 * phrases :] - test.features[:, :phrases]).argmax(axis=1)
    return {
        "no preference": test.ndcg[:, 0],
        "what the history holds most": _of(test.ndcg, favourite),
        "what its last five hold most": _of(test.ndcg, latest),
        "what the list holds more than the history": _of(test.ndcg, surprising),
        "the best one for everybody": test.ndcg[:, everybody(train, valid)],
        "learned": _of(test.ndcg, learned.choices),
        "the best for each, in hindsight (oracle)": test.ndcg.max(axis=1),
    }, learned


def main() -> None:
    """Run it at each trust, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True, help="trained with --without-last POSITIONS + 1")
    parser.add_argument("--data", type=Path, help="atomic files; the embedded ml-100k if left out")
    parser.add_argument("--positions", type=int, default=5, help="training targets of each person")
    parser.add_argument("--trusts", type=float, nargs="+", default=[0.15, 0.3, 0.5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/preference_actions.json"))
    options = parser.parse_args()
    dataset, artifact = read_atomic_files(options.data or embedded_ml100k()), load_artifact(options.artifact)
    check_artifact(artifact, dataset, "train", positions=options.positions)
    unread = int(artifact.config["without_last"])
    if artifact.config["dataset_fingerprint"] != dataset.fingerprint or unread < options.positions + 1:
        raise ConfigError(
            f"The artifact is of other data than {dataset.name}, or has read the targets ({unread} of each person's "
            f"last items left out). Train one: `deeprec trm train --without-last {options.positions + 1}`."
        )
    retriever = Retriever(artifact, make_encoder(str(artifact.config["encoder_id"])))
    actions = (NONE, *artifact.catalogue.phrases())
    cases = {
        "train": make_cases(dataset, "train", positions=options.positions),
        "valid": make_cases(dataset, "valid"),
        "test": make_cases(dataset, "test"),
    }
    console, result = Console(), {}
    for trust in options.trusts:
        payoffs = [weigh(retriever, cases[split], actions, trust) for split in ("train", "valid", "test")]
        scores, learned = compare(*payoffs, seed=options.seed)
        alone = scores["no preference"]
        table = Table("one search, asking for", "NDCG@10", "less that without a preference", box=None)
        rows = {}
        for name, values in scores.items():
            own, gain = mean_interval(values, seed=options.seed), paired_interval(values, alone, seed=options.seed)
            table.add_row(name, own.text(4), gain.text(4))
            rows[name] = {"ndcg@10": own.to_dict(), "gain": gain.to_dict()}
        asked = [actions[choice] or "nothing" for choice in learned.choices]
        often = dict(Counter(asked).most_common())
        console.print(f"\nTrust {trust:g}: {len(alone)} test targets, {len(payoffs[0].ndcg)} of training, ", end="")
        console.print(f"{len(actions) - 1} phrases; seen masked, 95% intervals")
        console.print(table)
        console.print(f"learned: {dict(learned.settings)}; it asks for {often}", highlight=False)
        settings = {**learned.settings, "of": learned.of, "validation ndcg@10": learned.validation}
        unasked = float(payoffs[1].ndcg[:, 0].mean())
        known = {
            "validation ndcg@10 without a preference": unasked,
            "the best one for everybody": actions[everybody(*payoffs[:2])],
        }
        result[f"{trust:g}"] = {"policies": rows, "learned": settings, "asked": often, **known}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sizes = {split: len(own) for split, own in cases.items()}
    data = {
        "dataset": dataset.name,
        "artifact": artifact.fingerprint,
        "trust": artifact.config["trust"],
        "cases": sizes,
    }
    written = {**data, "seed": options.seed, "actions": actions[1:], "by trust": result}
    options.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
