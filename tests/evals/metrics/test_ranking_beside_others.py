"""Our rank metrics against two others' on random rankings, to 1e-9."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from deeprec.evals import ndcg_at_k, recall_at_k, reciprocal_rank

CUTOFFS = (1, 3, 5, 10, 20)
ITEMS = 60


def random_rankings(queries: int, *, relevant: int) -> tuple[list[list[str]], list[list[str]]]:
    """Rankings of all items, and the relevant ones of each: one to `relevant` of them."""
    rng = np.random.default_rng(4)
    names = np.array([f"i{number}" for number in range(ITEMS)])
    ranked = [list(rng.permutation(names)) for _ in range(queries)]
    wanted = [list(rng.choice(names, size=rng.integers(1, relevant + 1), replace=False)) for _ in range(queries)]
    return ranked, wanted


OURS: dict[str, Callable[[list[str], list[str], int], float]] = {
    "recall": recall_at_k,
    "ndcg": ndcg_at_k,
    "mrr": reciprocal_rank,
    "hit": lambda ranked, wanted, k: float(reciprocal_rank(ranked, wanted, k) > 0),
}


def ours(metric: str, ranked: list[list[str]], wanted: list[list[str]], k: int) -> float:
    return float(np.mean([OURS[metric](own, relevant, k) for own, relevant in zip(ranked, wanted, strict=True)]))


@pytest.mark.slow  # compiles
@pytest.mark.filterwarnings("default", "ignore:.*unsafe cast")  # numba, of what ranx compiles
def test_ranx_agrees() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranx = pytest.importorskip("ranx", reason="needs ranx, of the extra [dev]")
    ranked, wanted = random_rankings(200, relevant=4)
    qrels = ranx.Qrels({f"q{n}": dict.fromkeys(relevant, 1) for n, relevant in enumerate(wanted)})
    run = ranx.Run(
        {f"q{n}": {item: float(ITEMS - place) for place, item in enumerate(own)} for n, own in enumerate(ranked)}
    )
    names = {"recall": "recall", "ndcg": "ndcg", "mrr": "mrr", "hit": "hit_rate"}
    for metric, name in names.items():
        for k in CUTOFFS:
            theirs = float(ranx.evaluate(qrels, run, f"{name}@{k}"))
            assert ours(metric, ranked, wanted, k) == pytest.approx(theirs, abs=1e-9), (metric, k)


def test_recboles_evaluator_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from recbole.evaluator import metrics
    from recbole.evaluator.collector import DataStruct

    monkeypatch.setattr(np, "float", float, raising=False)  # gone from NumPy, and still in RecBole
    ranked, wanted = random_rankings(200, relevant=4)
    width = max(CUTOFFS)
    rows = [
        [*(int(item in relevant) for item in own[:width]), len(relevant)]
        for own, relevant in zip(ranked, wanted, strict=True)
    ]
    collected = DataStruct()
    collected["rec.topk"] = torch.tensor(rows)
    config = {"topk": list(CUTOFFS), "metric_decimal_place": 15}
    for metric, kind in {
        "recall": metrics.Recall,
        "ndcg": metrics.NDCG,
        "mrr": metrics.MRR,
        "hit": metrics.Hit,
    }.items():
        theirs = kind(config).calculate_metric(collected)
        for k in CUTOFFS:
            assert ours(metric, ranked, wanted, k) == pytest.approx(float(theirs[f"{metric}@{k}"]), abs=1e-9)
