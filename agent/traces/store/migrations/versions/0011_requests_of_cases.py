"""The request of an evaluated run: its conversation, its position there, and what its message expresses."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cases", sa.Column("conversation", sa.String(), nullable=True))
    op.add_column("cases", sa.Column("turn", sa.Integer(), nullable=True))
    op.add_column("cases", sa.Column("words", sa.Integer(), nullable=True))
    op.add_column("cases", sa.Column("said", sa.JSON(), nullable=True))


def downgrade() -> None:
    for name in ("said", "words", "turn", "conversation"):
        op.drop_column("cases", name)
