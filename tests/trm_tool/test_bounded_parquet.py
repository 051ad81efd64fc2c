"""Parquet files whose texts repeat are measured before they are expanded."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deeprec.trm_tool import ArtifactError, Catalogue, DataError, read_preference_file
from deeprec.trm_tool.bounded_parquet import check_expanded
from deeprec.trm_tool.data import import_data, read_requests

TEXT = "x" * 2**20


@pytest.mark.slow
def test_a_small_file_that_expands_to_gigabytes_is_refused(tmp_path: Path) -> None:
    bomb, nested = tmp_path / "bomb.parquet", tmp_path / "nested.parquet"
    lists = pa.DictionaryArray.from_arrays(pa.array([0] * 6_000), pa.array([TEXT]))
    pq.write_table(pa.table({"id": lists}), bomb, compression="zstd")
    assert bomb.stat().st_size < 10_000
    with pytest.raises(ValueError, match="its texts expand to over 4,294,967,296 bytes"):
        check_expanded(bomb)
    with pytest.raises(ValueError, match="expand"):
        check_expanded(bomb, rows=5_000)
    check_expanded(bomb, rows=1_000)
    tags = pa.ListArray.from_arrays(pa.array([0, 6_000]), lists)
    pq.write_table(pa.table({"tags": tags}), nested, compression="zstd")
    with pytest.raises(ValueError, match="expand"):
        check_expanded(nested, rows=1)


def test_the_readers_refuse_such_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.trm_tool.bounded_parquet.MAX_EXPANDED_BYTES", 2**22)
    path = tmp_path / "requests.parquet"
    pq.write_table(pa.table({"message": [TEXT] * 8}), path, compression="zstd")
    with pytest.raises(ArtifactError, match="expand to over 4,194,304 bytes"):
        Catalogue.from_parquet(path)
    with pytest.raises(DataError, match="expand to over 4,194,304 bytes"):
        list(read_preference_file(path))
    with pytest.raises(DataError, match="expand to over 4,194,304 bytes"):
        list(read_requests(path))
    log = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": ["u"] * 8, "item_id": [TEXT] * 8, "timestamp": range(8)}), log)
    with pytest.raises(DataError, match="expand to over 4,194,304 bytes"):
        import_data(log, tmp_path / "out")


def test_texts_that_repeat_within_bounds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"id": ["a", "b", None] * 5, "tags": [["x"], [], None] * 5}), path)
    check_expanded(path)
