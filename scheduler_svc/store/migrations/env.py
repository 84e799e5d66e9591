"""Alembic's entry: runs on the connection that `store/migrate.py` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from scheduler_svc.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
