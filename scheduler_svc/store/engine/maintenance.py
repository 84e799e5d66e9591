"""What keeps the narrow tables quick: their dead rows are removed while they are few."""

from __future__ import annotations

import sqlalchemy as sa

_VACUUM = sa.text("VACUUM (SKIP_LOCKED, TRUNCATE false) ready, leases, delayed, count_deltas, shares")


class PgMaintenance:
    """Statements that run outside of transactions."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    def vacuum(self) -> None:
        """Vacuums the tables that live by being deleted from; tables that are locked are left for the next time."""
        with self._engine.connect() as connection:
            connection.execute(_VACUUM)
