"""The turns of conversations: what was said, understood, shown, and done by the person."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLE = "conversation_turns"


def upgrade() -> None:
    key = sa.LargeBinary(16) if op.get_bind().dialect.name == "sqlite" else sa.Uuid()
    op.create_table(
        TABLE,
        sa.Column("turn_id", key, primary_key=True),
        sa.Column("conversation_id", key, nullable=False),
        sa.Column("thread_id", sa.String(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=True),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("suite", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run_id", key, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("redacted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("history", sa.JSON(), nullable=False),
        sa.Column("delta", sa.JSON(), nullable=False),
        sa.Column("state_before", sa.JSON(), nullable=False),
        sa.Column("state_after", sa.JSON(), nullable=False),
        sa.Column("reply", sa.String(), nullable=False),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("question", sa.JSON(), nullable=True),
        sa.Column("actions", sa.JSON(), nullable=False),
    )
    for name in ("thread_id", "user_id", "run_id", "created_at"):
        op.create_index(f"ix_{TABLE}_{name}", TABLE, [name])
    op.create_index("ix_conversation_turns_order", TABLE, ["conversation_id", "created_at", "turn_id"])


def downgrade() -> None:
    op.drop_table(TABLE)
