"""The cell of a database, which is fixed when its first scheduler starts."""

from __future__ import annotations

import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.domain.ids import FIRST_ID_BITS
from scheduler_svc.schema.privileges import FORBIDDEN

_READ = sa.text("SELECT cell FROM deployment FOR UPDATE")
"""Reads the cell, and lets no other scheduler fix it meanwhile."""
_FIX = sa.text("UPDATE deployment SET cell = :cell")
"""Fixes the cell."""
# Other numbers stay within a database: a move makes them anew.
_START_NUMBERS = sa.text("""
    SELECT setval(s.name, :last) FROM (VALUES
        (CAST('content_seq' AS regclass)),
        (CAST(pg_get_serial_sequence('accounts', 'account_id') AS regclass)),
        (CAST(pg_get_serial_sequence('schedules', 'schedule_id') AS regclass)),
        (CAST(pg_get_serial_sequence('webhooks', 'webhook_id') AS regclass)),
        (CAST(pg_get_serial_sequence('webhook_deliveries', 'delivery_id') AS regclass))
    ) AS s(name)
""")
"""Lets ids begin at the cell's first one."""


def fix_cell(engine: sa.Engine, cell: int) -> None:
    """Makes this the cell of a database that has none yet. Raises SettingsError if it has another, or lacks rights."""
    try:
        with engine.begin() as connection:
            fixed = connection.scalar(_READ)
            if fixed is None:
                connection.execute(_FIX, {"cell": cell})
                if cell:
                    connection.execute(_START_NUMBERS, {"last": cell << FIRST_ID_BITS})
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, FORBIDDEN):
            raise
        advice = f"run `contentgen-scheduler migrate` with CONTENTGEN_CELL={cell} as the owner of the tables first"
        raise SettingsError([f"the role of DATABASE_URL may not fix the cell of this database: {advice}"]) from None
    if fixed not in (None, cell):
        raise SettingsError([f"CONTENTGEN_CELL must be {fixed}, which this database was made with, is {cell}"])
