"""Assets of contents, and what creators say of their runs."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
oldest_code = "0001"

_DDL = """
ALTER TABLE contents ADD COLUMN usage JSONB, ADD COLUMN model TEXT;

CREATE TABLE assets (
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    complete BOOLEAN DEFAULT false NOT NULL,
    touch_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    media_type TEXT DEFAULT '' NOT NULL,
    width INTEGER,
    height INTEGER,
    CONSTRAINT assets_pkey PRIMARY KEY (sha256),
    CONSTRAINT assets_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT assets_size CHECK (size > 0)
) WITH (fillfactor = 80);
CREATE INDEX assets_incomplete ON assets (touch_time) WHERE NOT complete;

CREATE TABLE content_assets (
    content_id BIGINT NOT NULL,
    position SMALLINT NOT NULL,
    account_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    sha256 TEXT,
    reason TEXT,
    CONSTRAINT content_assets_pkey PRIMARY KEY (content_id, position),
    CONSTRAINT content_assets_content_id_fkey FOREIGN KEY(content_id) REFERENCES contents (content_id)
        ON DELETE CASCADE,
    CONSTRAINT content_assets_sha256_fkey FOREIGN KEY(sha256) REFERENCES assets (sha256),
    CONSTRAINT content_assets_stored CHECK ((sha256 IS NULL) = (reason IS NOT NULL))
);
CREATE INDEX content_assets_by_asset ON content_assets (sha256, account_id) WHERE sha256 IS NOT NULL;
"""


def upgrade() -> None:
    """Creates them."""
    op.execute(_DDL)
