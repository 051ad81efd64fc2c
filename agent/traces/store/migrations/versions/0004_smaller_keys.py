"""Run ids in 16 bytes in SQLite, as a server keeps them; one index that listings are filtered in."""

import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Parents before children.
TABLES = ("runs", "turns", "retrievals", "retrieved_items", "recommendations", "rewards")
KEYS = ("run_id", "parent_id")
INDEXES = ("ix_runs_parent_id", "ix_runs_user_id", "ix_runs_group_id")
LISTING = (
    *("started_at", "run_id", "status", "incomplete", "split", "suite", "policy_model", "adapter_version"),
    *("protocol", "guided", "trm_fingerprint"),
)


def upgrade() -> None:
    for name in ("ix_runs_started_at_run_id", "ix_runs_status"):
        op.drop_index(name, "runs")
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _rebuild(connection, "CHAR(32)", "BLOB", bytes.fromhex)
    op.create_index("ix_runs_listing", "runs", list(LISTING))


def downgrade() -> None:
    op.drop_index("ix_runs_listing", "runs")
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _rebuild(connection, "BLOB", "CHAR(32)", bytes.hex)
    op.create_index("ix_runs_started_at_run_id", "runs", ["started_at", "run_id"])
    op.create_index("ix_runs_status", "runs", ["status"])


def _rebuild(connection: sa.Connection, old: str, new: str, change: Callable[[Any], Any]) -> None:
    """Give the keys another type. SQLite cannot alter a column, and dropping a parent first empties its children."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.create_function("deeprec_key", 1, lambda key: None if key is None else change(key))
    made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    sql_of = {row.name: row.sql for row in made}
    indexes = [sql for name, sql in made if name in INDEXES]
    for table in TABLES:
        sql = re.sub(r'^CREATE TABLE "?\w+"?', f"CREATE TABLE new_{table}", sql_of[table])
        sql = re.sub(r'REFERENCES "?(\w+)"?', r"REFERENCES new_\1", sql)
        for key in KEYS:
            sql = sql.replace(f"{key} {old}", f"{key} {new}")
        connection.exec_driver_sql(sql)
        columns = [row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")]
        chosen = ", ".join(f"deeprec_key({name})" if name in KEYS else f'"{name}"' for name in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        connection.exec_driver_sql(f"INSERT INTO new_{table} ({names}) SELECT {chosen} FROM {table}")
    for table in reversed(TABLES):
        connection.exec_driver_sql(f"DROP TABLE {table}")
    for table in TABLES:  # the references follow
        connection.exec_driver_sql(f"ALTER TABLE new_{table} RENAME TO {table}")
    for sql in indexes:
        connection.exec_driver_sql(sql)
