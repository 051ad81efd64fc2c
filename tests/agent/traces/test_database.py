import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from deeprec.agent.traces import TraceStore, TraceStoreError
from deeprec.agent.traces.database import VERSION_TABLE, alembic_config, open_database
from deeprec.agent.traces.schema import Base


def run_sql(path: Path, *statements: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        rows = [connection.execute(statement).fetchall() for statement in statements]
        connection.commit()
        return rows
    finally:
        connection.close()


def test_an_empty_place_becomes_a_store_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "new folder 100%" / "traces.db"
    TraceStore(path).close()
    assert run_sql(path, "PRAGMA journal_mode", f"SELECT * FROM {VERSION_TABLE}") == [[("wal",)], [("0004",)]]
    assert run_sql(path, "PRAGMA integrity_check") == [[("ok",)]]


def test_the_migrations_make_what_the_classes_say(tmp_path: Path) -> None:
    database = open_database(tmp_path / "traces.db", create=True)
    with database.readers.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
    database.readers.dispose()


def test_the_first_migration_goes_back(tmp_path: Path) -> None:
    database = open_database(tmp_path / "traces.db", create=True)
    with database.writers.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    database.readers.dispose()
    tables = run_sql(tmp_path / "traces.db", "SELECT name FROM sqlite_master WHERE type = 'table'")
    assert tables == [[(VERSION_TABLE,)]]
    TraceStore(tmp_path / "traces.db").close()


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "traces.db"
    with TraceStore(path) as store:
        run_id = make.write(store, make.run(trm_holdout=2, dataset_fingerprint="cd" * 32))
    database = open_database(path, create=True)
    with database.writers.begin() as connection:
        command.downgrade(alembic_config(connection), "0001")
    database.readers.dispose()
    with TraceStore(path) as store:
        trace = store.run(run_id)
        assert (trace.run.trm_holdout, trace.run.dataset_fingerprint) == (None, None)
        assert len(trace.turns) == 3
        other = store.run(make.write(store, make.run(trm_holdout=2, dataset_fingerprint="cd" * 32)))
        assert (other.run.trm_holdout, other.run.dataset_fingerprint) == (2, "cd" * 32)


def test_connections_check_foreign_keys_and_wait(tmp_path: Path) -> None:
    database = open_database(tmp_path / "traces.db", create=True)
    for engine in (database.readers, database.writers):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
    database.readers.dispose()


def test_a_file_may_be_named_by_path_or_url(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "traces.db"
    with TraceStore(str(path)) as store:
        run_id = make.write(store)
    with TraceStore(f"sqlite:///{path}") as store:
        assert store.run(run_id).status == "finished"


def test_opening_twice_at_once_migrates_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: TraceStore(tmp_path / "traces.db"), range(6)))
    for store in stores:
        assert store.runs() == []
        store.close()


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "traces.db").touch()
    TraceStore(tmp_path / "traces.db", create=False).close()


def test_a_missing_store_is_not_made_where_one_is_expected(tmp_path: Path) -> None:
    with pytest.raises(TraceStoreError, match=r"There is no trace store at .*none\.db"):
        TraceStore(tmp_path / "folder" / "none.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    run_sql(path, "CREATE TABLE customers (id INTEGER)", "CREATE TABLE alembic_version (version_num TEXT)")
    before = path.read_bytes()
    with pytest.raises(TraceStoreError, match="another program's tables \\(alembic_version, customers\\)"):
        TraceStore(path)
    assert path.read_bytes() == before


def test_a_newer_store_says_so(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    TraceStore(path).close()
    run_sql(path, f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
    with pytest.raises(TraceStoreError, match=r"revision '0099'.*newest is '0004'.*Upgrade deeprec-agent"):
        TraceStore(path)


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_bytes(b"these are my notes\n" * 1000)
    with pytest.raises(TraceStoreError, match="cannot be opened: file is not a database"):
        TraceStore(path)
    assert path.read_bytes() == b"these are my notes\n" * 1000


def test_a_damaged_store_says_so(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "traces.db"
    with TraceStore(path) as store:
        for _ in range(20):
            make.write(store)
    data = bytearray(path.read_bytes())
    data[4096 * 3 :] = os.urandom(len(data) - 4096 * 3)
    path.write_bytes(data)
    with pytest.raises(TraceStoreError, match=r"cannot be (opened|read)"), TraceStore(path) as store:
        list(store.traces())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        (":memory:", "needs a file"),
        ("", "needs a file|is not a file"),
        ("nosuch://host/db", "cannot be opened: Can't load plugin"),
        ("://", "is no database URL"),
        ("mysql+pymysql://localhost:1/x", "cannot be opened: No module named 'pymysql'"),
        ("postgresql+psycopg://localhost:1/x", "cannot be opened: connection failed"),
    ],
)
def test_a_url_that_cannot_work_says_so(target: str, message: str) -> None:
    with pytest.raises(TraceStoreError, match=message):
        TraceStore(target)


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(TraceStoreError, match="is not a file"):
        TraceStore(tmp_path)


def test_a_place_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TraceStoreError, match="cannot be made"):
        TraceStore(tmp_path / "file" / "traces.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(TraceStoreError, match="cannot be opened"):
            TraceStore(tmp_path / "traces.db")
    finally:
        tmp_path.chmod(stat.S_IRWXU)
