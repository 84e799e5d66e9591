"""How long the statements of a migration may wait, and take. For those that run it, and for `online`."""

from __future__ import annotations

import sqlalchemy as sa

LOCK_TIMEOUT = "500ms"
"""Later statements queue behind one that waits for its table: so it waits for so long, and is retried."""
STATEMENT_TIMEOUT = "30s"


def limit_waits(connection: sa.Connection) -> None:
    """Bounds the connection's next statements."""
    limit(connection, lock=LOCK_TIMEOUT, statement=STATEMENT_TIMEOUT)


def limit(connection: sa.Connection, *, lock: str, statement: str) -> None:
    """Bounds the connection's next statements by these durations, as PostgreSQL writes them."""
    connection.exec_driver_sql(f"SET lock_timeout = '{lock}'; SET statement_timeout = '{statement}'")
