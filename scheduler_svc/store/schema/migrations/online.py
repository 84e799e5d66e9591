"""DDL beside replicas that serve: how long it may wait, and what keeps no writers out: indexes, wider CHECKs.

For the files in `versions` and for `store/migrate.py`, which runs them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

LOCK_TIMEOUT = "500ms"
"""Whoever comes after a statement that waits for its table waits too: this long, and then it is tried again later."""
STATEMENT_TIMEOUT = "30s"
BUILD_TIMEOUT = "1h"
"""For what keeps nobody waiting."""

_STATE = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
"""Checks whether an index is there and valid."""


def limit_waits(connection: sa.Connection) -> None:
    """Bounds what the connection's next statements wait and take."""
    _limit(connection, lock=LOCK_TIMEOUT, statement=STATEMENT_TIMEOUT)


def build_index(name: str, definition: str) -> None:
    """Builds an index concurrently, in a migration; `definition` is what follows ON in CREATE INDEX.

    A migration that builds indexes does nothing else: it is not one transaction, and is run again from its begin where
    it was cut off. What an interrupted build left is dropped then and built anew; an index that is there stays.
    """
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        # It waits for transactions, long ones too, and keeps none of them waiting.
        _limit(connection, lock="0", statement=BUILD_TIMEOUT)
        valid = connection.scalar(_STATE, {"name": name})
        if valid is False:
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
        if not valid:
            connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        limit_waits(connection)


def widen_check(table: str, name: str, condition: str) -> None:
    """Puts a CHECK that allows more in place of the one of that name, in a migration.

    The rows that are there are read after that, which keeps nobody waiting. So the migration is not one transaction: it
    is run again from its begin where it was cut off.
    """
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        _limit(connection, lock="0", statement=BUILD_TIMEOUT)
        connection.exec_driver_sql(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        limit_waits(connection)


def _limit(connection: sa.Connection, *, lock: str, statement: str) -> None:
    connection.exec_driver_sql(f"SET lock_timeout = '{lock}'; SET statement_timeout = '{statement}'")
