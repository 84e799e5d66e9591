"""Quotas of accounts: pending tasks, priority, starts a minute; counts of what is scheduled, by day."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
oldest_code = "0008"

_DDL = """
ALTER TABLE accounts
    ADD COLUMN max_pending_tasks INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN max_priority SMALLINT NOT NULL DEFAULT '0',
    ADD COLUMN max_starts_per_minute INTEGER NOT NULL DEFAULT 0;
CREATE TABLE start_quotas (
    account_id BIGINT NOT NULL,
    let_in INTEGER NOT NULL,
    times TIMESTAMP WITH TIME ZONE[] NOT NULL,
    counts INTEGER[] NOT NULL,
    CONSTRAINT start_quotas_pkey PRIMARY KEY (account_id),
    CONSTRAINT start_quotas_starts CHECK (cardinality(times) = cardinality(counts))
);
"""
# What a replica of the version before schedules or takes out meanwhile is not counted. Such a day is a little off until
# it has come.
_COUNT_SCHEDULED = """
INSERT INTO count_deltas (account_id, kind, n)
    SELECT -floor(extract(epoch FROM due_time) / 86400)::bigint, 1, count(*) FROM delayed WHERE cause = 1 GROUP BY 1;
"""


def upgrade() -> None:
    """A replica that knows no quota does not keep it: one holds from when all replicas are of this version."""
    op.execute(_DDL)
    op.execute(_COUNT_SCHEDULED)
