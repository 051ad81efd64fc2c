"""Metrics and facts about cases leave the table of rewards; what a system is leaves its name."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

METRICS, CASES, PHRASE = "eval", "case", "is: "
ORACLE, SHUFFLED = " (oracle)", "-shuffled"
FACTS = ("target_popularity", "history_length", "other_data", "chosen_on")

IS_PHRASE = f"substr(component, 1, {len(PHRASE)}) = '{PHRASE}'"
IS_FACT = f"(component IN {FACTS} OR {IS_PHRASE})"


def upgrade() -> None:
    op.add_column("runs", sa.Column("kind", sa.String(), server_default=sa.text("'agent'"), nullable=False))
    op.add_column("runs", sa.Column("oracle", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("runs", sa.Column("shuffled_of", sa.String(), nullable=True))
    op.create_table(
        "metrics",
        _run_id(),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.Double(), nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cases",
        _run_id(),
        sa.Column("target_popularity", sa.Double(), nullable=True),
        sa.Column("history_length", sa.Integer(), nullable=False),
        sa.Column("other_data", sa.Boolean(), nullable=False),
        sa.Column("chosen_on", sa.Boolean(), nullable=False),
        sa.Column("phrases", sa.JSON(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("UPDATE runs SET kind = 'scored' WHERE protocol = 'none' AND parent_id IS NULL")
    op.execute("UPDATE runs SET kind = 'derived' WHERE protocol = 'none' AND parent_id IS NOT NULL")
    op.execute(
        f"UPDATE runs SET oracle = true, system = substr(system, 1, length(system) - {len(ORACLE)}) "
        f"WHERE {_ends_with(ORACLE)}"
    )
    op.execute(
        f"UPDATE runs SET shuffled_of = substr(system, 1, length(system) - {len(SHUFFLED)}) "
        f"WHERE {_ends_with(SHUFFLED)} AND length(system) > {len(SHUFFLED)}"
    )
    op.execute(
        f"INSERT INTO metrics (run_id, name, value) SELECT run_id, component, value FROM rewards "
        f"WHERE scheme = '{METRICS}'"
    )
    is_phrase = f"FILTER (WHERE {IS_PHRASE})"
    phrase = f"substr(component, {len(PHRASE) + 1})"
    if op.get_bind().dialect.name == "sqlite":
        phrases = f"json_group_array({phrase}) {is_phrase}"
    else:
        # By bytes, as SQLite and an import of an older file order them.
        phrases = f"coalesce(json_agg({phrase} ORDER BY component COLLATE \"C\") {is_phrase}, '[]'::json)"
    value = {name: f"max(CASE WHEN component = '{name}' THEN value END)" for name in FACTS}
    op.execute(
        f"INSERT INTO cases (run_id, target_popularity, history_length, other_data, chosen_on, phrases) "
        f"SELECT run_id, {value['target_popularity']}, CAST(coalesce({value['history_length']}, 0) AS INTEGER), "
        f"coalesce({value['other_data']}, 0) <> 0, coalesce({value['chosen_on']}, 0) <> 0, {phrases} "
        f"FROM (SELECT * FROM rewards WHERE scheme = '{CASES}' AND {IS_FACT} ORDER BY run_id, component) "
        "AS facts GROUP BY run_id"
    )
    op.execute(f"DELETE FROM rewards WHERE scheme = '{METRICS}' OR (scheme = '{CASES}' AND {IS_FACT})")


def downgrade() -> None:
    reward = "INSERT INTO rewards (run_id, scheme, component, value)"
    op.execute(f"{reward} SELECT run_id, '{METRICS}', name, value FROM metrics")
    for name in FACTS:
        value = f"CASE WHEN {name} THEN 1.0 ELSE 0.0 END" if name in ("other_data", "chosen_on") else name
        op.execute(f"{reward} SELECT run_id, '{CASES}', '{name}', {value} FROM cases")
    if op.get_bind().dialect.name == "sqlite":
        phrases = "json_each(cases.phrases) AS phrase"
    else:
        phrases = "json_array_elements_text(cases.phrases) AS phrase (value)"
    op.execute(f"{reward} SELECT DISTINCT run_id, '{CASES}', '{PHRASE}' || phrase.value, 1.0 FROM cases, {phrases}")
    op.execute(f"UPDATE runs SET system = system || '{ORACLE}' WHERE oracle AND system IS NOT NULL")
    op.drop_table("cases")
    op.drop_table("metrics")
    for name in ("shuffled_of", "oracle", "kind"):
        op.drop_column("runs", name)


def _run_id() -> sa.Column[Any]:
    kind = sa.LargeBinary(16) if op.get_bind().dialect.name == "sqlite" else sa.Uuid()
    return sa.Column("run_id", kind, sa.ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True)


def _ends_with(end: str) -> str:
    """Compare case as well, which LIKE does not in SQLite."""
    return f"substr(system, length(system) - {len(end) - 1}) = '{end}'"
