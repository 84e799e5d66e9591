"""The row that all reapers share."""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.domain.lease import ReaperRow
from scheduler_svc.store.engine.rows import Statements

_LOCK = sa.text("""
    SELECT extract(epoch FROM stamp)::float8, extract(epoch FROM expire_not_before)::float8,
        extract(epoch FROM now())::float8
    FROM reaper FOR UPDATE
""")
_STAMP = sa.text("UPDATE reaper SET stamp = to_timestamp(:stamp), expire_not_before = to_timestamp(:guard)")


class Reaper(Statements):
    """Statements on `reaper`."""

    def lock(self) -> tuple[ReaperRow, float]:
        """The row, locked, and the start of the transaction; seconds since 1970 by the database's clock."""
        row = self._row(_LOCK)
        assert row is not None, "the migrations made this row"
        return ReaperRow(row[0], row[1]), float(row[2])

    def stamp(self, row: ReaperRow) -> None:
        """Writes the row."""
        self._run(_STAMP, stamp=row.stamp, guard=row.expire_not_before)
