"""Vacuums of the tables that grow for years."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
oldest_code = "0001"

_TABLES = (
    "tasks",
    "task_payloads",
    "task_labels",
    "task_events",
    "attempt_logs",
    "request_ids",
    "contents",
    "publish_pool",
    "publish_attempts",
    "webhook_deliveries",
    "audit_events",
)


def upgrade() -> None:
    """Has them vacuumed once a twentieth of them is dead, and not a fifth; waits for a vacuum, and for nobody else."""
    for table in _TABLES:
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 50000)"
        )
