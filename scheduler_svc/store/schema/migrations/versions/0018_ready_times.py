"""Since when each task has been ready, for priorities that rise with the wait."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
oldest_code = "0008"


def upgrade() -> None:
    """No row is written: the time of the statement stands for all that are there. Whoever inserts need not know it."""
    op.execute("ALTER TABLE ready ADD COLUMN ready_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL")
