"""Alembic's entry point: runs each migration in a transaction of its own, on the connection of `schema/migrate.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script

from scheduler_svc.schema import compatibility


def _declare(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],  # noqa: ARG001 - alembic gives all four by name
    run_args: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Declares, in the migration's transaction, which code may still run on the schema."""
    assert isinstance(step.up_revision, Script)
    assert ctx.connection is not None
    compatibility.declare(ctx.connection, step.up_revision.module.oldest_code)


context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    on_version_apply=_declare,
)
with context.begin_transaction():
    context.run_migrations()
