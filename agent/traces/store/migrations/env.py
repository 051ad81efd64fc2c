"""Alembic's entry: runs the migrations on the connection that `deeprec.agent.traces.store.database` hands over."""

from alembic import context

from deeprec.agent.traces.store.database import VERSION_TABLE
from deeprec.agent.traces.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite's too: the connection is already inside BEGIN IMMEDIATE
    render_as_batch=True,
)
context.run_migrations()
