"""Does the embedded policy learn faster with credit by turn and by position than with one advantage a list?

    deeprec train ablation benchmarks/credit_in_words.yaml --out OUT
    python -m benchmarks.credit_in_words OUT

The ablation trains both on the same requests with the same seeds. Here the two rows of a seed are compared with each
other, by person, and the rewards of their training steps are set beside each other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from deeprec.agent import TraceStore
from deeprec.evals import load_results, mean_interval, paired_interval
from deeprec.evals.cli.terminal_table import terminal_table
from deeprec.training import load_ablation_plan
from deeprec.training.ablation.results import STORE_FILE, read_row
from deeprec.training.ablation.row_training import PARTS

PLAN = Path(__file__).with_suffix(".yaml")
RESULTS = Path(__file__).parent / "results" / f"{PLAN.stem}.json"
MEASURE = "ndcg@10 filled"
ONE, BOTH = "full", "turn-credit"
SEEDS = ("", "-1")
"""What follows the names of the two rows for each seed."""
LAST = 8
"""Steps at the end of a training whose rewards are averaged."""


def main() -> None:
    """Compare the rows that are done; print tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder of the ablation")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the file for the figures")
    options = parser.parse_args()
    values, rewards = read(options.out)
    console = Console(width=120, highlight=False)
    table = terminal_table(f"NDCG@10 of {len(next(iter(values.values())))} people", "row", "mean", "less warm-start")
    for name, own in values.items():
        less = paired_interval(own, values["warm-start"]).text(signed=True) if name != "warm-start" else ""
        table.add_row(name, mean_interval(own).text(), less)
    console.print(table)
    differences = {
        f"{BOTH}{seed} less {ONE}{seed}": values[BOTH + seed] - values[ONE + seed]
        for seed in SEEDS
        if {BOTH + seed, ONE + seed} <= set(values)
    }
    differences[f"the mean of {len(differences)} seeds"] = np.mean(list(differences.values()), axis=0)
    for name, difference in differences.items():
        console.print(f"{name}: {mean_interval(difference).text(signed=True)}")
    table = terminal_table(
        "Rewards of the steps of training", "row", "mean", f"last {LAST}", "steps without a gradient"
    )
    for name, steps in rewards.items():
        means = [step["reward"] for step in steps]
        idle = sum(step["rollouts/trained"] == 0 for step in steps)
        table.add_row(name, f"{np.mean(means):.2f}", f"{np.mean(means[-LAST:]):.2f}", f"{idle} of {len(steps)}")
    console.print(table)
    figures = {
        "measure": MEASURE,
        "rows": {name: mean_interval(own).to_dict() for name, own in values.items()},
        "differences": {name: mean_interval(own).to_dict() for name, own in differences.items()},
        "steps": rewards,
    }
    options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def read(out: Path) -> tuple[dict[str, NDArray[np.float64]], Mapping[str, Sequence[Mapping[str, Any]]]]:
    """Read what the rows that are done show.

    Returns:
        Row -> NDCG@10 (people,), the same people in the same order; and row -> the log of its steps of training.
    """
    values, steps = dict[str, NDArray[np.float64]](), dict[str, list[dict[str, Any]]]()
    people = set[tuple[str, ...]]()
    with TraceStore(str(out / STORE_FILE), create=False) as store:
        for name, settings in load_ablation_plan(PLAN).settings().items():
            row = read_row(out, name)
            if row is None or row.suite is None:
                continue
            system = load_results(store, row.suite).system(name)
            values[name] = system.measures[MEASURE]
            people.add(system.users)
            for part in settings.parts:
                for stage in part.config.stages if part.kind != "dpo" else ():
                    log = (out / PARTS / part.id / stage.stage / "log.jsonl").read_text(encoding="utf-8")
                    kept = ("step", "reward", "entropy", "grad_norm", "rollouts/trained")
                    own = [json.loads(line) for line in log.splitlines()]
                    steps[name] = [{key: step[key] for key in kept if key in step} for step in own]
    assert len(people) == 1, "the rows have different people"
    return values, steps


if __name__ == "__main__":
    main()
