"""Pairs of runs of one group, of which one earned more than the other."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLE = "run_pairs"


def upgrade() -> None:
    key = sa.LargeBinary(16) if op.get_bind().dialect.name == "sqlite" else sa.Uuid()
    op.create_table(
        TABLE,
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("chosen_id", key, sa.ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("rejected_id", key, sa.ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("reward", sa.String(), nullable=False),
        sa.Column("chosen_reward", sa.Double(), nullable=False),
        sa.Column("rejected_reward", sa.Double(), nullable=False),
        sa.Column("margin", sa.Double(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
    )
    for name in ("chosen_id", "rejected_id"):
        op.create_index(f"ix_{TABLE}_{name}", TABLE, [name])


def downgrade() -> None:
    op.drop_table(TABLE)
