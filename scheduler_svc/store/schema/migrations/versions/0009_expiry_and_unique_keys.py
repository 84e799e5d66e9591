"""When tasks expire that were not started by then; and which task holds a unique key."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
oldest_code = "0001"

_DDL = """
ALTER TABLE tasks ADD COLUMN expire_time TIMESTAMP WITH TIME ZONE;
ALTER TABLE ready ADD COLUMN expire_time TIMESTAMP WITH TIME ZONE;
ALTER TABLE delayed ADD COLUMN expire_time TIMESTAMP WITH TIME ZONE;
ALTER TABLE task_payloads ADD COLUMN unique_key TEXT, ADD COLUMN unique_for_ms BIGINT;

CREATE TABLE unique_keys (
    account_id BIGINT NOT NULL,
    unique_key TEXT NOT NULL,
    task_key BIGINT NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT unique_keys_pkey PRIMARY KEY (account_id, unique_key)
);
CREATE UNIQUE INDEX unique_keys_by_task ON unique_keys (task_key);
"""


def upgrade() -> None:
    """Adds a table, and columns that are null for each task that neither expires nor has a key."""
    op.execute(_DDL)
