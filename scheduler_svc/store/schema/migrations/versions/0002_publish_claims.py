"""Claims of the publish pool: their indexes, and what a claimed entry must have."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_DDL = """
ALTER TABLE publish_pool ADD CONSTRAINT publish_pool_claim
    CHECK ((status = 2) = (claim_expire_time IS NOT NULL) AND (status <> 2 OR claim_id <> ''));
CREATE INDEX publish_pool_claims ON publish_pool (priority DESC, content_id,
    coalesce(claim_expire_time, schedule_time, '-infinity'))
    WHERE status IN (1, 2);
CREATE INDEX publish_pool_claims_by_account ON publish_pool (account_id, priority DESC, content_id,
    coalesce(claim_expire_time, schedule_time, '-infinity'))
    WHERE status IN (1, 2);
"""


def upgrade() -> None:
    """Both indexes hold what is not ended only, so they stay as small as the backlog."""
    op.execute(_DDL)
