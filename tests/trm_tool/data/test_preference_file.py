import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deeprec.trm_tool import (
    ConfigError,
    DataError,
    WrittenPreference,
    history_digest,
    read_preference_file,
    write_preference_file,
)

ROW = WrittenPreference(
    run_id="00000000-0000-4000-8000-000000000001",
    turn=0,
    retrieval=0,
    user_id="u1",
    target_id="900",
    split="train",
    history_length=2,
    history_sha256=history_digest(["50", "181"]),
    policy_model="SmolLM2-135M-Instruct",
    adapter="deeprec",
    adapter_version="4",
    guided=True,
    trm_fingerprint="ab" * 8,
    trm_holdout=3,
    dataset_fingerprint="cd" * 32,
    preference="comedy; 1990s",
)
BARE = replace(
    ROW,
    turn=1,
    retrieval=None,
    user_id=None,
    target_id=None,
    split=None,
    adapter=None,
    adapter_version=None,
    guided=False,
    trm_holdout=None,
    dataset_fingerprint=None,
)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_preference_file(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def with_column(name: str, values: list[Any], kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values, kind))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "written.parquet"
    assert write_preference_file(path, [ROW, BARE]) == 2
    return path


def test_rows_come_back_as_they_were_written(path: Path) -> None:
    assert list(read_preference_file(path)) == [ROW, BARE]


def test_the_file_says_what_it_is_and_which_version(path: Path) -> None:
    meta = json.loads(pq.read_schema(path).metadata[b"deeprec"])
    assert meta == {"kind": "written preferences", "format": 1}
    assert path.stat().st_mode & 0o777 == 0o644


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "written.parquet"
    on_disk: list[int] = []

    def rows() -> Iterator[WrittenPreference]:
        for turn in range(5_000):
            on_disk.append(sum(entry.stat().st_size for entry in tmp_path.iterdir()))
            assert not path.exists()
            yield replace(ROW, turn=turn)

    assert write_preference_file(path, rows()) == 5_000
    assert on_disk[1_500] < on_disk[2_500] < on_disk[-1]
    assert [row.turn for row in read_preference_file(path)] == list(range(5_000))


def test_texts_are_cleaned_and_cut_as_the_retriever_does_it(tmp_path: Path) -> None:
    path = tmp_path / "written.parquet"
    texts = [" two\n\tlines\x00\u202e ", "x" * 1_000_000, "\u200b"]
    write_preference_file(path, [replace(ROW, preference=text) for text in texts])
    assert [row.preference for row in read_preference_file(path)] == ["two lines", "x" * 2_000, ""]


def test_a_write_that_fails_leaves_what_was_there(path: Path) -> None:
    before = path.read_bytes()

    def rows() -> Iterator[WrittenPreference]:
        yield ROW
        raise DataError("the store went away")

    with pytest.raises(DataError, match="went away"):
        write_preference_file(path, rows())
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_only_a_file_of_preferences_is_replaced(path: Path, tmp_path: Path) -> None:
    assert write_preference_file(path, [BARE]) == 1
    assert list(read_preference_file(path)) == [BARE]
    (tmp_path / "traces.db").write_bytes(b"a trace store")
    pq.write_table(pa.table({"id": ["900"]}), tmp_path / "items.parquet")
    for name in ("traces.db", "items.parquet", "."):
        with pytest.raises(ConfigError, match="is not a file of preferences, so it stays"):
            write_preference_file(tmp_path / name, [ROW])
    assert (tmp_path / "traces.db").read_bytes() == b"a trace store"
    with pytest.raises(ConfigError, match="cannot be written"):
        write_preference_file(tmp_path / "traces.db" / "below.parquet", [ROW])


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "absent.parquet")
    assert "is not a file" in refusal(tmp_path)
    (tmp_path / "notes.parquet").write_text("these are my notes")
    assert "is not a readable Parquet file" in refusal(tmp_path / "notes.parquet")
    pq.write_table(pa.table({"id": ["900"]}), tmp_path / "items.parquet")
    assert "not of preferences written in logged runs" in refusal(tmp_path / "items.parquet")


def test_a_damaged_file_is_named(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "is not a readable Parquet file" in refusal(path)
    broken = bytearray(data)
    broken[100:140] = b"\x00" * 40
    path.write_bytes(bytes(broken))
    assert "is damaged after row 0" in refusal(path)


@pytest.mark.parametrize("meta", [{"kind": "written preferences", "format": 2}, {"kind": "written preferences"}])
def test_another_version_is_refused(path: Path, meta: dict[str, Any]) -> None:
    rewrite(path, lambda table: table.replace_schema_metadata({"deeprec": json.dumps(meta)}))
    assert f"has format {meta.get('format')!r}; this version of deeprec-agent reads 1" in refusal(path)


@pytest.mark.parametrize("meta", ["[1]", "no json", "[" * 100_000])
def test_metadata_of_something_else_is_refused(path: Path, meta: str) -> None:
    rewrite(path, lambda table: table.replace_schema_metadata({"deeprec": meta}))
    assert "not of preferences written in logged runs" in refusal(path)


def test_a_missing_column_is_named(path: Path) -> None:
    rewrite(path, lambda table: table.drop_columns(["history_sha256"]))
    assert "lacks the column 'history_sha256'" in refusal(path)


@pytest.mark.parametrize(
    ("name", "values", "kind", "why"),
    [
        ("turn", ["0", "1"], pa.string(), "column 'turn' is of type string, not int64"),
        ("turn", [0, -1], pa.int64(), "column 'turn' is -1, below 0, in row 2"),
        ("history_length", [None, 2], pa.int64(), "column 'history_length' has no value in row 1"),
        ("preference", ["comedy", None], pa.string(), "column 'preference' has no value in row 2"),
        ("history_sha256", ["a" * 64, "A" * 64], pa.string(), "not a sha256 in hex, in row 2"),
        ("guided", [None, True], pa.bool_(), "column 'guided' has no value in row 1"),
        ("trm_holdout", [3, -3], pa.int64(), "column 'trm_holdout' is -3, below 0, in row 2"),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    path: Path, name: str, values: list[Any], kind: pa.DataType, why: str
) -> None:
    rewrite(path, with_column(name, values, kind))
    assert why in refusal(path)


def test_mistakes_in_the_header_show_before_the_first_row(path: Path) -> None:
    rewrite(path, lambda table: table.drop_columns(["turn"]))
    with pytest.raises(DataError):
        read_preference_file(path)


def test_a_digest_tells_order_and_boundaries() -> None:
    digests = [history_digest(items) for items in ([], ["1", "2"], ["2", "1"], ["12"], ["1"], ["1", "2", "3"])]
    assert len(set(digests)) == len(digests)
    assert history_digest(("1", "2")) == digests[1]
