"""What a replica says of itself: how far its clock is off, and the settings that all must share."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE replicas ADD COLUMN traits JSONB NOT NULL DEFAULT '{}'")
