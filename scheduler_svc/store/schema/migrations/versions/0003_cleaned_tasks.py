"""What a request_id answers after its task was cleaned up."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

_DDL = """
ALTER TABLE request_ids ADD COLUMN cleaned_task JSONB;
CREATE INDEX request_ids_cleaned ON request_ids (create_time) WHERE cleaned_task IS NOT NULL;
"""


def upgrade() -> None:
    """Adds a column that is empty while the task is there, and an index of those that are not."""
    op.execute(_DDL)
