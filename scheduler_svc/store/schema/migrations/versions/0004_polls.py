"""Polls of workers: which one each was asked for, and which one it has answered."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

_DDL = """
CREATE SEQUENCE poll_seq;
ALTER TABLE workers
    ADD COLUMN wanted_poll BIGINT DEFAULT '0' NOT NULL,
    ADD COLUMN poll_time TIMESTAMPTZ,
    ADD COLUMN last_poll BIGINT DEFAULT '0' NOT NULL;
"""


def upgrade() -> None:
    """Adds columns whose defaults say that nothing was asked: a replica that does not know them inserts without."""
    op.execute(_DDL)
