"""Edits and reviews of contents: revisions, etags, reviewers and claims."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
oldest_code = "0001"

_DDL = """
ALTER TABLE contents
    ADD COLUMN cover_image TEXT,
    ADD COLUMN revision INTEGER DEFAULT '1' NOT NULL,
    ADD COLUMN etag TEXT DEFAULT '1' NOT NULL,
    ADD COLUMN reviewer TEXT DEFAULT '' NOT NULL,
    ADD COLUMN review_time TIMESTAMP WITH TIME ZONE,
    ADD COLUMN review_holder TEXT,
    ADD COLUMN review_claim_expire_time TIMESTAMP WITH TIME ZONE,
    ADD COLUMN superseded_by_content_id BIGINT;

ALTER TABLE task_payloads ADD COLUMN regenerates_content_id BIGINT;

CREATE TABLE content_revisions (
    content_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    author TEXT NOT NULL,
    create_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    html_body TEXT NOT NULL,
    summary TEXT NOT NULL,
    category TEXT NOT NULL,
    cover_image TEXT NOT NULL,
    CONSTRAINT content_revisions_pkey PRIMARY KEY (content_id, number),
    CONSTRAINT content_revisions_content_id_fkey FOREIGN KEY(content_id) REFERENCES contents (content_id)
        ON DELETE CASCADE,
    CONSTRAINT content_revisions_number CHECK (number > 0)
);
"""


def upgrade() -> None:
    op.execute(_DDL)
