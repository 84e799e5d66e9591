"""The schema of the first release: `0001_initial.sql`. Until then it may change; from then on it stays as it is."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    """Creates everything, and the rows that all replicas share."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
