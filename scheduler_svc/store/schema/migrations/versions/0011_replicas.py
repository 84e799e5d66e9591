"""The replicas, and how each of them stands."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
oldest_code = "0008"

_DDL = """
CREATE TABLE replicas (
    scheduler_id TEXT NOT NULL,
    version TEXT NOT NULL,
    start_time TIMESTAMPTZ NOT NULL,
    heartbeat_time TIMESTAMPTZ NOT NULL,
    serving BOOLEAN NOT NULL,
    lanes JSONB NOT NULL,
    CONSTRAINT replicas_pkey PRIMARY KEY (scheduler_id)
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    """Adds a table that a replica which does not know it leaves alone."""
    op.execute(_DDL)
