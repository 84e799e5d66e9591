"""When tasks expire that were not started by then."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0007"
oldest_code = "0001"

_DDL = """
ALTER TABLE tasks ADD COLUMN expire_time TIMESTAMP WITH TIME ZONE;
ALTER TABLE ready ADD COLUMN expire_time TIMESTAMP WITH TIME ZONE;
ALTER TABLE delayed ADD COLUMN expire_time TIMESTAMP WITH TIME ZONE;
"""


def upgrade() -> None:
    """Adds columns that are null for each task that does not expire."""
    op.execute(_DDL)
