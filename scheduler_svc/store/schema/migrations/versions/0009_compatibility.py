"""Which code may run on a schema: what a scheduler reads where it finds one that it does not know."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
oldest_code = "0008"

_DDL = """
CREATE TABLE schema_compatibility (
    "only" BOOLEAN DEFAULT true NOT NULL,
    oldest_code TEXT NOT NULL,
    migrated_by TEXT NOT NULL,
    CONSTRAINT schema_compatibility_pkey PRIMARY KEY ("only"),
    CONSTRAINT schema_compatibility_only CHECK ("only")
);
"""


def upgrade() -> None:
    """Adds a table of one row, which is written as each migration is applied."""
    op.execute(_DDL)
