"""RecBole reads what the importers write. Skipped where the extra `[trm]` is not installed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.trm_tool import read_atomic_files
from deeprec.trm_tool.data import ShopConfig, generate_shop, import_data
from tests.trm_tool.data.samples import write_1m, write_2018, write_2023, write_latest

pytest.importorskip("recbole", reason="needs the extra [trm]")

from recbole.data.dataset import Dataset

from deeprec.trm_tool.trm.training.recbole_support import CleanConfig


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of pandas, about what RecBole does
@pytest.mark.parametrize("write", [write_1m, write_latest, write_2018, write_2023, None])
def test_recbole_loads_what_was_written(tmp_path: Path, write: Callable[[Path], Path] | None) -> None:
    folder = tmp_path / "synthetic-or-imported"
    if write is None:
        generate_shop(folder, ShopConfig(products=100, people=10))
    else:
        import_data(write(tmp_path / "raw"), folder)
    ours = read_atomic_files(folder)
    settings = {
        "data_path": str(tmp_path),
        "load_col": None,
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "use_gpu": False,
    }
    loaded = Dataset(CleanConfig(model="Pop", dataset=folder.name, config_dict=settings))
    assert loaded.inter_num == ours.interactions
    assert loaded.user_num == len(ours.users) + 1  # RecBole counts its padding
    assert loaded.item_num == len(ours.catalogue) + 1
