"""A digest of what each step was computed from, by which a resumed run sees whether the step is its own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("turns", "retrievals"):
        op.add_column(table, sa.Column("inputs", sa.String(), nullable=True))


def downgrade() -> None:
    for table in ("turns", "retrievals"):
        op.drop_column(table, "inputs")
