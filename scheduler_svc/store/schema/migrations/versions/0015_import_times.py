"""When each source was imported from last: what an import remembers of it goes a while after that."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
oldest_code = "0008"


def upgrade() -> None:
    """Adds a column with a default; an import of the version before leaves it as it is."""
    op.execute("ALTER TABLE import_sources ADD COLUMN import_time TIMESTAMPTZ NOT NULL DEFAULT now()")
