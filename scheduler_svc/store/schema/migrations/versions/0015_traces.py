"""The traces of tasks."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
oldest_code = "0001"


def upgrade() -> None:
    """Adds nullable columns, which takes no longer on a large table."""
    op.execute("ALTER TABLE task_payloads ADD COLUMN traceparent TEXT, ADD COLUMN tracestate TEXT;")
