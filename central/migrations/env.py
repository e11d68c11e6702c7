"""Alembic's entry: runs the steps on the connection that `central.store` hands in."""

from alembic import context

from central.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
