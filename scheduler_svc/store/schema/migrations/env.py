"""Alembic's entry: runs on the connection that `store/migrate.py` hands over, each migration in its own transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script

from scheduler_svc.store.schema import compatibility
from scheduler_svc.store.schema.tables import metadata


def _declare(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001 - alembic gives all four by name
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Within the migration's transaction: which code may still run on what it made."""
    assert isinstance(step.up_revision, Script)
    assert ctx.connection is not None
    oldest_code = getattr(step.up_revision.module, "oldest_code", None)  # the first ones have none
    if oldest_code is not None:
        compatibility.declare(ctx.connection, oldest_code)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    on_version_apply=_declare,
)
with context.begin_transaction():
    context.run_migrations()
