"""Attempts to publish: each with its outcome, and how far an entry of the pool has got with its own."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
oldest_code = "0001"

_DDL = """
ALTER TABLE publish_pool
    ADD COLUMN attempt_count SMALLINT DEFAULT '0' NOT NULL,
    ADD COLUMN next_attempt_time TIMESTAMP WITH TIME ZONE,
    ADD COLUMN published_url TEXT DEFAULT '' NOT NULL,
    ADD COLUMN publisher TEXT DEFAULT '' NOT NULL,
    ADD COLUMN claim_time TIMESTAMP WITH TIME ZONE;

CREATE TABLE publish_attempts (
    content_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    publisher TEXT NOT NULL,
    start_time TIMESTAMP WITH TIME ZONE,
    end_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    published BOOLEAN NOT NULL,
    error TEXT NOT NULL,
    CONSTRAINT publish_attempts_pkey PRIMARY KEY (content_id, number),
    CONSTRAINT publish_attempts_number CHECK (number > 0),
    CONSTRAINT publish_attempts_error CHECK (NOT published OR error = '')
);
"""


def upgrade() -> None:
    op.execute(_DDL)
