"""A shop of lamps and rugs, and a conversation with the agent over it."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import HumanMessage

from deeprec.trm_tool import Catalogue, Item

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
