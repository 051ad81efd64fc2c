"""How Recall@10 moves with trust in the preference, from none to full, for exact, partial, reworded and wrong ones.

python -m benchmarks.trust_curve ARTIFACT --out trust_curve.json --plot trust.png
"""

import json
from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from rich.console import Console
from rich.table import Table

from deeprec.evals import evaluate_systems, make_cases, make_trm_system
from deeprec.evals.recommenders.evaluation import check_artifact
from deeprec.evals.recommenders.preference_conditions import Condition, make_conditions
from deeprec.trm_tool import embedded_ml100k, load_artifact, make_encoder, read_atomic_files
from deeprec.trm_tool.trm.training.trust_calibration import TRUSTS

NONE = "no preference"


def draw(curves: dict[str, list[float]], chosen: float, title: str, path: Path) -> None:
    """Draw one line a condition, the artifact's own trust marked."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.5))
    for name, values in curves.items():
        axes.plot(TRUSTS, values, marker="o", markersize=3, label=name)
    axes.axhline(curves[next(iter(curves))][0], color="grey", linewidth=1, linestyle=":", label=NONE)
    axes.axvline(chosen, color="black", linewidth=1, linestyle="--", label="trust chosen on validation")
    axes.set(xlabel="trust in the preference", ylabel="Recall@10, seen items masked", title=title, ylim=(0, None))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    artifact: Annotated[Path, typer.Argument(help="A folder from `deeprec trm train`.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    plot: Annotated[Path | None, typer.Option(help="PNG to draw.")] = None,
    data: Annotated[Path | None, typer.Option(help="Atomic files; the embedded ml-100k if left out.")] = None,
    split: Annotated[str, typer.Option(help="test or valid.")] = "test",
    seed: Annotated[int, typer.Option(help="Of the conditions' draws.")] = 0,
) -> None:
    """Evaluate every condition at every trust; print, write and draw."""
    dataset, loaded = read_atomic_files(data or embedded_ml100k()), load_artifact(artifact)
    check_artifact(loaded, dataset, split)
    cases = make_cases(dataset, split)
    encoder = make_encoder(str(loaded.config["encoder_id"]))
    conditions = make_conditions(cases, loaded.catalogue, loaded.popularity.tolist(), seed=seed)

    def recall(condition: Condition, trust: float) -> float:
        system = make_trm_system(condition.name, loaded, encoder, preferences=condition.preferences, trust=trust)
        return evaluate_systems([system], cases, loaded.catalogue)[0].metrics["recall@10"].mean

    curves = {each.name: [round(recall(each, trust), 4) for trust in TRUSTS] for each in conditions}
    chosen = float(loaded.config["trust"])
    title = f"{dataset.name}, {split} targets of {len(cases)} users"
    table = Table("trust", *curves, title=f"Recall@10, seen items masked: {title}")
    for index, trust in enumerate(TRUSTS):
        table.add_row(f"{trust:g}{' *' if trust == chosen else ''}", *(f"{curves[name][index]:.4f}" for name in curves))
    console = Console()
    console.print(table)
    console.print(f"* chosen on validation by training. Artifact {loaded.fingerprint}.", highlight=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "dataset": dataset.name,
        "split": split,
        "cases": len(cases),
        "dataset_fingerprint": dataset.fingerprint,
        "artifact_fingerprint": loaded.fingerprint,
        "seed": seed,
        "trusts": list(TRUSTS),
        "chosen": chosen,
        "recall@10, seen items masked": curves,
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        draw(curves, chosen, title, plot)


if __name__ == "__main__":
    typer.run(main)
