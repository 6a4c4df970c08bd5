"""Runs migrations over the connection that :mod:`conductor.db.schema` hands in."""

from alembic import context

from conductor.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
