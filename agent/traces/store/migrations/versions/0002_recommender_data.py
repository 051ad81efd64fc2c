"""What the recommender of a run was trained on: a fingerprint of the data, and how many last items it never saw."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("trm_holdout", sa.Integer(), nullable=True))
    op.add_column("runs", sa.Column("dataset_fingerprint", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "dataset_fingerprint")
    op.drop_column("runs", "trm_holdout")
