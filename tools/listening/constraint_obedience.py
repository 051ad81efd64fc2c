"""How well the graph keeps what requests say must and must not be: `python -m tools.listening.constraint_obedience`.

Requests are made of the generated shop, each with a refusal or a bound, in words for training and in words for tests. A
scripted model writes exactly the constraints that a request says; the graph decides which of them the words support.
Then the same constraints are written under the message of another request, which should support none of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from deeprec.agent import AgentConfig, Completion, build_graph
from deeprec.agent.protocols import Allowance, Briefing, Conversation, Decision, PolicyLineage, Turn
from deeprec.agent.traces import TurnRecord
from deeprec.trm_tool import (
    Catalogue,
    RecommenderIdentity,
    Retrieved,
    ScoreRanking,
    Where,
    make_encoder,
    read_atomic_files,
)
from deeprec.trm_tool.catalogue.filters import AttributeIndex
from deeprec.trm_tool.catalogue.where_text import preference_segments
from deeprec.trm_tool.data import MadeRequestConfig, Request, RequestMaker, ShopConfig, generate_shop
from deeprec.trm_tool.trm.closest_phrases import ClosestPhrases


class ScriptedProtocol:
    """A protocol whose model retrieves with each of some preferences, and then ranks what was found in its order."""

    name, version, prompt_version, guided = "scripted", "1", "1", False

    def __init__(self, preferences: Sequence[str]) -> None:
        self.preferences = preferences
        self.shown: list[Any] = []
        """The items, and the remark, of each retrieval."""

    def lineage(self) -> PolicyLineage:
        """No model."""
        return {"policy_model": "script"}

    async def open(self, briefing: Briefing) -> Conversation:
        """Begin with the first preference."""
        return {"at": 0}

    async def reason(self, conversation: Conversation, allowance: Allowance) -> Turn:
        """Write the next preference, or go over to the list."""
        at = conversation["at"]
        if at < len(self.preferences):
            decision = Decision(action="retrieve", preference=self.preferences[at])
        else:
            decision = Decision(action="recommend")
        return Turn(conversation={"at": at + 1}, decision=decision, completion=Completion(text=""))

    async def observe(self, conversation: Conversation, items: Sequence[tuple[int, str]]) -> Conversation | None:
        """Keep what was shown."""
        return await self.observe_remarked(conversation, items, None)

    async def observe_remarked(
        self, conversation: Conversation, items: Sequence[tuple[int, str]], remark: Any
    ) -> Conversation | None:
        """Keep what was shown, and the remark."""
        self.shown.append((items, remark))
        return conversation

    async def correct(self, conversation: Conversation, why: str) -> Conversation | None:
        """Go on."""
        return conversation

    async def rank(self, conversation: Conversation, numbers: Sequence[int], k: int, allowance: Allowance) -> Turn:
        """Name the first half of the list, so that the rest is filled; each number of the run, excluded or not."""
        named = tuple(range(1, max(2, k // 2)))
        return Turn(
            conversation=conversation,
            decision=Decision(action="recommend", numbers=named),
            completion=Completion(text=""),
        )

    def replay(self, conversation: Conversation, record: TurnRecord) -> Turn:
        """Never asked for: nothing is resumed here."""
        raise NotImplementedError

    async def edit(self, record: TurnRecord, preference: str) -> TurnRecord:
        """Never asked for: nothing is forked here."""
        raise NotImplementedError

    def agrees(self, conversation: Conversation, records: Sequence[TurnRecord]) -> bool:
        """Never asked for: nothing is forked here."""
        raise NotImplementedError


class Popularity:
    """A recommender by popularity that knows the closest phrases of a text, as `Retriever` does."""

    def __init__(self, catalogue: Catalogue, sequences: Sequence[Sequence[str]]) -> None:
        self.catalogue, self.identity = catalogue, RecommenderIdentity(fingerprint="popularity")
        counts = Counter(item for sequence in sequences for item in sequence)
        self._scores = np.array([counts[item_id] for item_id in catalogue.ids], np.float64)
        self._ranking, encoder = ScoreRanking(catalogue), make_encoder()
        self._texts = torch.from_numpy(encoder.encode([item.text for item in catalogue]))
        self._closest = ClosestPhrases(encoder)

    def closest_phrases(self, text: str, n: int) -> Sequence[str]:
        """As `PhraseSimilarity`."""
        return self._closest.find(self.catalogue, self._texts, text, n)

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Sequence[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        """The most popular items."""
        return self._ranking.best(self._scores, history, k=k, trust=trust, exclude=exclude, where=where)


def said_preference(request: Request) -> str:
    """What a request says, as a trained policy would write it."""
    parts: list[str] = []
    for said in request.said or ():
        parts += [*said.wanted, *(f"not {phrase}" for phrase in said.unwanted), *preference_segments(said.where or {})]
    return "; ".join(parts)


async def measure(requests: Sequence[Request], recommender: Any, *, messages: Sequence[str]) -> dict[str, Any]:
    """Run each request with its constraints written for it, under these messages.

    Returns:
        `items`: items listed; `broken`: those that break a hard constraint, by the catalogue; `hard` and `stated` by
        kind of constraint.
    """
    index = AttributeIndex(recommender.catalogue)
    rows = {item_id: row for row, item_id in enumerate(recommender.catalogue.ids)}
    counts: Counter[str] = Counter()
    examples: list[list[str]] = []
    protocol = ScriptedProtocol([])
    graph = build_graph(None, recommender, protocol=protocol, config=AgentConfig(k=10))
    for request, message in zip(requests, messages, strict=True):
        protocol.preferences = [said_preference(request)]
        output: Mapping[str, Any] = await graph.ainvoke({"history": list(request.history), "message": message})
        constraints = output["constraints"]
        mask = np.ones(len(rows), dtype=np.bool_)
        for each in constraints["hard"]:
            mask &= index.filter(each["where"]).mask
        listed = [rows[item["item_id"]] for item in output["recommendations"]]
        counts["lists"] += 1
        counts["items"] += len(listed)
        counts["broken"] += int((~mask[listed]).sum())
        counts["unenforceable"] += len(constraints["unenforceable"])
        for kind, found in (("hard", constraints["hard"]), ("guessed", constraints["guessed"])):
            for each in found:
                name = "refusal" if each["text"].startswith("not ") else "bound"
                counts[f"{name}s"] += 1
                counts[f"{name}s {kind}"] += 1
        if constraints["guessed"] and len(examples) < 8:
            examples.append([message, *(each["text"] for each in constraints["guessed"])])
    return {**counts, "examples of guesses": examples}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        generate_shop(Path(folder) / "shop", ShopConfig())
        dataset = read_atomic_files(Path(folder) / "shop")
    recommender = Popularity(dataset.catalogue, [dataset.history(user, 3) for user in dataset.users])
    results: dict[str, Any] = {}
    for words in ("training", "test"):
        config = MadeRequestConfig(words=words, negations=0.6, bounds=0.6, per_person=4)
        made = [
            request
            for request in RequestMaker(dataset, config).make()
            if any(said.unwanted or said.where for said in request.said or ())
        ][: asked.requests]
        own = [request.message for request in made]
        others = [*own[len(own) // 2 :], *own[: len(own) // 2]]
        for name, messages in (("own words", own), ("another request's words", others)):
            results[f"{words}: {name}"] = asyncio.run(measure(made, recommender, messages=messages))
            print(f"{words}: {name}", json.dumps(results[f"{words}: {name}"], indent=1), flush=True)
            if asked.out:
                asked.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
