"""The recommender's own list as retrieval 0: it joins what the model's retrievals found, within the constraints."""

from typing import Any

import pytest

from deeprec.agent import AgentConfig, build_graph, fuse_rankings
from deeprec.trm_tool import Dataset
from tests.small_recommender import CoOccurrence
from tools.listening.constraint_obedience import ScriptedProtocol


@pytest.fixture(scope="module")
def own(dataset: Dataset) -> CoOccurrence:
    return CoOccurrence(dataset.catalogue, [dataset.history(user, 2) for user in dataset.users])


async def listed(own: CoOccurrence, preference: str, message: str | None = None, **settings: Any) -> list[str]:
    config = AgentConfig(k=6, retrieve_k=4, **settings)
    graph = build_graph(None, own, protocol=ScriptedProtocol([preference]), config=config)
    output = await graph.ainvoke({"history": list(own.catalogue.ids[:3]), "message": message})
    assert output["status"] == "finished"
    return [position["item_id"] for position in output["recommendations"]]


async def test_positions_are_filled_by_the_searches_and_the_recommenders_own_list(own: CoOccurrence) -> None:
    history = list(own.catalogue.ids[:3])
    searched = await listed(own, "drama; only about trains")
    assert len(searched) == 4  # as many as the search found
    deep = [item.id for item in own.retrieve(history, k=12)]
    filled = await listed(own, "drama; only about trains", own_k=12)
    assert filled == list(fuse_rankings([searched, deep]))[:6]


async def test_what_the_words_exclude_is_not_in_the_own_list_either(own: CoOccurrence) -> None:
    filled = await listed(own, "drama; not horror", "no horror please", own_k=30)
    assert len(filled) == 6
    assert not any("Horror" in own.catalogue.item(item_id).attributes.get("class", ()) for item_id in filled)
