"""Which system of an evaluation made a run."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("system", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "system")
