import pytest

from deeprec.evals import DrawnNeed, NeedConfig, make_need_cards
from deeprec.trm_tool import Dataset, read_atomic_files
from deeprec.trm_tool.data import ShopConfig, generate_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "small-synthetic"
    generate_shop(folder, ShopConfig(products=300, people=60))
    return read_atomic_files(folder)


@pytest.fixture(scope="session")
def needs(shop: Dataset) -> list[DrawnNeed]:
    return make_need_cards(shop, NeedConfig(refusals=0.6, bounds=0.6))
