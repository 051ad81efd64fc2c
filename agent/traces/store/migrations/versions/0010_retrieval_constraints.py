"""Whether a retrieval had the person's message, and the constraints that its preference states."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("retrievals", sa.Column("words", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.add_column("retrievals", sa.Column("constraints", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("retrievals", "constraints")
    op.drop_column("retrievals", "words")
