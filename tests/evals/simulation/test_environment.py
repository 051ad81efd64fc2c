"""The environment is one that TRL 1.16 takes: a factory, `reset`, tools with schemas, and a reward of its own."""

import inspect
from collections.abc import Collection, Sequence
from functools import partial

import pytest
from transformers.utils import get_json_schema

from deeprec.evals import (
    TRAINING_PERSON_WORDS,
    DrawnNeed,
    NeedConfig,
    PersonConfig,
    SimulatedPerson,
    SimulationEnvironment,
    make_need_cards,
    simulation_rows,
)
from deeprec.trm_tool import ConfigError, Dataset, RecommenderIdentity, Retrieved, ScoreRanking, Where


class CatalogueOrder:
    """Retrieves whatever stands first in the catalogue."""

    identity = RecommenderIdentity(fingerprint="order")

    def __init__(self, dataset: Dataset) -> None:
        self.catalogue = dataset.catalogue

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
        scores = [-float(row) for row in range(len(self.catalogue))]
        return ScoreRanking(self.catalogue).best(scores, history, k=k, trust=trust, exclude=exclude, where=where)


@pytest.fixture(scope="module")
def needs(shop: Dataset) -> list[DrawnNeed]:
    return make_need_cards(shop, NeedConfig(split="train"), people=shop.users[:20])


@pytest.fixture
def environment(shop: Dataset, needs: list[DrawnNeed]) -> SimulationEnvironment:
    factory = partial(SimulationEnvironment, needs, CatalogueOrder(shop), config=PersonConfig(patience=2))
    return factory()


def test_trl_finds_its_tools_and_their_schemas(environment: SimulationEnvironment) -> None:
    """As in `GRPOTrainer.__init__`: public functions of the class, but for `reset` and `get_reward`."""
    found = [name for name, _ in inspect.getmembers(type(environment), predicate=inspect.isfunction)]
    tools = [name for name in found if name not in ("reset", "get_reward") and not name.startswith("_")]
    assert sorted(tools) == ["reply", "search"]
    assert {"reset", "get_reward"} <= set(found)
    schema = get_json_schema(environment.reply)["function"]["parameters"]
    assert schema["required"] == ["text", "item_ids"]
    assert schema["properties"]["item_ids"] == {
        "type": "array",
        "items": {"type": "string"},
        "description": "Ids of the items that you show, best first; an empty list shows none.",
    }
    assert get_json_schema(environment.search)["function"]["parameters"]["required"] == ["preference"]


def test_a_row_resets_to_its_need(environment: SimulationEnvironment, needs: list[DrawnNeed]) -> None:
    rows = simulation_rows(needs, "Serve the customer.")
    assert len(rows) == len(needs) > 1
    for row, drawn in zip(rows, needs, strict=True):
        assert environment.reset(**row) == SimulatedPerson(drawn.card, words=TRAINING_PERSON_WORDS).opening()
    with pytest.raises(ConfigError, match=f"need {len(needs)}"):
        environment.reset(need=len(needs))


def test_a_fitting_item_in_time_is_rewarded(
    environment: SimulationEnvironment, shop: Dataset, needs: list[DrawnNeed]
) -> None:
    card = needs[1].card
    fitting = next(item.id for item in shop.catalogue if card.fits(item.attributes))
    misfit = next(item.id for item in shop.catalogue if not card.fits(item.attributes))
    environment.reset(need=1)
    assert "over" not in environment.reply("This?", [misfit, "Made Up"])
    assert environment.get_reward() == 0
    assert environment.reply("This?", [fitting]).endswith("Call no more tools.")
    assert environment.get_reward() == 1
    assert environment.reply("More?", [fitting]) == "The conversation is over. Call no more tools."

    environment.reset(need=1)
    assert environment.get_reward() == 0
    for _ in range(2):
        environment.reply("This?", [misfit])
    environment.reply("Late, but", [fitting])
    assert environment.get_reward() == 0


def test_search_shows_ids_and_summaries_and_not_what_was_taken(
    environment: SimulationEnvironment, shop: Dataset, needs: list[DrawnNeed]
) -> None:
    environment.reset(need=0)
    lines = environment.search("anything").splitlines()
    ids = [line.partition(":")[0] for line in lines]
    assert len(ids) == 10
    assert all(item_id in shop.catalogue for item_id in ids)
    assert not set(ids) & set(needs[0].history)


def test_an_environment_without_needs_is_refused(shop: Dataset) -> None:
    with pytest.raises(ConfigError, match="no needs"):
        SimulationEnvironment([], CatalogueOrder(shop))
