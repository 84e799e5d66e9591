"""DDL beside replicas that serve: indexes and wider CHECKs that do not block writers. For the files in `versions`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from scheduler_svc.schema.migrate import limit, limit_waits

BUILD_TIMEOUT = "1h"
"""For statements that block no other ones."""

_STATE = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
"""Checks whether an index is there and valid."""


def build_index(name: str, definition: str) -> None:
    """Builds an index concurrently, in a migration; `definition` is what follows ON in CREATE INDEX.

    A migration that builds indexes does nothing else: it is not one transaction, and restarts if it was interrupted.
    An index of an interrupted build is dropped then and built anew; a valid index stays.
    """
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        # It waits for transactions, long ones too, and blocks none of them.
        limit(connection, lock="0", statement=BUILD_TIMEOUT)
        valid = connection.scalar(_STATE, {"name": name})
        if valid is False:
            connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
        if not valid:
            connection.exec_driver_sql(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        limit_waits(connection)


def widen_check(table: str, name: str, condition: str) -> None:
    """Puts a CHECK that allows more in place of the one of that name, in a migration.

    It validates the present rows after that, which blocks no statement. So the migration is not one transaction: it
    starts again if it was interrupted.
    """
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        limit(connection, lock="0", statement=BUILD_TIMEOUT)
        connection.exec_driver_sql(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        limit_waits(connection)
