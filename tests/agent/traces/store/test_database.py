import gzip
import json
import math
import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, Column, DateTime, MetaData, Uuid, create_engine, insert, inspect, text

from deeprec.agent.traces import CaseRecord, RunNotFoundError, RunTrace, TraceStore, TraceStoreError
from deeprec.agent.traces.store import migrations
from deeprec.agent.traces.store.database import VERSION_TABLE, alembic_config, open_database
from deeprec.agent.traces.store.schema import Base
from tests.postgres_server import PostgresServer

HEAD = ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head()


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
    assert run_sql(path, "PRAGMA journal_mode", f"SELECT * FROM {VERSION_TABLE}") == [[("wal",)], [(HEAD,)]]
    assert run_sql(path, "PRAGMA integrity_check") == [[("ok",)]]


def test_a_new_file_is_made_to_give_room_back_and_keeps_small_pages(tmp_path: Path) -> None:
    TraceStore(tmp_path / "traces.db").close()
    assert run_sql(tmp_path / "traces.db", "PRAGMA page_size", "PRAGMA auto_vacuum") == [[(2048,)], [(2,)]]


def test_the_migrations_make_what_the_classes_say(url: str) -> None:
    database = open_database(url, create=True)
    with database.readers.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
    database.readers.dispose()


def go_to(url: str, revision: str) -> None:
    """Migrate back to a revision."""
    database = open_database(url, create=True)
    with database.writers.begin() as connection:
        command.downgrade(alembic_config(connection), revision)
    database.readers.dispose()


def test_the_first_migration_goes_back(url: str) -> None:
    go_to(url, "base")
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == [VERSION_TABLE]
    engine.dispose()
    TraceStore(url).close()


CALLER = ("thread_id", "caller_run_id")
ADDED = {
    "0001": ("trm_holdout", "dataset_fingerprint", "fork", "tenant", *CALLER),
    "0002": ("fork", "tenant", *CALLER),
    **dict.fromkeys(("0003", "0004", "0005", "0006"), ("tenant", *CALLER)),
    "0007": CALLER,
    "0008": (),
}
"""Fields that runs lose on the way back to a revision."""


@pytest.mark.parametrize("revision", sorted(ADDED))
def test_runs_survive_the_way_back_and_forth(url: str, make: Any, revision: str) -> None:
    with TraceStore(url) as store:
        for number in range(5):
            run = make.run(
                trm_holdout=2,
                dataset_fingerprint="cd",
                fork={"turn": 1},
                tenant="books",
                tags=(),
                caller_metadata={},
                parent_id=None if number else uuid4(),
            )
            store.write_rewards(make.write(store, run), "list", {"hit": 0.5})
        store.start_run(make.run(tags=(), caller_metadata={}))
        before = list(store.traces())
    go_to(url, revision)
    with TraceStore(url, create=False) as store:
        after = list(store.traces())
        lost: dict[str, Any] = dict.fromkeys(ADDED[revision])
        assert after == [replace(trace, run=replace(trace.run, **lost)) for trace in before]
        # Keys, cascades and indexes are there again.
        assert store.run(before[0].run.run_id.hex[:12]) == after[0]
        assert not store.start_run(after[1].run)
        store.delete_run(before[0].run.run_id)
        with pytest.raises(TraceStoreError, match=r"(?i)foreign key"):
            store.record_turn(before[0].run.run_id, make.turn(0))
        make.write(store)
        assert len(store.runs()) == 6
    database = open_database(url, create=False)
    with database.readers.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM turns")).scalar() == 5 * 3
        assert connection.execute(text("SELECT count(*) FROM retrieved_items")).scalar() == 5 * 6
        names = {index["name"] for index in inspect(connection).get_indexes("runs")}
        keys = ("listing", "parent_id", "tenant", "thread_id", "user_id", "group_id")
        assert names == {f"ix_runs_{name}" for name in keys}
    database.readers.dispose()


OLDER_STORE = Path(__file__).parents[3] / "fixtures" / "store_before_rooms.sql.gz"


def restore(path: Path) -> None:
    """Make the SQLite store that an earlier version left at revision 0005."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(gzip.decompress(OLDER_STORE.read_bytes()).decode())


@pytest.mark.postgres
def test_an_older_store_comes_out_the_same_on_a_server(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.database()
    go_to(url, "0005")
    restore(tmp_path / "older.db")
    sqlite, server = create_engine(f"sqlite:///{tmp_path / 'older.db'}"), create_engine(url)
    tables = MetaData()
    tables.reflect(server)
    with sqlite.connect() as source, server.begin() as target:
        for table in tables.sorted_tables:
            if table.name == VERSION_TABLE:
                continue
            rows = source.execute(text(f"SELECT * FROM {table.name}")).mappings().all()
            target.execute(
                insert(table), [{name: server_value(table.c[name], row[name]) for name in row} for row in rows]
            )
    sqlite.dispose()
    server.dispose()
    with TraceStore(url) as on_server, TraceStore(tmp_path / "older.db") as in_file:
        assert [repr(in_utc(trace)) for trace in on_server.traces()] == [
            repr(in_utc(trace)) for trace in in_file.traces()
        ]
        assert any(trace.case is not None and trace.metrics for trace in on_server.traces())


def in_utc(trace: RunTrace) -> RunTrace:
    """The run with its times in UTC; a server has a time zone of its own."""
    times = {name: getattr(trace, name) for name in ("started_at", "finished_at", "redacted_at")}
    return replace(trace, **{name: time and time.astimezone(UTC) for name, time in times.items()})


def server_value(column: Column[Any], value: Any) -> Any:
    """A value of SQLite as PostgreSQL's driver takes it."""
    if value is None:
        return None
    if isinstance(column.type, Uuid):
        return UUID(bytes=value)
    if isinstance(column.type, Boolean):
        return bool(value)
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return json.loads(value) if isinstance(column.type, JSON) else value


