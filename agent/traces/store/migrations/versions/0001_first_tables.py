"""The first tables: runs, turns, retrievals with their items, recommendations, rewards."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def _run_id() -> sa.Column[object]:
    return sa.Column("run_id", sa.Uuid(), sa.ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True)


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Uuid(), primary_key=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("history", sa.JSON(), nullable=False),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("target_id", sa.String(), nullable=True),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("protocol_version", sa.String(), nullable=False),
        sa.Column("prompt_version", sa.String(), nullable=False),
        sa.Column("guided", sa.Boolean(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("policy_model", sa.String(), nullable=False),
        sa.Column("adapter", sa.String(), nullable=True),
        sa.Column("adapter_version", sa.String(), nullable=True),
        sa.Column("trm_fingerprint", sa.String(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("split", sa.String(), nullable=True),
        sa.Column("suite", sa.String(), nullable=True),
        sa.Column("group_id", sa.String(), nullable=True),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("incomplete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("detail", sa.String(), nullable=True),
        sa.Column("ungrounded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
    )
    op.create_index("ix_runs_started_at_run_id", "runs", ["started_at", "run_id"])
    for column in ("parent_id", "user_id", "group_id", "status"):
        op.create_index(f"ix_runs_{column}", "runs", [column])

    op.create_table(
        "turns",
        _run_id(),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("prompt_ids", sa.LargeBinary(), nullable=False),
        sa.Column("completion_ids", sa.LargeBinary(), nullable=False),
        sa.Column("logprobs", sa.LargeBinary(), nullable=False),
        sa.Column("chained", sa.Boolean(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("thought", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("preference", sa.String(), nullable=True),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("detail", sa.String(), nullable=True),
        sa.Column("finish_reason", sa.String(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("messages", sa.JSON(), nullable=True),
        sa.Column("recorded_at", TIME, nullable=False),
    )
    op.create_table(
        "retrievals",
        _run_id(),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("preference", sa.String(), nullable=True),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("unenforced", sa.JSON(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("detail", sa.String(), nullable=True),
        sa.Column("recorded_at", TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "retrieved_items",
        sa.Column("run_id", sa.Uuid(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("rank", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "position"], ["retrievals.run_id", "retrievals.position"], ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "recommendations",
        _run_id(),
        sa.Column("listing", sa.String(), primary_key=True),
        sa.Column("rank", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("retrieval", sa.Integer(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rewards",
        _run_id(),
        sa.Column("scheme", sa.String(), primary_key=True),
        sa.Column("component", sa.String(), primary_key=True),
        sa.Column("value", sa.Double(), nullable=True),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("rewards", "recommendations", "retrieved_items", "retrievals", "turns", "runs"):
        op.drop_table(table)
