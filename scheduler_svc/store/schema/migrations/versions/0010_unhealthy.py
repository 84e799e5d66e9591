"""Workers that say that they are unhealthy."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
oldest_code = "0008"

_DDL = """
ALTER TABLE workers
    ADD COLUMN unhealthy_time TIMESTAMPTZ,
    ADD COLUMN last_error TEXT;
"""


def upgrade() -> None:
    """Adds columns that may be null; a replica that does not know them leaves them as they are."""
    op.execute(_DDL)
