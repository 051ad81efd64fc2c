"""What German costs: `python -m tools.listening.second_language ARTIFACT --data FOLDER --people 300`.

The same made requests are said in the test words and in German (`german_words.py`), by the same people with the same
targets. For each language: which of the wanted values are among the phrases that are closest to the message, which
refusals and bounds are found without a model, and the lists of the recommender (words alone; history and words) and of
the shopping agent by rules. Differences are German less English, paired by person, with 95% intervals.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from deeprec.agent import AgentConfig
from deeprec.agent.shopping import build_shopping_agent
from deeprec.evals import (
    make_graph_agent,
    make_last_message_agent,
    mean_interval,
    ndcg_at_k,
    paired_interval,
    recall_at_k,
)
from deeprec.trm_tool import PreferenceReader, Retriever, read_atomic_files
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.catalogue.plain_constraints import PlainConstraints
from deeprec.trm_tool.data import MadeRequestConfig, Request, RequestMaker
from deeprec.trm_tool.data.atomic_files import embedded_ml100k
from tools.listening.german_words import GERMAN_WORDS

K = 10
NEAREST = 8
"""Phrases closest to a message, among which the wanted ones are looked for."""
Values = dict[str, list[float]]
"""Measure -> its value for each person; NaN where one has none."""


async def measure(requests: Sequence[Request], retriever: Retriever) -> Values:
    """Measure what is heard of requests in one language, and what is listed for them."""
    catalogue, reader = retriever.catalogue, PreferenceReader(retriever.catalogue)
    index, plain = AttributeIndex(catalogue), PlainConstraints(catalogue, reader)
    rules = build_shopping_agent(None, retriever, config=AgentConfig(k=K), checkpointer=InMemorySaver())
    agent, words = make_graph_agent(rules), make_last_message_agent(retriever, k=K)
    values: Values = defaultdict(list)
    for number, request in enumerate(requests):
        [said] = request.said or ()
        near = retriever.closest_phrases(request.message, NEAREST)
        values["wanted values heard"].append(sum(each in near for each in said.wanted) / len(said.wanted))
        targets = [catalogue.row(target) for target in request.targets]
        found = [each for each, _ in plain.read(request.message).constraints]
        is_true = [bool(index.filter(each.where).mask[targets].all()) for each in found]
        bounded = {name for each in found if each.kind == "bound" for name in each.where}
        meant = set(said.where or ())
        values["bounds found"].append(len(meant & bounded) / len(meant) if meant else float("nan"))
        values["constraints that the target breaks"].append(float(is_true.count(False)))
        message = [{"role": "user", "content": request.message}]
        thread = f"{number}"
        lists = {
            "words alone": await words(message, thread=thread, history=()),
            "history and words": await words(message, thread=thread, history=request.history),
            "agent by rules": await agent(message, thread=thread, history=request.history),
        }
        for name, reply in lists.items():
            values[f"{name}: NDCG@10"].append(ndcg_at_k(reply.items, request.targets, K))
            values[f"{name}: recall@10"].append(recall_at_k(reply.items, request.targets, K))
    return values


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--data", type=Path, help="Folder of atomic files; the embedded ml-100k without it.")
    parser.add_argument("--people", type=int, default=300)
    asked = parser.parse_args()
    dataset, retriever = read_atomic_files(asked.data or embedded_ml100k()), Retriever.load(asked.artifact)
    config = MadeRequestConfig(words="test", split="test", negations=0.4, bounds=0.4, second_wishes=0.0)
    english = {str(each.person): each for each in RequestMaker(dataset, config).make()}
    german = {str(each.person): each for each in RequestMaker(dataset, config, GERMAN_WORDS).make()}
    same = sorted(who for who in english.keys() & german.keys() if english[who].said == german[who].said)
    people = random.Random(0).sample(same, min(asked.people, len(same)))
    measured = {
        name: asyncio.run(measure([requests[who] for who in people], retriever))
        for name, requests in (("english", english), ("german", german))
    }
    report: dict[str, Any] = {"people": len(people), "examples": [german[who].message for who in people[:5]]}
    for name in measured["english"]:
        first, second = measured["german"][name], measured["english"][name]
        report[name] = {language: mean_interval(values[name]).mean for language, values in measured.items()}
        report[name]["german less english"] = paired_interval(first, second).to_dict()
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
