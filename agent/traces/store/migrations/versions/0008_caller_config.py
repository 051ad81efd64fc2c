"""What of the caller's config is kept with a run: its thread, its run id, its tags and its metadata."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "thread_id": sa.String(),
    "caller_run_id": sa.String(),
    "tags": sa.JSON(),
    "caller_metadata": sa.JSON(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("runs", sa.Column(name, kind, nullable=True))
    op.create_index("ix_runs_thread_id", "runs", ["thread_id"])


def downgrade() -> None:
    op.drop_index("ix_runs_thread_id", "runs")
    for name in COLUMNS:
        op.drop_column("runs", name)
