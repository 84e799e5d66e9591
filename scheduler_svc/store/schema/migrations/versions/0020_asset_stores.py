"""How many bytes of assets an account may have, and which store the assets are in."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
oldest_code = "0001"

_DDL = """
ALTER TABLE accounts ADD COLUMN max_asset_bytes BIGINT DEFAULT '0' NOT NULL;

CREATE TABLE account_assets (
    sha256 TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    size BIGINT NOT NULL,
    upload_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT account_assets_pkey PRIMARY KEY (sha256, account_id),
    CONSTRAINT account_assets_size CHECK (size > 0)
);

CREATE TABLE asset_usage (
    account_id BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    CONSTRAINT asset_usage_pkey PRIMARY KEY (account_id),
    CONSTRAINT asset_usage_bytes CHECK (bytes >= 0)
);

CREATE TABLE asset_store (
    "only" BOOLEAN DEFAULT true NOT NULL,
    store_id TEXT,
    CONSTRAINT asset_store_pkey PRIMARY KEY ("only"),
    CONSTRAINT asset_store_only CHECK ("only")
);
INSERT INTO asset_store (store_id) VALUES (NULL);
"""


def upgrade() -> None:
    """Creates them. The collection of assets counts those that there are."""
    op.execute(_DDL)
