"""What keeps a run from pruning, when a person was taken out of it, and which turn a forked run was edited at."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("runs", sa.Column("redacted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("fork", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "fork")
    op.drop_column("runs", "redacted_at")
    op.drop_column("runs", "pinned")
