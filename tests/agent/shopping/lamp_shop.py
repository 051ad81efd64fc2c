"""A shop of lamps and rugs with a recommender that counts words, and a conversation with the agent over it."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from langchain_core.messages import HumanMessage

from deeprec.trm_tool import Catalogue, Item, RecommenderIdentity, Retrieved, ScoreRanking, Where

ROWS = (
    ("a", "Bram desk lamp", "desk lamp", "black", ("dimmable",), 20.0),
    ("b", "Cole desk lamp", "desk lamp", "white", ("dimmable", "foldable"), 30.0),
    ("c", "Dune floor lamp", "floor lamp", "black", ("foldable",), 55.0),
    ("d", "Elm floor lamp", "floor lamp", "sage green", (), 80.0),
    ("e", "Fern rug", "rug", "black", ("washable",), 40.0),
    ("f", "Gale rug", "rug", "white", ("washable", "foldable"), 60.0),
    ("g", "Holt rug", "rug", "sage green", ("washable",), 90.0),
    ("h", "Iris rug", "rug", "white", (), 20.0),
)


def catalogue(rows: Sequence[Any] = ROWS) -> Catalogue:
    items = [
        Item(
            id=item_id,
            title=title,
            text=f"{title}. {colour}, {', '.join(tags)}. It is packed without plastic.",
            attributes={"type": kind, "colour": colour, "features": tags, "price": price},
        )
        for item_id, title, kind, colour, tags, price in rows
    ]
    return Catalogue(items, {"type": "category", "colour": "category", "features": "tags", "price": "number"})


class WordCounts:
    """Items whose text shares more words with the preference come first, else the order of the catalogue."""

    def __init__(self, items: Catalogue) -> None:
        self.catalogue, self.identity = items, RecommenderIdentity(fingerprint="word-counts-1")
        self.calls: list[tuple[tuple[str, ...], str | None, Where | None]] = []
        self._ranking = ScoreRanking(items)
        self._words = [set(item.text.casefold().replace(",", " ").replace(".", " ").split()) for item in items]

    def retrieve(
        self,
        history: Sequence[str],
        preference: str | None = None,
        *,
        k: int,
        trust: float | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
    ) -> Retrieved:
        self.calls.append((tuple(history), preference, where))
        asked = set((preference or "").casefold().replace(";", " ").replace(".", " ").split())
        scores = np.array([len(asked & words) for words in self._words], dtype=float)
        return self._ranking.best(scores, history, k=k, trust=trust, exclude=exclude, where=where)


class Talk:
    """One thread of an agent."""

    def __init__(self, agent: Any, thread: str = "t1", **parts: Any) -> None:
        self.agent, self.parts = agent, parts
        self.config: Any = {"configurable": {"thread_id": thread}}
        self.reply: dict[str, Any] = {}

    async def says(self, text: str | None, **parts: Any) -> dict[str, Any]:
        said: dict[str, Any] = {} if text is None else {"messages": [HumanMessage(text)]}
        output = await self.agent.ainvoke({**said, **self.parts, **parts}, self.config)
        self.parts = {}
        self.reply = output["reply"]
        return self.reply

    @property
    def ids(self) -> list[str]:
        """What the last reply shows."""
        return [card["item_id"] for card in self.reply["items"]]