def test_metrics_and_cases_survive_the_way_back_and_forth(url: str, make: Any) -> None:
    case = CaseRecord(target_popularity=3.0, history_length=7, chosen_on=True, phrases=("1990s", "it's: drama"))
    newer: dict[str, Any] = {"thread_id": None, "caller_run_id": None, "tags": (), "caller_metadata": {}}
    run = make.run(system="trm", oracle=True, kind="scored", protocol="none", parent_id=None, **newer)
    with TraceStore(url) as store:
        make.write(store, run)
        store.write_metrics(run.run_id, {"found": 1.0, "found_in": math.nan})
        store.write_case(run.run_id, case)
        before = store.run(run.run_id)
    go_to(url, "0005")
    with TraceStore(url, create=False) as store:
        assert repr(store.run(run.run_id)) == repr(before)
        assert store.run(run.run_id).case == case


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "traces.db"
    with TraceStore(path) as store:
        make.write(store)
    go_to(f"sqlite:///{path}", "0003")
    run_sql(path, "UPDATE runs SET parent_id = 'no id'")
    before = run_sql(path, "SELECT * FROM runs", "SELECT * FROM turns", "SELECT name, sql FROM sqlite_master")
    with pytest.raises(TraceStoreError, match="cannot be opened"):
        TraceStore(path)
    after = run_sql(path, "SELECT * FROM runs", "SELECT * FROM turns", "SELECT name, sql FROM sqlite_master")
    assert after == before


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


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True])
def test_opening_twice_at_once_migrates_once(url: str, begun: bool) -> None:
    if begun:
        TraceStore(url).close()
        go_to(url, "0002")
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: TraceStore(url), range(6)))
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


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.postgres
def test_a_servers_database_may_hold_other_tables(postgres: PostgresServer, make: Any) -> None:
    url = postgres.database()
    execute(url, "CREATE TABLE customers (id INTEGER)", "CREATE TABLE alembic_version (version_num TEXT)")
    with TraceStore(url) as store:
        run_id = make.write(store)
    go_to(url, "base")
    execute(url, "INSERT INTO customers VALUES (1)", "SELECT * FROM alembic_version")
    with TraceStore(url) as store, pytest.raises(RunNotFoundError):
        store.run(run_id)


@pytest.mark.postgres
def test_a_servers_database_with_tables_of_our_names_asks_for_a_schema(postgres: PostgresServer, make: Any) -> None:
    url = postgres.database()
    execute(url, "CREATE TABLE runs (id INTEGER)", "CREATE SCHEMA deeprec")
    with pytest.raises(TraceStoreError, match=r"another program .*\(runs\).*make a schema .*search_path%3Ddeeprec"):
        TraceStore(url)
    with TraceStore(url + "&options=-csearch_path%3Ddeeprec") as store:
        assert len(store.run(make.write(store)).turns) == 3
    execute(url, "INSERT INTO runs VALUES (1)")


@pytest.mark.postgres
def test_every_name_of_a_server_means_psycopg_3(postgres: PostgresServer, make: Any) -> None:
    url = postgres.database()
    with TraceStore(url) as store:
        make.write(store)
        assert store.database.readers.dialect.driver == "psycopg"
    for name in ("postgres", "postgresql+psycopg"):
        with TraceStore(url.replace("postgresql", name)) as store:
            assert len(store.runs()) == 1


def test_a_newer_store_says_so(url: str) -> None:
    TraceStore(url).close()
    execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
    with pytest.raises(TraceStoreError, match=rf"revision '0099'.*newest is '{HEAD}'.*Upgrade deeprec-agent"):
        TraceStore(url)


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
        ("nosuch://host/db", "is in 'nosuch'; a trace store is"),
        ("://", "is not a database URL"),
        ("mysql+pymysql://localhost:1/x", "is in 'mysql'; a trace store is a SQLite file or a PostgreSQL database"),
        ("postgresql+psycopg://localhost:1/x", "cannot be opened: connection failed"),
        ("postgresql+psycopg2://localhost:1/x", "takes psycopg 3: write postgresql://"),
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
