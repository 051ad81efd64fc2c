"""Which of the phrases that people say are on offer, and at which position.

    deeprec data make-requests FOLDER --out made.jsonl --words test --split test
    python -m benchmarks.offered_phrases --artifact .deeprec/trm/ml-100k --requests made.jsonl

Both choices are compared: that of prompts with a catalogue card, and that of guided runs without one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeprec.agent.graph.offered_phrases import (
    MAX_OFFERED,
    MESSAGE_ITEMS,
    common_phrases,
    message_phrases,
    named_phrases,
    offered_phrases,
    phrases_for,
    split_refused,
)
from deeprec.trm_tool import Retriever
from deeprec.trm_tool.catalogue.phrase_spotting import PhraseSpotter
from deeprec.trm_tool.data import Request, read_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFigures:
    """Figures over all requests."""

    on_offer: float
    """Share of the said phrases that are on offer, of those that the catalogue knows."""
    position: float
    """Mean position of those, from 1."""
    offers: float
    """Mean number of phrases on offer."""


def measure(requests: Sequence[Request], choose: Callable[[Request], Sequence[str]], known: set[str]) -> OfferFigures:
    """Compare what requests say with what a choice offers for them."""
    positions, said, offers = list[int](), 0, list[int]()
    for request in requests:
        offered = list(choose(request))
        offers.append(len(offered))
        for phrase in (phrase for wish in request.said or () for phrase in (*wish.wanted, *wish.unwanted)):
            said += phrase in known
            positions += [offered.index(phrase) + 1] if phrase in offered else []
    return OfferFigures(
        on_offer=len(positions) / said if said else float("nan"),
        position=float(np.mean(positions)) if positions else float("nan"),
        offers=float(np.mean(offers)),
    )


def choices(retriever: Retriever) -> dict[str, Callable[[Request], Sequence[str]]]:
    """The two choices, as the graph makes them."""
    catalogue = retriever.catalogue
    common = common_phrases(catalogue)
    spotter = PhraseSpotter(common)

    def found(text: str) -> list[str]:
        return [item.id for item in retriever.retrieve([], text, k=MESSAGE_ITEMS)] if text else []

    def without_card(request: Request) -> Sequence[str]:
        wanted, refused = split_refused(request.message)
        chosen = message_phrases(
            wanted,
            refused,
            found=found(wanted),
            found_refused=found(refused),
            catalogue=catalogue,
            common=common,
        )
        return chosen or phrases_for(request.history, catalogue, common)

    def with_card(request: Request) -> Sequence[str]:
        closest = retriever.closest_phrases(request.message, MAX_OFFERED)
        return offered_phrases([*named_phrases(request.message, spotter), *closest], request.history, catalogue, common)

    return {"without a card": without_card, "with a card": with_card}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    options = parser.parse_args()
    retriever = Retriever.load(options.artifact)
    requests = list(read_requests(options.requests, catalogue=retriever.catalogue))
    known = set(retriever.catalogue.phrases())
    for name, choose in choices(retriever).items():
        figures = measure(requests, choose, known)
        print(
            f"{name}: {figures.on_offer:.3f} of the said phrases on offer, at position {figures.position:.2f} "
            f"of {figures.offers:.1f} ({len(requests)} requests)"
        )


if __name__ == "__main__":
    main()
