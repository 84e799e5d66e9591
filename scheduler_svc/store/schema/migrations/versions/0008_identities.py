"""Whose token opened a worker's session."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

_DDL = """
ALTER TABLE workers ADD COLUMN identity TEXT NOT NULL DEFAULT '';
"""


def upgrade() -> None:
    """Adds a column; sessions of before are nobody's, and their workers keep them."""
    op.execute(_DDL)
