"""A bounded window of each account in the order of dispatch, limits, and pauses."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

_DDL = """
ALTER TABLE shares
    ADD COLUMN let_in INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN backlog BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN closed BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN refill DOUBLE PRECISION;
ALTER TABLE ready ALTER COLUMN tag DROP NOT NULL;
DROP INDEX ready_order;
CREATE INDEX ready_order ON ready (priority DESC, tag, task_key) WHERE tag IS NOT NULL;
CREATE INDEX ready_tags ON ready (account_id, priority, tag) WHERE tag IS NOT NULL;
CREATE INDEX ready_backlog ON ready (account_id, priority, task_key) WHERE tag IS NULL;
CREATE INDEX accounts_limited ON accounts (account_id) WHERE max_concurrent_tasks > 0;
CREATE INDEX leases_by_account ON leases (account_id);
CREATE TABLE pauses (
    account_id BIGINT NOT NULL,
    create_time TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now(),
    CONSTRAINT pauses_pkey PRIMARY KEY (account_id)
);
"""
# Limits were kept, but not honoured: what waits of such accounts is let in anew, as their seats allow.
_CLOSE_LIMITED = """
UPDATE shares SET closed = true, backlog = true
    WHERE account_id IN (SELECT account_id FROM accounts WHERE max_concurrent_tasks > 0);
UPDATE ready SET tag = NULL WHERE account_id IN (SELECT account_id FROM accounts WHERE max_concurrent_tasks > 0);
"""


def upgrade() -> None:
    """A replica of the version before goes on claiming what has a tag, by a slower plan, until it is replaced."""
    op.execute(_DDL)
    op.execute(_CLOSE_LIMITED)
