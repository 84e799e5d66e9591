"""The search index of contents."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
oldest_code = "0001"

_DDL = """
CREATE TABLE content_grams (
    content_id BIGINT NOT NULL,
    grams INTEGER[] NOT NULL,
    CONSTRAINT content_grams_pkey PRIMARY KEY (content_id),
    CONSTRAINT content_grams_content_id_fkey FOREIGN KEY (content_id) REFERENCES contents (content_id) ON DELETE CASCADE
);
CREATE INDEX content_grams_by_gram ON content_grams USING gin (grams);

CREATE TABLE search_index (
    "only" BOOLEAN DEFAULT true NOT NULL,
    indexed_to BIGINT NOT NULL,
    CONSTRAINT search_index_pkey PRIMARY KEY ("only"),
    CONSTRAINT search_index_only CHECK ("only")
);
INSERT INTO search_index (indexed_to) VALUES (0);
"""


def upgrade() -> None:
    """Creates both tables. A loop fills them with the contents that there are."""
    op.execute(_DDL)
