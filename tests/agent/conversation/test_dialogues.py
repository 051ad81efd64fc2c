"""The written dialogues: most of their checks hold without a model, and every row of the public failures does."""

from pathlib import Path

import pytest

from deeprec.agent.conversation import ConversationCatalogue
from deeprec.trm_tool import embedded_ml100k
from deeprec.trm_tool.data import ShopConfig, generate_shop, read_catalogue
from tests.agent.conversation.dialogue_checks import Check, dialogues, run

WITHOUT_MODEL = 0.85
"""The share of the checks that hold at least."""


@pytest.fixture(scope="session")
def catalogues(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ConversationCatalogue]:
    shop: Path = tmp_path_factory.mktemp("shop") / "synthetic"
    generate_shop(shop, ShopConfig(products=2000, people=10))
    films = read_catalogue(embedded_ml100k())
    return {"shop": ConversationCatalogue(read_catalogue(shop)), "films": ConversationCatalogue(films)}


@pytest.fixture(scope="session")
def checks(catalogues: dict[str, ConversationCatalogue]) -> list[Check]:
    return [check for name, each in dialogues() for check in run(name, each, catalogues[each["catalogue"]])]


def test_most_checks_hold_without_a_model(checks: list[Check]) -> None:
    failed = [check for check in checks if not check.holds]
    for check in failed:
        print(f"{check.place}: {check.seen}")
    share = 1 - len(failed) / len(checks)
    print(
        f"{len(checks) - len(failed)} of {len(checks)} checks hold ({share:.1%}) in {len(list(dialogues()))} dialogues"
    )
    assert share >= WITHOUT_MODEL


def test_no_public_failure_is_repeated(checks: list[Check]) -> None:
    own = [check for check in checks if check.place.startswith("failures: ")]
    assert [f"{check.place}: {check.seen}" for check in own if not check.holds] == []
    assert len({check.place.split(",")[0] for check in own}) >= 8
