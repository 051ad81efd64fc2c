"""Metrics of one stored run: pure functions of its trace, of which every table and report is made.

The list as the model wrote it and the list as it was filled are measured side by side. Where there is one target, its
reciprocal rank says everything: Recall, NDCG and MRR at any cutoff follow from it (`ranks_from_reciprocals`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from deeprec.agent.traces import RunTrace
from deeprec.evals.metrics.ranking import reciprocal_rank
from deeprec.evals.metrics.rewards import format_fault
from deeprec.trm_tool.recommender import CatalogueView
from deeprec.trm_tool.trm.artifact import Artifact

_SHORTEST_TITLE = 4
MeasureList = Callable[[Sequence[str]], dict[str, float]]
"""A list of item ids -> what it is like, by name."""


def measure_run(trace: RunTrace, measure_list: MeasureList | None = None) -> dict[str, float]:
    """Measure a run that has ended.

    Args:
        trace: The run.
        measure_list: Measures of the shown list that need the catalogue (`make_list_measures`); None leaves them out.

    Returns:
        by name, NaN where it cannot be computed:

        - `rr_written`, `rr_filled`: reciprocal rank of the target in the whole list, 0 where it is not in it. A run
          that fell back wrote nothing: 0.
        - `found`: 1 where a retrieval brought the target back, `found_in`: the first such retrieval, counted from 1.
        - `calls`; `items_found`, all different ones; `new_per_call`, the mean number of items that a call after the
          first brought and no earlier one had.
        - `listed`, different items that the model wrote; `repeated`, `ungrounded`, entries beside those; `valid`, 1
          where the format held.
        - `seen`, items of either list that are in the history: masked nowhere, or not as elsewhere.
        - `in_history`, 1 where the target itself is: shown from the start, and masked.
        - `tokens`, written by the policy; `prompt_tokens`, of the whole chain before the last completion; `seconds`.
    """
    target = trace.run.target_id
    written = [place.item_id for place in trace.written]
    shown = [place.item_id for place in trace.recommended]
    relevant = set() if target is None else {target}
    seen: set[str] = set()
    new, found_in = [], math.nan
    for number, retrieval in enumerate(trace.retrievals, start=1):
        items = {item.id for item in retrieval.items}
        if target in items and math.isnan(found_in):
            found_in = float(number)
        new.append(len(items - seen))
        seen |= items
    measures = {
        "rr_written": reciprocal_rank(written, relevant),
        "rr_filled": reciprocal_rank(shown, relevant),
        "found": math.nan if target is None else float(target in seen),
        "found_in": found_in,
        "calls": float(len(trace.retrievals)),
        "items_found": float(len(seen)),
        "new_per_call": float(np.mean(new[1:])) if len(new) > 1 else math.nan,
        "listed": float(len(set(written))),
        "repeated": float(len(written) - len(set(written))),
        "ungrounded": float(trace.ungrounded),
        "seen": float(len({*shown, *written} & set(trace.run.history))),
        "in_history": math.nan if target is None else float(target in trace.run.history),
        "valid": float(format_fault(trace) is None) if trace.turns else math.nan,
        "tokens": float(sum(turn.completion_tokens for turn in trace.turns)),
        "prompt_tokens": float(trace.turns[-1].prompt_tokens) if trace.turns else 0.0,
        "seconds": math.nan if trace.latency_ms is None else trace.latency_ms / 1000,
    }
    return measures | ({} if measure_list is None else measure_list(shown))


def make_list_measures(artifact: Artifact) -> MeasureList:
    """Build what is measured on a list with the recommender's catalogue at hand.

    Returns:
        f(item ids) -> `diversity`, 1 minus the mean pairwise cosine of the items' text embeddings, NaN below two items;
        `popularity`, the mean share of the catalogue that was interacted with less than the item in training (0 for
        the least, ties count half), NaN for an empty list. Items that the catalogue lacks are left out.

    Source:
        Ziegler et al. 2005, doi:10.1145/1060745.1060754 (intra-list similarity); Abdollahpouri et al. 2019,
        arXiv:1901.07555 (popularity of what is recommended).
    """
    texts = torch.nn.functional.normalize(artifact.text_embeddings.double(), dim=-1).cpu().numpy()
    counts = np.asarray(artifact.popularity, dtype=np.float64)
    ordered = np.sort(counts)
    below, up_to = np.searchsorted(ordered, counts, "left"), np.searchsorted(ordered, counts, "right")
    percentile = (below + up_to) / 2 / len(counts)  # (items,)
    catalogue = artifact.catalogue

    def measure(listed: Sequence[str]) -> dict[str, float]:
        rows = catalogue.rows([item for item in dict.fromkeys(listed) if item in catalogue])
        alike = (texts[rows] @ texts[rows].T)[np.triu_indices(len(rows), k=1)]
        return {
            "diversity": float(1 - alike.mean()) if len(rows) > 1 else math.nan,
            "popularity": float(percentile[rows].mean()) if len(rows) else math.nan,
        }

    return measure


def names_target(trace: RunTrace, titles: CatalogueView) -> float:
    """1 where a preference holds the title of the target although nothing had shown it: a leak, or a good memory.

    Shown means: in the message, in the history, or found by an earlier retrieval, under any item of that title.
    NaN for a run without a target or without a preference; titles of fewer than four letters are not looked for.
    """
    target = trace.run.target_id
    asked = [retrieval for retrieval in trace.retrievals if retrieval.preference]
    if target is None or target not in titles or not asked:
        return math.nan
    title = titles.item(target).title.casefold().strip()
    if len(title) < _SHORTEST_TITLE or title in (trace.run.message or "").casefold():
        return 0.0
    shown = {titles.item(item).title.casefold() for item in trace.run.history if item in titles}
    for retrieval in asked:
        if title not in shown and title in str(retrieval.preference).casefold():
            return 1.0
        shown |= {titles.item(item.id).title.casefold() for item in retrieval.items if item.id in titles}
    return 0.0


def ranks_from_reciprocals(reciprocals: ArrayLike) -> NDArray[np.float64]:
    """Ranks (n,) for `recall_from_ranks` and its like out of stored reciprocal ranks; infinite for 0, NaN stays NaN."""
    stored = np.asarray(reciprocals, dtype=np.float64)
    with np.errstate(divide="ignore"):
        ranks: NDArray[np.float64] = np.rint(1 / stored)
    return ranks
