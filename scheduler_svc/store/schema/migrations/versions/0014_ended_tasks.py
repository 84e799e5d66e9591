"""An index of what has ended, by its time: the retention reads what is due, not all that has ended."""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0014"
down_revision = "0013"
oldest_code = "0008"


def upgrade() -> None:
    """Builds the index beside writers. The version before keeps it up to date without knowing of it."""
    build_index("tasks_ended", "tasks (end_time) WHERE end_time IS NOT NULL")
