"""The schema of the first release: `0001_initial.sql`, from `tables.py` and `views.py`.

Until then `python -m verification.generated.schema --write` makes it anew; from then on it stays as it is, whatever
the definitions become.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    """Creates everything, and the rows that all replicas share."""
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
