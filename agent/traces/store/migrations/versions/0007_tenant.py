"""The tenant, such as a shop, that a run was made for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("tenant", sa.String(), nullable=True))
    op.create_index("ix_runs_tenant", "runs", ["tenant"])


def downgrade() -> None:
    op.drop_index("ix_runs_tenant", "runs")
    op.drop_column("runs", "tenant")
