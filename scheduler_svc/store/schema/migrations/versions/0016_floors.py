"""Where what lives begins in the indexes that much passes through: the order of dispatch, and the deltas of counts."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
oldest_code = "0008"

# Deltas that are there count as older than any transaction. No other can come before the default is there.
_DDL = """
CREATE TABLE ready_floors (
    priority SMALLINT NOT NULL,
    tag DOUBLE PRECISION NOT NULL,
    CONSTRAINT ready_floors_pkey PRIMARY KEY (priority)
) WITH (fillfactor = 50);
ALTER TABLE count_deltas ADD COLUMN xact BIGINT;
UPDATE count_deltas SET xact = 0;
ALTER TABLE count_deltas ALTER COLUMN xact SET DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint);
CREATE TABLE count_floor (
    "only" BOOLEAN DEFAULT true NOT NULL,
    xact BIGINT NOT NULL,
    CONSTRAINT count_floor_pkey PRIMARY KEY ("only"),
    CONSTRAINT count_floor_only CHECK ("only")
) WITH (fillfactor = 50);
INSERT INTO count_floor (xact) VALUES (0);
"""


def upgrade() -> None:
    """A replica of the version before gives tags without a look at the floors; another one uncovers them."""
    op.execute(_DDL)
