"""How often lists break what words plainly say: `python -m tools.listening.plain_obedience ARTIFACT --data FOLDER`.

Requests are made in test words, each with a refusal or a bound. No model writes anything: the list is the recommender's
own for the history and the words, under what the message plainly states, and without it. Each list is checked against
the catalogue and what the request means, not against what was read of its words.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deeprec.agent import AgentConfig, build_graph
from deeprec.trm_tool import PreferenceReader, Retriever, Where, read_atomic_files
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.data import MadeRequestConfig, Request, RequestMaker
from deeprec.trm_tool.data.atomic_files import embedded_ml100k
from tools.listening.constraint_obedience import ScriptedProtocol


async def measure(requests: Sequence[Request], retriever: Retriever) -> dict[str, Any]:
    """Count the lists that break what their request refuses or bounds, without plain words and with them.

    Returns:
        `before` and `after`: lists with an item that breaks something; `stated`: constraints that were found in the
        messages, `true` and `false` by whether the target passes them.
    """
    catalogue, reader = retriever.catalogue, PreferenceReader(retriever.catalogue)
    index, counts = AttributeIndex(catalogue), Counter[str]()
    wrong: list[list[str]] = []
    # What no catalogue has leaves the preference empty: the recommender has the history and the words.
    graph = build_graph(None, retriever, protocol=ScriptedProtocol(["not zzzz"]), config=AgentConfig(k=10))
    for done, request in enumerate(requests):
        if done % 100 == 0:
            print(f"{done} of {len(requests)}", dict(counts), file=sys.stderr, flush=True)
        meant: dict[str, list[Where]] = {"refusal": [], "bound": []}
        for said in request.said or ():
            refused = "; ".join(f"not {phrase}" for phrase in said.unwanted)
            meant["refusal"] += [each.where for each in reader.read(refused).constraints]
            meant["bound"] += [said.where] if said.where else []
        kept = {kind: np.logical_and.reduce([index.filter(w).mask for w in ws]) for kind, ws in meant.items() if ws}
        for kind in kept:
            counts[f"requests with a {kind}"] += 1
        for name, enforces in (("before", False), ("after", True)):
            output: Mapping[str, Any] = await graph.ainvoke(
                {"history": list(request.history), "message": request.message, "settings": {"enforces_words": enforces}}
            )
            rows = [catalogue.row(item["item_id"]) for item in output["recommendations"]]
            for kind, mask in kept.items():
                counts[f"{name}: lists that break a {kind}"] += int(not mask[rows].all())
                counts[f"{name}: items that break a {kind}"] += int((~mask[rows]).sum())
            counts[f"{name}: items"] += len(rows)
            counts[f"{name}: targets listed"] += int(catalogue.row(request.targets[0]) in rows)
        targets = [catalogue.row(target) for target in request.targets]
        counts["weighed as the closest phrase"] += sum("words" in each for each in output["constraints"]["guessed"])
        for each in output["constraints"]["hard"]:
            is_true = index.filter(each["where"]).mask[targets].any()
            counts["stated and true" if is_true else "stated and false"] += 1
            if not is_true:
                wrong.append([request.message, each["text"]])
    return {"requests": len(requests), **counts, "false": wrong[:20]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--data", type=Path, help="Folder of atomic files; the embedded ml-100k without it.")
    parser.add_argument("--words", choices=("training", "test"), default="test")
    parser.add_argument("--requests", type=int, default=1000)
    asked = parser.parse_args()
    dataset = read_atomic_files(asked.data or embedded_ml100k())
    config = MadeRequestConfig(
        words=asked.words, split="test", negations=0.8, bounds=0.8, second_wishes=0.0, per_person=4
    )
    made = (
        each for each in RequestMaker(dataset, config).make() if any(s.unwanted or s.where for s in each.said or ())
    )
    found = asyncio.run(measure(list(islice(made, asked.requests)), Retriever.load(asked.artifact)))
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
